#include "bind.h"

#include <array>

#include "array/generator.h"
#include "ops/random/random.h"

namespace nonet {

namespace {

// Takes the counters while the interpreter's lock is held, then draws without it.
template <class Draw>
void draw(Generator& generator, int64_t elements, const Draw& fill) {
  const PhiloxKey key = generator.take(elements);
  const py::gil_scoped_release release;
  fill(key);
}

}  // namespace

void bind_random(py::module_& m) {
  m.def(
      "uniform_into",
      [](const Array& out, Generator& generator, float low, float high) {
        draw(generator, out.numel(), [&](PhiloxKey key) { uniform_into(out, key, low, high); });
      },
      py::arg("out"), py::arg("generator"), py::arg("low"), py::arg("high"));
  m.def(
      "normal_into",
      [](const Array& out, Generator& generator, float mean, float std) {
        draw(generator, out.numel(), [&](PhiloxKey key) { normal_into(out, key, mean, std); });
      },
      py::arg("out"), py::arg("generator"), py::arg("mean"), py::arg("std"));
  m.def(
      "integers_into",
      [](const Array& out, Generator& generator, int64_t low, int64_t high) {
        draw(generator, 2 * out.numel(), [&](PhiloxKey key) { integers_into(out, key, low, high); });
      },
      py::arg("out"), py::arg("generator"), py::arg("low"), py::arg("high"));
  m.def(
      "permutation_into",
      [](const Array& out, Generator& generator) {
        draw(generator, 2 * out.numel(), [&](PhiloxKey key) { permutation_into(out, key); });
      },
      py::arg("out"), py::arg("generator"));
  m.def(
      "bernoulli",
      [](const Array& p, Generator& generator) {
        Array out;
        draw(generator, p.numel(), [&](PhiloxKey key) { out = bernoulli(p, key); });
        return out;
      },
      py::arg("p"), py::arg("generator"));
  m.def(
      "philox",
      [](const std::array<uint32_t, 4>& counter, uint64_t seed) {
        std::array<uint32_t, 4> out;
        random_kernels().block(counter.data(), seed, out.data());
        return out;
      },
      py::arg("counter"), py::arg("seed"), "One counter of four words through Philox4x32-10.");
}

}  // namespace nonet
