#include "base/dtype.h"
#include "cuda/table.cuh"
#include "ops/attention/rotary.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// A thread to a pair, or to an element behind the pairs.
template <class T>
struct Rotate {
  NONET_DEVICE void operator()(const Rotation& r, const T* x, T* y) const {
    const int64_t units = r.size - r.half;
    for_grid(r.outer * r.places * r.heads * units, [&](int64_t n) {
      const int64_t i = n % units;
      const int64_t head = n / units;
      const int64_t at = head * r.size;
      if (i >= r.half) {
        y[at + r.half + i] = x[at + r.half + i];
        return;
      }
      const int64_t place = head / r.heads % r.places * r.half + i;
      const float c = r.cos[place];
      const float s = r.back ? -r.sin[place] : r.sin[place];
      const int64_t first = at + (r.interleaved ? 2 * i : i);
      const int64_t second = r.interleaved ? first + 1 : first + r.half;
      const float p = as_float(x[first]);
      const float q = as_float(x[second]);
      y[first] = from_float<T>(p * c - q * s);
      y[second] = from_float<T>(q * c + p * s);
    });
  }
};

void rotate(Stream stream, DType dtype, const Rotation& r, const void* x, void* y) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, r.outer * r.places * r.heads * (r.size - r.half), Rotate<T>{}, r, static_cast<const T*>(x),
                 static_cast<T*>(y));
  });
}

}  // namespace

NONET_DEVICE_TABLE(RotaryDevice, simt, {rotate});

}  // namespace nonet::NONET_CUDA_NS
