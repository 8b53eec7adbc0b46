#include "bind.h"

#include <pybind11/numpy.h>

#include "array/dlpack.h"
#include "array/generator.h"

namespace nonet {

namespace {

// Runs with or without the interpreter's lock, from whichever thread drops the last Array.
std::function<void()> release_object(py::object owner) {
  return [pointer = owner.release().ptr()] {
    if (!Py_IsInitialized()) return;
    const py::gil_scoped_acquire gil;
    Py_DECREF(pointer);
  };
}

bool read_only(const Array& array) {
  return array.storage()->guarded() || !array.storage()->writable();
}

// bfloat16 has no NumPy dtype of its own: it travels as uint16 and Python views it through ml_dtypes.
py::dtype numpy_dtype(DType dtype) {
  return py::dtype(dtype == DType::bfloat16 ? "uint16" : name(dtype));
}

Array from_numpy(const py::array& source, DType dtype, bool copy, Device device) {
  check<TypeError>(source.dtype().is(numpy_dtype(dtype)) || source.dtype().equal(numpy_dtype(dtype)),
                   "from_numpy: expected an array of ", dtype, ", got ", std::string(py::str(source.dtype())));
  check((source.flags() & py::array::c_style) != 0, "from_numpy: expected a C-contiguous array");
  const Shape shape(source.shape(), source.shape() + source.ndim());
  if (copy || device != Device::cpu) {
    Array out(shape, dtype, Format::plain, device);
    copy_bytes(out.address(), device, source.data(), Device::cpu, out.bytes());
    return out;
  }
  auto storage = std::make_shared<Storage>(const_cast<void*>(source.data()), static_cast<int64_t>(source.nbytes()),
                                           source.writeable(), release_object(source));
  return Array(std::move(storage), 0, shape, dtype);
}

void check_exportable(const Array& array, const char* op) {
  check<RuntimeError>(array.device() == Device::cpu, op, ": the tensor is on ", array.device(), "; use .cpu()");
}

py::array to_numpy(const Array& source, bool writable) {
  check_exportable(source, "numpy");
  const Array array = source.plain();
  const py::capsule owner(new Array(array), [](void* p) { delete static_cast<Array*>(p); });
  const std::vector<py::ssize_t> shape(array.shape().begin(), array.shape().end());
  py::array out(numpy_dtype(array.dtype()), shape, array.raw<char>(), owner);
  if (!writable) out.attr("flags").attr("writeable") = false;
  return out;
}

py::capsule to_dlpack(const Array& array, bool versioned) {
  if (!versioned) {
    return py::capsule(dlpack::export_unversioned(array), "dltensor", [](PyObject* capsule) {
      if (PyCapsule_IsValid(capsule, "dltensor") == 0) return;  // taken over by a consumer
      auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, "dltensor"));
      managed->deleter(managed);
    });
  }
  return py::capsule(dlpack::export_versioned(array), "dltensor_versioned", [](PyObject* capsule) {
    if (PyCapsule_IsValid(capsule, "dltensor_versioned") == 0) return;
    auto* managed = static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    managed->deleter(managed);
  });
}

template <class Managed>
Array take_over(const py::capsule& capsule, const char* name, const char* used, bool writable) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  Array out = dlpack::import(managed->tensor, writable, [managed] {
    if (managed->deleter == nullptr || !Py_IsInitialized()) return;
    const py::gil_scoped_acquire gil;
    managed->deleter(managed);
  });
  PyCapsule_SetName(capsule.ptr(), used);
  return out;
}

Array from_dlpack(const py::capsule& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned") != 0) {
    const auto* managed =
        static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    check<RuntimeError>(managed->major == 1, "from_dlpack: expected DLPack version 1, got ", managed->major);
    const bool writable = (managed->flags & dlpack::read_only_flag) == 0;
    return take_over<dlpack::ManagedVersioned>(capsule, "dltensor_versioned", "used_dltensor_versioned", writable);
  }
  check(PyCapsule_IsValid(capsule.ptr(), "dltensor") != 0, "from_dlpack: the capsule was used already");
  return take_over<dlpack::Managed>(capsule, "dltensor", "used_dltensor", true);
}

py::buffer_info buffer(const Array& array) {
  check_exportable(array, "buffer");
  check<TypeError>(array.dtype() != DType::bfloat16, "buffer: bfloat16 has no buffer format; convert it to float32");
  check(array.format() == Format::plain, "buffer: an nhwc array has no row-major buffer; use numpy()");
  const py::dtype dtype = numpy_dtype(array.dtype());
  std::vector<py::ssize_t> shape(array.shape().begin(), array.shape().end());
  std::vector<py::ssize_t> strides(shape.size());
  py::ssize_t stride = item_size(array.dtype());
  for (size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return py::buffer_info(array.raw<char>(), item_size(array.dtype()), std::string(1, dtype.char_()),
                         static_cast<py::ssize_t>(shape.size()), shape, strides, read_only(array));
}

// A base class whose instances export the buffer of their attribute `array`: Python classes cannot do so themselves
// before Python 3.12.
py::object buffer_base() {
  static const auto get = [](PyObject* self, Py_buffer* view, int flags) -> int {
    PyObject* array = PyObject_GetAttrString(self, "array");
    if (array == nullptr) return -1;
    const int result = PyObject_GetBuffer(array, view, flags);
    Py_DECREF(array);
    return result;
  };
  static PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(+get)},
                                {Py_tp_doc, const_cast<char*>("Exports the buffer of its attribute `array`.")},
                                {0, nullptr}};
  static PyType_Spec spec = {"nonet._core.BufferBase", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                             slots};
  return py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
}

}  // namespace

void bind_array(py::module_& m) {
  py::class_<Array>(m, "Array", py::buffer_protocol(), "Contiguous memory with a shape, a dtype and a device.")
      .def(py::init([](const Shape& shape, DType dtype, Device device) {
             return Array(shape, dtype, Format::plain, device);
           }),
           py::arg("shape"), py::arg("dtype") = DType::float32, py::arg("device") = Device::cpu, "Uninitialised.")
      .def_buffer(&buffer)
      .def_property_readonly("shape", [](const Array& a) { return a.shape(); })
      .def_property_readonly("dtype", &Array::dtype)
      .def_property_readonly("rank", &Array::rank)
      .def_property_readonly("numel", &Array::numel)
      .def_property_readonly("nbytes", &Array::bytes)
      .def_property_readonly("format", [](const Array& a) { return a.format() == Format::nhwc ? "nhwc" : "plain"; })
      .def_property_readonly("device", &Array::device)
      .def_property_readonly("version", [](const Array& a) { return a.storage()->version(); })
      .def_property_readonly("guarded", [](const Array& a) { return a.storage()->guarded(); })
      .def_property_readonly("cacheable", [](const Array& a) { return !a.storage()->uncacheable(); })
      .def_property_readonly("pointer", [](const Array& a) { return reinterpret_cast<uintptr_t>(a.address()); })
      .def(
          "guard", [](const Array& a) { a.storage()->guard(); }, "Makes exports of this memory read-only.")
      .def(
          "open_writer",
          [](const Array& a) {
            a.begin_write("mutable");
            a.storage()->open_writer();
            return to_numpy(a, true);
          },
          "A writable export of guarded memory, from which nothing is cached until close_writer().")
      .def("close_writer", [](const Array& a) { a.storage()->close_writer(); })
      .def("numpy", [](const Array& a) { return to_numpy(a, !read_only(a)); })
      .def("dlpack", &to_dlpack, py::arg("versioned"))
      .def("clone", &Array::clone, no_gil())
      .def("to", py::overload_cast<DType>(&Array::to, py::const_), py::arg("dtype"), no_gil())
      .def("to_device", py::overload_cast<Device>(&Array::to, py::const_), py::arg("device"), no_gil())
      .def("dlpack_device",
           [](const Array& a) {
             const dlpack::Device device = dlpack::device_of(a);
             return py::make_tuple(device.type, device.index);
           })
      .def("reshape", &Array::reshape, py::arg("shape"), no_gil())
      .def(
          "to_format",
          [](const Array& a, const std::string& format) {
            check(format == "plain" || format == "nhwc", "format: expected plain or nhwc, got ", format);
            return a.to_format(format == "nhwc" ? Format::nhwc : Format::plain);
          },
          py::arg("format"), no_gil())
      .def(
          "fill", [](const Array& a, double value) { fill(a, value); }, py::arg("value"), no_gil())
      .def(
          "copy_from", [](const Array& a, const Array& source) { copy_into(a, source, "copy_"); }, py::arg("source"),
          no_gil())
      .def("item",
           [](const Array& a) -> py::object {
             check(a.numel() == 1, "item: expected one element, got shape ", a.shape());
             const Array host = a.to(Device::cpu);
             if (a.dtype() == DType::boolean) return py::bool_(*host.raw<bool>());
             if (is_floating(a.dtype())) return py::float_(double{*host.to(DType::float32).raw<float>()});
             return py::int_(*host.to(DType::int64).raw<int64_t>());
           })
      .def("shares_memory", [](const Array& a, const Array& b) { return a.storage() == b.storage(); });

  py::class_<Generator>(m, "Generator", "Counter-based random generator (Philox4x32-10).")
      .def(py::init<uint64_t>(), py::arg("seed") = 0)
      .def("set", &Generator::set, py::arg("seed"), py::arg("offset") = 0)
      .def_property_readonly("state", [](const Generator& g) { return g.state(); }, "int64 [2] = seed, offset");

  m.attr("BufferBase") = buffer_base();
  m.def("from_numpy", &from_numpy, py::arg("source"), py::arg("dtype"), py::arg("copy"),
        py::arg("device") = Device::cpu);
  m.def("from_dlpack", &from_dlpack, py::arg("capsule"));
  m.def("dtype_name", [](DType dtype) { return dtype; }, py::arg("dtype"), "of whatever is accepted as a dtype");
  m.def("zeros", &zeros, py::arg("shape"), py::arg("dtype") = DType::float32, py::arg("device") = Device::cpu,
        no_gil());
  m.def(
      "full",
      [](const Shape& shape, double value, DType dtype, Device device) {
        Array out(shape, dtype, Format::plain, device);
        fill(out, value);
        return out;
      },
      py::arg("shape"), py::arg("value"), py::arg("dtype") = DType::float32, py::arg("device") = Device::cpu, no_gil());
  m.def(
      "unit_gradient",
      [](const Array& a) {
        check(a.numel() == 1, "backward: a gradient is needed for an output of shape ", a.shape());
        Array out = empty_like(a);
        fill(out, 1.0);
        return out;
      },
      py::arg("output"), "The gradient that an output of one element starts from: 1.");
  m.def(
      "unshared",
      [](const py::object& results, int64_t index) {
        const py::object fast =
            py::reinterpret_steal<py::object>(PySequence_Fast(results.ptr(), "unshared: a sequence"));
        if (!fast) throw py::error_already_set();
        check<IndexError>(index >= 0 && index < PySequence_Fast_GET_SIZE(fast.ptr()), "unshared: no result ", index);
        const py::handle item = PySequence_Fast_GET_ITEM(fast.ptr(), index);
        const auto& array = item.cast<const Array&>();
        const bool shared = Py_REFCNT(item.ptr()) > 1 || array.storage().use_count() > 1;
        return shared ? py::cast(array.clone()) : py::reinterpret_borrow<py::object>(item);
      },
      py::arg("results"), py::arg("index"),
      "results[index] if nothing but the sequence refers to it or to its memory, else a copy.");
}

}  // namespace nonet
