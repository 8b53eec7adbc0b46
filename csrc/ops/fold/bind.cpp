#include "bind.h"

#include "ops/fold/fold.h"

namespace nonet {

namespace {

FoldOptions options_of(const Shape& kernel, const Shape& stride, const Shape& padding, const Shape& dilation) {
  check(kernel.rank() == 2 && stride.rank() == 2 && padding.rank() == 2 && dilation.rank() == 2,
        "fold: expected 2 sizes each");
  FoldOptions out{};
  std::copy_n(kernel.begin(), 2, out.kernel);
  std::copy_n(stride.begin(), 2, out.stride);
  std::copy_n(padding.begin(), 2, out.padding);
  std::copy_n(dilation.begin(), 2, out.dilation);
  return out;
}

}  // namespace

void bind_fold(py::module_& m) {
  m.def(
      "unfold",
      [](const Array& x, const Shape& kernel, const Shape& dilation, const Shape& padding, const Shape& stride) {
        return unfold(x, options_of(kernel, stride, padding, dilation));
      },
      py::arg("x"), py::arg("kernel"), py::arg("dilation"), py::arg("padding"), py::arg("stride"), no_gil());
  m.def(
      "fold",
      [](const Array& y, const Shape& size, const Shape& kernel, const Shape& dilation, const Shape& padding,
         const Shape& stride) {
        check(size.rank() == 2, "fold: output_size must have 2 sizes, got ", size);
        return fold(y, size[0], size[1], options_of(kernel, stride, padding, dilation));
      },
      py::arg("y"), py::arg("size"), py::arg("kernel"), py::arg("dilation"), py::arg("padding"), py::arg("stride"),
      no_gil());
}

}  // namespace nonet
