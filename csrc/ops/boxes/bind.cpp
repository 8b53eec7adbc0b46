#include "bind.h"

#include "ops/boxes/boxes.h"

namespace nonet {

namespace {

// backward(da, db) for the gradients that are wanted.
template <class Backward>
py::tuple both_gradients(bool need_a, bool need_b, const Backward& backward) {
  Array da;
  Array db;
  {
    const py::gil_scoped_release release;
    backward(need_a ? &da : nullptr, need_b ? &db : nullptr);
  }
  return py::make_tuple(if_defined(da), if_defined(db));
}

}  // namespace

void bind_boxes(py::module_& m) {
  m.def(
      "box_overlap",
      [](const Array& a, const Array& b, int64_t kind, double e) {
        return box_overlap(a, b, static_cast<Overlap>(kind), e);
      },
      py::arg("a"), py::arg("b"), py::arg("kind"), py::arg("e"), no_gil());
  m.def(
      "box_overlap_backward",
      [](const Array& dy, const Array& a, const Array& b, int64_t kind, double e, bool need_a, bool need_b) {
        return both_gradients(need_a, need_b, [&](Array* da, Array* db) {
          box_overlap_backward(dy, a, b, static_cast<Overlap>(kind), e, da, db);
        });
      },
      py::arg("dy"), py::arg("a"), py::arg("b"), py::arg("kind"), py::arg("e"), py::arg("need_a"), py::arg("need_b"));
  m.def(
      "box_overlap_matrix",
      [](const Array& a, const Array& b, int64_t kind, double e) {
        return box_overlap_matrix(a, b, static_cast<Overlap>(kind), e);
      },
      py::arg("a"), py::arg("b"), py::arg("kind"), py::arg("e"), no_gil());
  m.def(
      "box_overlap_matrix_backward",
      [](const Array& dy, const Array& a, const Array& b, int64_t kind, double e, bool need_a, bool need_b) {
        return both_gradients(need_a, need_b, [&](Array* da, Array* db) {
          box_overlap_matrix_backward(dy, a, b, static_cast<Overlap>(kind), e, da, db);
        });
      },
      py::arg("dy"), py::arg("a"), py::arg("b"), py::arg("kind"), py::arg("e"), py::arg("need_a"), py::arg("need_b"));
  m.def(
      "nms",
      [](const Array& boxes, const Array& scores, const Array* classes, double threshold) {
        return nms(boxes, scores, or_undefined(classes), threshold);
      },
      py::arg("boxes"), py::arg("scores"), py::arg("classes").none(true), py::arg("threshold"), no_gil());
}

}  // namespace nonet
