#include "cuda/rows.cuh"
#include "cuda/scalar.cuh"
#include "ops/reduce/slices.cuh"
#include "ops/softmax/online.cuh"
#include "ops/softmax/softmax.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// ---------------------------------------------------------------- rows in registers
template <class T, int items>
struct ForwardRows {
  static constexpr int max_threads = 1024;

  NONET_DEVICE void operator()(const T* x, T* y, bool log, const RowShape& shape) const {
    const RowSlots<T, items> slots(shape);
    auto* scratch = shared_memory<float>();
    float v[items];
    slots.load(v, x, -INFINITY);
    float m = -INFINITY;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) m = maximum(v[k], m);
    m = group_reduce(m, Max{}, shape.width, scratch);
    float total = 0;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      const float e = expf(v[k] - m);
      total += e;
      if (!log) v[k] = e;
    }
    total = group_reduce(total, Sum{}, shape.width, scratch);
    const float last = log ? logf(total) : 1.f / total;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) v[k] = log ? (v[k] - m) - last : v[k] * last;
    slots.store(y, v);
  }
};

template <class T, int items>
struct BackwardRows {
  static constexpr int max_threads = 1024;

  NONET_DEVICE void operator()(const T* dy, const T* y, T* dx, bool log, const RowShape& shape) const {
    const RowSlots<T, items> slots(shape);
    float d[items];
    float p[items];
    slots.load(d, dy, 0.f);
    slots.load(p, y, 0.f);
    float total = 0;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) total += log ? d[k] : d[k] * p[k];
    total = group_reduce(total, Sum{}, shape.width, shared_memory<float>());
    NONET_UNROLL
    for (int k = 0; k < items; ++k) d[k] = log ? d[k] - expf(p[k]) * total : p[k] * (d[k] - total);
    slots.store(dx, d);
  }
};

// ---------------------------------------------------------------- other slices
template <class T>
struct ForwardRule : SoftmaxState::Rule {
  static constexpr int pack = pack_size<T>();
  static constexpr int batch = 2;
  using Local = Nothing;
  struct Shared {
    float largest;
    float last;  // what is multiplied by or, for the logarithm, subtracted
  };
  const T* x;
  T* y;
  bool log;

  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE int head(int64_t at) const { return head_of<pack>(x + at, y + at); }
  template <int count>
  NONET_DEVICE Pack<T, count> load(int64_t at, int64_t) const {
    return load_pack<count>(x + at);
  }
  template <int count>
  NONET_DEVICE void take(State& state, Nothing, const Pack<T, count>& items, int k, int64_t) const {
    state.take(as_float(items[k]));
  }
  NONET_DEVICE Shared share(State state, int64_t, int64_t) const {
    const float total = state.normalizer();
    return {state.largest, log ? logf(total) : 1.f / total};
  }
  template <int count, class Of>
  NONET_DEVICE void store(int64_t at, int64_t, const Pack<T, count>& items, const Of& of) const {
    Pack<T, count> out;
    NONET_UNROLL
    for (int k = 0; k < count; ++k) {
      const Shared s = of(k);
      const float v = as_float(items[k]) - s.largest;
      out[k] = from_float<T>(log ? v - s.last : expf(v) * s.last);
    }
    store_pack(y + at, out);
  }
};

template <class T, int count>
struct Pair {
  Pack<T, count> d;
  Pack<T, count> p;
};

template <class T>
struct BackwardRule {
  static constexpr int pack = pack_size<T>();
  static constexpr int batch = 2;
  using State = float;
  using Local = Nothing;
  using Shared = float;
  const T* dy;
  const T* y;
  T* dx;
  bool log;

  NONET_DEVICE State identity() const { return 0; }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE int head(int64_t at) const { return head_of<pack>(dy + at, y + at, dx + at); }
  template <int count>
  NONET_DEVICE Pair<T, count> load(int64_t at, int64_t) const {
    return {load_pack<count>(dy + at), load_pack<count>(y + at)};
  }
  template <int count>
  NONET_DEVICE void take(State& state, Nothing, const Pair<T, count>& items, int k, int64_t) const {
    const float d = as_float(items.d[k]);
    state += log ? d : d * as_float(items.p[k]);
  }
  NONET_DEVICE State join(State a, State b) const { return a + b; }
  NONET_DEVICE Shared share(State state, int64_t, int64_t) const { return state; }
  template <int count, class Of>
  NONET_DEVICE void store(int64_t at, int64_t, const Pair<T, count>& items, const Of& of) const {
    Pack<T, count> out;
    NONET_UNROLL
    for (int k = 0; k < count; ++k) {
      const float d = as_float(items.d[k]);
      const float p = as_float(items.p[k]);
      out[k] = from_float<T>(log ? d - expf(p) * of(k) : p * (d - of(k)));
    }
    store_pack(dx + at, out);
  }
};

// ---------------------------------------------------------------- launchers
void forward(Stream stream, DType dtype, const void* x, void* y, bool log, const ReducePlan& plan, void* scratch) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto* from = static_cast<const T*>(x);
    auto* to = static_cast<T*>(y);
    const bool aligned = begins_aligned(x, y);
    const ForwardRule<T> rule{{}, from, to, log};
    if (plan.inner > 1) return run_column_slices(stream, rule, plan, aligned);
    if (scratch != nullptr) return run_row_slices(stream, rule, plan, scratch);
    run_rows<T, 16, 1024>(stream, plan.outer, plan.n, aligned, [&](auto items, const RowLaunch& go) {
      go(ForwardRows<T, decltype(items)::value>{}, from, to, log);
    });
  });
}

void backward(Stream stream, DType dtype, const void* dy, const void* y, void* dx, bool log, const ReducePlan& plan,
              void* scratch) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto* d = static_cast<const T*>(dy);
    const auto* p = static_cast<const T*>(y);
    auto* to = static_cast<T*>(dx);
    const bool aligned = begins_aligned(dy, y, dx);
    const BackwardRule<T> rule{d, p, to, log};
    if (plan.inner > 1) return run_column_slices(stream, rule, plan, aligned);
    if (scratch != nullptr) return run_row_slices(stream, rule, plan, scratch);
    run_rows<T, 16, 1024>(stream, plan.outer, plan.n, aligned, [&](auto items, const RowLaunch& go) {
      go(BackwardRows<T, decltype(items)::value>{}, d, p, to, log);
    });
  });
}

}  // namespace

NONET_DEVICE_TABLE(SoftmaxDevice, simt, {forward, backward});

}  // namespace nonet::NONET_CUDA_NS
