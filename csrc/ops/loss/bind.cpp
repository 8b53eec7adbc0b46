#include "bind.h"

#include <optional>

#include "ops/loss/common.h"
#include "ops/loss/cross_entropy.h"
#include "ops/loss/linear_cross_entropy.h"
#include "ops/loss/margin.h"

namespace nonet {

namespace {

using Losses = std::tuple<Array, std::optional<Array>, std::optional<Array>>;
using Gradients = std::tuple<std::optional<Array>, std::optional<Array>, std::optional<Array>>;

void bind_class_losses(py::module_& m) {
  m.def(
      "cross_entropy_forward",
      [](const Array& x, const Array& target, const Array* weight, int64_t ignore, double smoothing,
         std::string_view reduction, bool want_dx, bool want_dtarget) -> Losses {
        ClassLoss out = cross_entropy_forward(x, target, weight, ignore, smoothing,
                                              reduction_from_name(reduction, "cross_entropy"), want_dx, want_dtarget);
        return {std::move(out.loss), if_defined(std::move(out.dx)), if_defined(std::move(out.dtarget))};
      },
      py::arg("x"), py::arg("target"), py::arg("weight").none(true), py::arg("ignore"), py::arg("smoothing"),
      py::arg("reduction"), py::arg("want_dx"), py::arg("want_dtarget"), no_gil());
  m.def("class_loss_backward", &class_loss_backward, py::arg("dy"), py::arg("d"), no_gil());
  m.def(
      "nll_loss_forward",
      [](const Array& x, const Array& target, const Array* weight, int64_t ignore, std::string_view reduction) {
        return nll_loss_forward(x, target, weight, ignore, reduction_from_name(reduction, "nll_loss"));
      },
      py::arg("x"), py::arg("target"), py::arg("weight").none(true), py::arg("ignore"), py::arg("reduction"), no_gil());
  m.def(
      "nll_loss_backward",
      [](const Array& dy, const Shape& shape, const Array& target, const Array* weight, int64_t ignore,
         std::string_view reduction) {
        return nll_loss_backward(dy, shape, target, weight, ignore, reduction_from_name(reduction, "nll_loss"));
      },
      py::arg("dy"), py::arg("shape"), py::arg("target"), py::arg("weight").none(true), py::arg("ignore"),
      py::arg("reduction"), no_gil());
}

using Four = std::tuple<std::optional<Array>, std::optional<Array>, std::optional<Array>, std::optional<Array>>;

Four linear_loss_gradients(LinearGradients&& g) {
  return {if_defined(std::move(g.x)), if_defined(std::move(g.weight)), if_defined(std::move(g.bias)),
          if_defined(std::move(g.target))};
}

void bind_linear_cross_entropy(py::module_& m) {
  m.def(
      "linear_cross_entropy_forward",
      [](bool want_x, bool want_weight, bool want_bias, bool want_target, int64_t chunk, std::string_view reduction,
         const Array& x, const Array& weight, const Array& target, const Array* bias, const Array* class_weight,
         int64_t ignore, double smoothing, int64_t precision) {
        const LinearCrossEntropy options{class_weight, ignore,
                                         smoothing,    reduction_from_name(reduction, "linear_cross_entropy"),
                                         chunk,        numerics_from_code(precision)};
        LinearGradients out = linear_cross_entropy_forward(options, x, weight, target, or_undefined(bias),
                                                           {want_x, want_weight, want_bias, want_target});
        const Array loss = out.loss;
        return std::pair(loss, linear_loss_gradients(std::move(out)));
      },
      py::arg("want_x"), py::arg("want_weight"), py::arg("want_bias"), py::arg("want_target"), py::arg("chunk"),
      py::arg("reduction"), py::arg("x"), py::arg("weight"), py::arg("target"), py::arg("bias").none(true),
      py::arg("class_weight").none(true), py::arg("ignore"), py::arg("smoothing"), py::arg("precision"), no_gil(),
      "the loss and, for mean and sum, the wanted gradients of x, weight, bias and target");
  m.def(
      "linear_cross_entropy_backward",
      [](bool want_x, bool want_weight, bool want_bias, bool want_target, int64_t chunk, const Array& dloss,
         const Array& x, const Array& weight, const Array& target, const Array* bias, const Array* class_weight,
         int64_t ignore, double smoothing, int64_t precision) {
        const LinearCrossEntropy options{class_weight,    ignore, smoothing,
                                         Reduction::none, chunk,  numerics_from_code(precision)};
        return linear_loss_gradients(linear_cross_entropy_backward(
            options, dloss, x, weight, target, or_undefined(bias), {want_x, want_weight, want_bias, want_target}));
      },
      py::arg("want_x"), py::arg("want_weight"), py::arg("want_bias"), py::arg("want_target"), py::arg("chunk"),
      py::arg("dloss"), py::arg("x"), py::arg("weight"), py::arg("target"), py::arg("bias").none(true),
      py::arg("class_weight").none(true), py::arg("ignore"), py::arg("smoothing"), py::arg("precision"), no_gil(),
      "the wanted gradients of x, weight, bias and target, for reduction none");
}

void bind_margin_losses(py::module_& m) {
  using Loss = std::tuple<Array, std::optional<Array>>;
  m.def(
      "multi_margin_forward",
      [](const Array& x, const Array& target, int64_t p, double margin, const Array* weight, std::string_view reduction,
         bool want_dx) -> Loss {
        const Reduction kind = reduction_from_name(reduction, "multi_margin_loss");
        ClassLoss out = multi_margin_forward(x, target, p, margin, weight, kind, want_dx);
        return {std::move(out.loss), if_defined(std::move(out.dx))};
      },
      py::arg("x"), py::arg("target"), py::arg("p"), py::arg("margin"), py::arg("weight").none(true),
      py::arg("reduction"), py::arg("want_dx"), no_gil());
  m.def(
      "multilabel_margin_forward",
      [](const Array& x, const Array& target, std::string_view reduction, bool want_dx) -> Loss {
        const Reduction kind = reduction_from_name(reduction, "multilabel_margin_loss");
        ClassLoss out = multilabel_margin_forward(x, target, kind, want_dx);
        return {std::move(out.loss), if_defined(std::move(out.dx))};
      },
      py::arg("x"), py::arg("target"), py::arg("reduction"), py::arg("want_dx"), no_gil());
}

void bind_pair_losses(py::module_& m) {
  m.def(
      "pair_loss_forward",
      [](const char* op, const Array& x, const Array& y, const Array* a, const Array* b, double c, bool full,
         std::string_view reduction, int64_t count) {
        const PairArguments arguments{pair_loss_from_name(op), c, full, reduction_from_name(reduction, op), count};
        return pair_loss_forward(arguments, x, y, a, b);
      },
      py::arg("op"), py::arg("x"), py::arg("y"), py::arg("a").none(true), py::arg("b").none(true), py::arg("c"),
      py::arg("full"), py::arg("reduction"), py::arg("count"), no_gil());
  m.def(
      "pair_loss_backward",
      [](bool want_x, bool want_y, bool want_a, const Array& dloss, const char* op, const Array& x, const Array& y,
         const Array* a, const Array* b, double c, bool full, std::string_view reduction, int64_t count) -> Gradients {
        const PairArguments arguments{pair_loss_from_name(op), c, full, reduction_from_name(reduction, op), count};
        PairArrays out = pair_loss_backward(arguments, dloss, x, y, a, b, {want_x, want_y, want_a});
        return {if_defined(std::move(out.x)), if_defined(std::move(out.y)), if_defined(std::move(out.a))};
      },
      py::arg("want_x"), py::arg("want_y"), py::arg("want_a"), py::arg("dloss"), py::arg("op"), py::arg("x"),
      py::arg("y"), py::arg("a").none(true), py::arg("b").none(true), py::arg("c"), py::arg("full"),
      py::arg("reduction"), py::arg("count"), no_gil());
}

}  // namespace

void bind_loss(py::module_& m) {
  bind_class_losses(m);
  bind_linear_cross_entropy(m);
  bind_margin_losses(m);
  bind_pair_losses(m);
}

}  // namespace nonet
