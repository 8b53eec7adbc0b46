// The random generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// Counter-based: element i of a draw is a pure function of (seed, offset + i / 4, i % 4), whatever the number of
// threads, the instruction set or the device. The state is an int64 array [2] = {seed, offset}, so that a captured CUDA
// step can keep it in device memory and a checkpoint can save it.
#pragma once

#include "array/array.h"

namespace nonet {

class Generator {
 public:
  explicit Generator(uint64_t seed = 0) : state_(Shape{2}, DType::int64) { set(seed, 0); }

  const Array& state() const { return state_; }
  void set(uint64_t seed, uint64_t offset) {
    state_.begin_write("manual_seed");
    state_.data<int64_t>()[0] = static_cast<int64_t>(seed);
    state_.data<int64_t>()[1] = static_cast<int64_t>(offset);
  }

  // Reserves the counters of n elements, four to a counter. Called with the interpreter's lock held, so draws of
  // concurrent threads never share counters.
  PhiloxKey take(int64_t n) {
    int64_t* s = state_.data<int64_t>();
    const PhiloxKey key{static_cast<uint64_t>(s[0]), static_cast<uint64_t>(s[1])};
    s[1] = static_cast<int64_t>(key.offset + static_cast<uint64_t>((n + 3) / 4));
    return key;
  }

 private:
  Array state_;
};

}  // namespace nonet
