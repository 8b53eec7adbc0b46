// What every bind.cpp includes: pybind11, the Shape caster, the guard that releases the interpreter's lock, and the
// protocol of gradient rules.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "array/array.h"

namespace py = pybind11;

// None for a `const Array*` is a null pointer at the first try: pybind11's own caster would try every argument twice.
// Where an op takes an Array by reference, None stays a TypeError. Ahead of the first py::cast of an Array.
template <>
struct pybind11::detail::type_caster<nonet::Array> : type_caster_base<nonet::Array> {
  bool load(handle source, bool convert) {
    if (source.is_none()) {
      value = nullptr;
      return true;
    }
    return type_caster_base<nonet::Array>::load(source, convert);
  }
};

namespace nonet {
// Pass to def(): kernels run without the interpreter's lock.
using no_gil = py::call_guard<py::gil_scoped_release>;

// What a gradient rule is told per input (`needs`) and what it returns.
// False: not wanted (null). True: wanted. An Array: wanted, and here is the memory.
inline Array* wanted(const py::handle need, Array& out) {
  if (need.ptr() == Py_False) return nullptr;
  if (need.ptr() != Py_True) out = py::cast<const Array&>(need);
  return &out;
}

// What a rule returns: None, the array that was given, or a new one.
inline py::object given_or_new(const py::handle need, Array& out) {
  if (need.ptr() == Py_False) return py::none();
  if (need.ptr() != Py_True) return py::reinterpret_borrow<py::object>(need);
  return py::cast(std::move(out));
}

inline const Array& or_undefined(const Array* array) {
  static const Array undefined{};
  return array == nullptr ? undefined : *array;
}

// An Array that may be undefined, as Python sees it: None if it is.
inline std::optional<Array> if_defined(Array array) {
  if (!array.defined()) return std::nullopt;
  return array;
}
}  // namespace nonet

namespace pybind11::detail {

// Shape <-> tuple (or any sequence) of ints.
template <>
struct type_caster<nonet::Shape> {
  PYBIND11_TYPE_CASTER(nonet::Shape, io_name("collections.abc.Sequence[typing.SupportsInt]", "tuple[int, ...]"));

  bool load(handle source, bool) {
    if (!PyTuple_Check(source.ptr()) && !PyList_Check(source.ptr())) return false;
    value = nonet::Shape();
    for (const handle item : reinterpret_borrow<sequence>(source)) {
      const int64_t size = PyLong_AsLongLong(item.ptr());
      if (size == -1 && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        return false;
      }
      value.push_back(size);
    }
    return true;
  }

  static handle cast(const nonet::Shape& shape, return_value_policy, handle) {
    PyObject* out = PyTuple_New(shape.rank());
    for (int axis = 0; axis < shape.rank(); ++axis) PyTuple_SET_ITEM(out, axis, PyLong_FromLongLong(shape[axis]));
    return out;
  }
};

// DType <-> its name. A string compare costs less than an enum object from Python. On the way in also what NumPy knows
// by such a name, and Python's float, int and bool.
template <>
struct type_caster<nonet::DType> {
  PYBIND11_TYPE_CASTER(nonet::DType, io_name("str | type | numpy.dtype[typing.Any]", "str"));

  bool load(handle source, bool) {
    if (source.is_none()) return false;
    if (PyUnicode_Check(source.ptr())) {
      const char* text = PyUnicode_AsUTF8(source.ptr());
      if (text == nullptr) throw error_already_set();
      value = nonet::dtype_from_name(text);
    } else if (source.ptr() == reinterpret_cast<PyObject*>(&PyFloat_Type)) {
      value = nonet::DType::float32;
    } else {
      value = nonet::dtype_from_name(numpy_name(source));
    }
    return true;
  }

  // NumPy's name of a dtype or a scalar type; of what it does not know, or stores in another order, as it is written.
  static std::string numpy_name(handle source) {
    const object numpy_dtype = module_::import("numpy").attr("dtype");
    if (PyType_Check(source.ptr()) || isinstance(source, numpy_dtype)) {
      try {
        const object dtype = numpy_dtype(source);
        return str(dtype.attr(dtype.attr("isnative").cast<bool>() ? "name" : "str"));
      } catch (const error_already_set&) {  // a class that is no dtype
      }
    }
    return repr(source);
  }

  static handle cast(nonet::DType dtype, return_value_policy, handle) {
    static PyObject* names[6] = {};
    PyObject*& text = names[static_cast<int>(dtype)];
    if (text == nullptr) text = PyUnicode_InternFromString(nonet::name(dtype));
    return Py_NewRef(text);
  }
};

// Device <-> its name. A device that is not there is an error with the reason.
template <>
struct type_caster<nonet::Device> {
  PYBIND11_TYPE_CASTER(nonet::Device, const_name("str"));

  bool load(handle source, bool) {
    const char* text = PyUnicode_Check(source.ptr()) ? PyUnicode_AsUTF8(source.ptr()) : nullptr;
    if (text == nullptr) return false;
    value = nonet::device_from_name(text);
    return true;
  }

  static handle cast(nonet::Device device, return_value_policy, handle) {
    static PyObject* names[3] = {};
    PyObject*& text = names[static_cast<int>(device)];
    if (text == nullptr) text = PyUnicode_InternFromString(nonet::name(device));
    return Py_NewRef(text);
  }
};

}  // namespace pybind11::detail
