#include "bind.h"

#include "ops/ctc/ctc.h"
#include "ops/ctc/decode.h"
#include "ops/loss/common.h"

namespace nonet {

namespace {

using Labels = std::pair<std::vector<int64_t>, double>;

std::vector<Labels> pairs(std::vector<CtcLabels> found) {
  std::vector<Labels> out;
  for (CtcLabels& labels : found) out.emplace_back(std::move(labels.labels), labels.score);
  return out;
}

}  // namespace

void bind_ctc(py::module_& m) {
  m.def(
      "ctc_loss_forward",
      [](const Array& log_probs, const Array& targets, const Array& input_lengths, const Array& target_lengths,
         int64_t blank, std::string_view reduction, bool zero_infinity,
         bool want_dx) -> std::pair<Array, std::optional<Array>> {
        ClassLoss out = ctc_loss_forward(log_probs, targets, input_lengths, target_lengths, blank,
                                         reduction_from_name(reduction, "ctc_loss"), zero_infinity, want_dx);
        return {std::move(out.loss), if_defined(std::move(out.dx))};
      },
      py::arg("log_probs"), py::arg("targets"), py::arg("input_lengths"), py::arg("target_lengths"), py::arg("blank"),
      py::arg("reduction"), py::arg("zero_infinity"), py::arg("want_dx"), no_gil());
  m.def("ctc_loss_backward", &ctc_loss_backward, py::arg("dy"), py::arg("d"), no_gil());
  m.def(
      "ctc_greedy_decode",
      [](const Array& log_probs, const Array& lengths, int64_t blank) {
        return pairs(ctc_greedy_decode(log_probs, lengths, blank));
      },
      py::arg("log_probs"), py::arg("lengths"), py::arg("blank"), no_gil());
  m.def(
      "ctc_beam_decode",
      [](const Array& log_probs, const Array& lengths, int64_t blank, int64_t beam, int64_t top) {
        std::vector<std::vector<Labels>> out;
        for (auto& found : ctc_beam_decode(log_probs, lengths, blank, beam, top))
          out.push_back(pairs(std::move(found)));
        return out;
      },
      py::arg("log_probs"), py::arg("lengths"), py::arg("blank"), py::arg("beam"), py::arg("top"), no_gil());
}

}  // namespace nonet
