#include "bind.h"

#include "ops/elementwise/elementwise.h"

namespace pybind11::detail {

// Operand <- an Array or a Python number.
template <>
struct type_caster<nonet::Operand> {
  PYBIND11_TYPE_CASTER(nonet::Operand, const_name("Array | float"));

  bool load(handle source, bool) {
    using Kind = nonet::Operand::Kind;
    PyObject* object = source.ptr();
    if (PyFloat_Check(object)) {
      value.kind = Kind::floating;
      value.value = PyFloat_AS_DOUBLE(object);
      return true;
    }
    if (PyLong_Check(object)) {
      value.kind = PyBool_Check(object) ? Kind::boolean : Kind::integer;
      value.integer = PyLong_AsLongLong(object);
      value.value = static_cast<double>(value.integer);
      if (value.integer != -1 || !PyErr_Occurred()) return true;
      PyErr_Clear();  // beyond int64: a float
      value.kind = Kind::floating;
      value.value = PyLong_AsDouble(object);
      if (value.value != -1.0 || !PyErr_Occurred()) return true;
      PyErr_Clear();
      return false;
    }
    if (!array_.load(source, false)) return false;
    value.array = static_cast<nonet::Array*>(array_);
    return value.array != nullptr;
  }

 private:
  make_caster<nonet::Array> array_;
};

}  // namespace pybind11::detail

namespace nonet {

namespace {

void bind_unary(py::module_& m) {
  for (int i = 0; i < static_cast<int>(Unary::count); ++i) {
    const auto op = static_cast<Unary>(i);
    if (op == Unary::clamp) continue;
    m.def(name(op), [op](const Array& x) { return unary(op, x); }, py::arg("x"), no_gil());
    if (op >= Unary::floor) continue;
    m.def(
        message(name(op), "_backward").c_str(),
        [op](const Array& dy, const Array& saved) { return unary_gradient(op, dy, saved); }, py::arg("dy"),
        py::arg("saved"), no_gil());
  }
  m.def(
      "clamp", [](const Array& x, float a, float b) { return unary(Unary::clamp, x, {a, b}); }, py::arg("x"),
      py::arg("min"), py::arg("max"), no_gil());
  m.def(
      "clamp_backward",
      [](const Array& dy, const Array& x, float a, float b) { return unary_gradient(Unary::clamp, dy, x, {a, b}); },
      py::arg("dy"), py::arg("x"), py::arg("min"), py::arg("max"), no_gil());
  m.def("isnan", &is_nan, py::arg("x"), no_gil());
  m.def("isinf", &is_inf, py::arg("x"), no_gil());
  m.def("isfinite", &is_finite, py::arg("x"), no_gil());
  m.def("logical_not", &logical_not, py::arg("x"), no_gil());
  m.def("bitwise_not", &bitwise_not, py::arg("x"), no_gil());
}

void bind_binary(py::module_& m) {
  for (int i = 0; i < static_cast<int>(Binary::count); ++i) {
    const auto op = static_cast<Binary>(i);
    if (op == Binary::prelu || op == Binary::gate) continue;
    m.def(
        name(op), [op](const Operand& x, const Operand& z) { return binary(op, x, z); }, py::arg("x"), py::arg("z"),
        no_gil());
  }
  static constexpr struct {
    const char* name;
    Partial partial;
  } partials[] = {{"pow_base_backward", Partial::pow_base},
                  {"pow_exponent_backward", Partial::pow_exponent},
                  {"div_divisor_backward", Partial::div_divisor},
                  {"maximum_backward", Partial::maximum},
                  {"minimum_backward", Partial::minimum}};
  for (const auto& entry : partials) {
    m.def(
        entry.name,
        [partial = entry.partial](const Array& dy, const Operand& x, const Operand& z) {
          return binary_gradient(partial, dy, x, z);
        },
        py::arg("dy"), py::arg("x"), py::arg("z"), no_gil());
  }
}

}  // namespace

void bind_elementwise(py::module_& m) {
  bind_unary(m);
  bind_binary(m);
  m.def("add_into", &add_into, py::arg("x"), py::arg("z"), "x += z in place", no_gil());
  m.def("where", &where, py::arg("c"), py::arg("x"), py::arg("z"), no_gil());
  m.def("sum_to", &sum_to, py::arg("dy"), py::arg("shape"), no_gil());
  m.def("alike", &alike, py::arg("x"), py::arg("z"));
}

}  // namespace nonet
