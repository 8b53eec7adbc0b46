#include "bind.h"

#include <optional>

#include "ops/shape/shape.h"
#include "ops/shape/shuffle.h"

namespace nonet {

namespace {

int64_t count_axes(const py::tuple& items) {
  int64_t count = 0;
  for (const py::handle item : items) count += item.is_none() || item.ptr() == Py_Ellipsis ? 0 : 1;
  return count;
}

// What an index of ints, slices, None and Ellipsis takes from `all`; nothing if anything else is in it. Errors:
// IndexError for too many indices or one out of range.
std::optional<Strided> basic_index(const Strided& all, const py::object& index) {
  const py::tuple items = py::isinstance<py::tuple>(index) ? py::tuple(index) : py::make_tuple(index);
  const int rank = all.shape.rank();
  const int64_t used = count_axes(items);
  Strided out = {{}, {}, all.offset};
  int axis = 0;
  bool filled = false;
  for (const py::handle item : items) {
    PyObject* p = item.ptr();
    if (p == Py_Ellipsis) {
      check<IndexError>(!filled, "index: at most one Ellipsis is allowed");
      filled = true;
      for (const int64_t end = rank - used + axis; axis < end; ++axis) {
        out.shape.push_back(all.shape[axis]);
        out.strides.push_back(all.strides[axis]);
      }
      continue;
    }
    if (p == Py_None) {
      out.shape.push_back(1);
      out.strides.push_back(0);
      continue;
    }
    const bool integer = PyLong_Check(p) && !PyBool_Check(p);
    if (!integer && !PySlice_Check(p)) return std::nullopt;
    check<IndexError>(used <= rank, "index: ", used, " indices for shape ", all.shape);
    const int64_t n = all.shape[axis];
    if (integer) {
      const int64_t i = PyLong_AsLongLong(p);
      if (i == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
      check<IndexError>(i >= -n && i < n, "index: index ", i, " is out of range for axis ", axis, " of size ", n);
      out.offset += (i < 0 ? i + n : i) * all.strides[axis];
    } else {
      py::ssize_t begin;
      py::ssize_t end;
      py::ssize_t step;
      if (PySlice_Unpack(p, &begin, &end, &step) < 0) throw py::error_already_set();
      const int64_t size = PySlice_AdjustIndices(n, &begin, &end, step);
      if (size > 0) out.offset += begin * all.strides[axis];
      out.shape.push_back(size);
      out.strides.push_back(all.strides[axis] * step);
    }
    ++axis;
  }
  for (; axis < rank; ++axis) {
    out.shape.push_back(all.shape[axis]);
    out.strides.push_back(all.strides[axis]);
  }
  return out;
}

// None if the index holds anything but ints, slices, None and Ellipsis.
std::optional<Array> getitem(const Array& x, const py::object& index) {
  const std::optional<Strided> view = basic_index(strided(x), index);
  if (!view) return std::nullopt;
  const py::gil_scoped_release release;
  return read_strided(x, *view);
}

Array getitem_backward(const Array& dy, const Shape& shape, const py::object& index) {
  const Strided view = basic_index(strided(shape), index).value();
  const py::gil_scoped_release release;
  return slice_backward(dy, shape, view);
}

Array narrow_backward(const Array& dy, const Shape& shape, int64_t axis, int64_t start) {
  const int a = normal_axis(axis, shape.rank(), "narrow");
  return slice_backward(dy, shape, strided(shape).sliced(a, start < 0 ? start + shape[a] : start, dy.dim(a)));
}

Array diagonal(const Array& x, int64_t k, int64_t axis1, int64_t axis2) {
  return read_strided(x.plain(), diagonal_view(x.shape(), k, axis1, axis2));
}

Array diagonal_backward(const Array& dy, const Shape& shape, int64_t k, int64_t axis1, int64_t axis2) {
  return slice_backward(dy, shape, diagonal_view(shape, k, axis1, axis2));
}

}  // namespace

void bind_shape(py::module_& m) {
  m.def(
      "reshape", [](const Array& x, const Shape& shape, const char* op) { return reshape(x, shape, op); }, py::arg("x"),
      py::arg("shape"), py::arg("op"), no_gil());
  m.def("permute", &permute, py::arg("x"), py::arg("dims"), no_gil());
  m.def("expand", &expand, py::arg("x"), py::arg("shape"), no_gil());
  m.def("repeat", &repeat, py::arg("x"), py::arg("counts"), no_gil());
  m.def("cat", &cat, py::arg("xs"), py::arg("axis"), no_gil());
  m.def("split", &split, py::arg("x"), py::arg("sizes"), py::arg("axis"), no_gil());
  m.def(
      "split_backward",
      [](const std::vector<std::optional<Array>>& pieces, const std::vector<int64_t>& sizes, int64_t axis,
         const Shape& shape, DType dtype) {
        std::vector<Array> all;
        for (const auto& piece : pieces) all.push_back(piece.value_or(Array()));
        return split_backward(all, sizes, axis, shape, dtype);
      },
      py::arg("pieces"), py::arg("sizes"), py::arg("axis"), py::arg("shape"), py::arg("dtype"), no_gil());
  m.def("narrow", &narrow, py::arg("x"), py::arg("axis"), py::arg("start"), py::arg("length"), no_gil());
  m.def("narrow_backward", &narrow_backward, py::arg("dy"), py::arg("shape"), py::arg("axis"), py::arg("start"),
        no_gil());
  m.def("getitem", &getitem, py::arg("x"), py::arg("index"));
  m.def("getitem_backward", &getitem_backward, py::arg("dy"), py::arg("shape"), py::arg("index"));
  m.def("flip", &flip, py::arg("x"), py::arg("dims"), no_gil());
  m.def("roll", &roll, py::arg("x"), py::arg("shifts"), py::arg("dims"), no_gil());
  m.def("triangle", &triangle, py::arg("x"), py::arg("k"), py::arg("lower"), no_gil());
  m.def("diagonal", &diagonal, py::arg("x"), py::arg("k"), py::arg("axis1"), py::arg("axis2"), no_gil());
  m.def("diagonal_backward", &diagonal_backward, py::arg("dy"), py::arg("shape"), py::arg("k"), py::arg("axis1"),
        py::arg("axis2"), no_gil());
  m.def("pixel_shuffle", &pixel_shuffle, py::arg("x"), py::arg("factor"), no_gil());
  m.def("pixel_unshuffle", &pixel_unshuffle, py::arg("x"), py::arg("factor"), no_gil());
  m.def("channel_shuffle", &channel_shuffle, py::arg("x"), py::arg("groups"), no_gil());
}

}  // namespace nonet
