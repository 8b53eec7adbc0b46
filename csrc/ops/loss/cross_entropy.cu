#include "cuda/rows.cuh"
#include "cuda/scalar.cuh"
#include "ops/loss/cross_entropy.h"
#include "ops/reduce/slices.cuh"
#include "ops/softmax/online.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

// What a position wants: the class t with the factor b, beside what smoothing gives every class.
struct Wanted {
  static constexpr int ignored = -1;
  static constexpr int bad = -2;
  int t;
  float b;
};

struct IndexTarget {
  const int64_t* target;
  int64_t ignore;
  int64_t classes;
  const float* weight;
  const float* weight_sum;
  float keep;    // 1 - smoothing
  float smooth;  // smoothing / C
  const double* divisor;

  NONET_DEVICE Wanted wanted(int64_t position) const {
    const int64_t t = target[position];
    if (t == ignore) return {Wanted::ignored, 0.f};
    if (t < 0 || t >= classes) return {Wanted::bad, NAN};
    return {static_cast<int>(t), keep * weight_of(t)};
  }
  NONET_DEVICE float weight_of(int64_t c) const { return weight == nullptr ? 1.f : weight[c]; }
  // Of all classes together.
  NONET_DEVICE float mass(float b) const {
    if (smooth == 0.f) return b;
    return b + smooth * (weight_sum == nullptr ? static_cast<float>(classes) : *weight_sum);
  }
  NONET_DEVICE float scale() const { return divisor == nullptr ? 1.f : static_cast<float>(1. / *divisor); }
};

// b * -lp, where nothing times infinity is nothing.
NONET_DEVICE float term(float b, float lp) {
  return b == 0.f ? 0.f : -b * lp;
}

// ---------------------------------------------------------------- rows in registers
struct RowSoftmax {
  float largest;
  float total;
  float log_total;
};

template <int items>
NONET_DEVICE RowSoftmax softmax_of(const float (&v)[items], int width, float* scratch) {
  RowSoftmax out{-INFINITY, 0.f, 0.f};
  NONET_UNROLL
  for (int k = 0; k < items; ++k) out.largest = maximum(v[k], out.largest);
  out.largest = group_reduce(out.largest, Max{}, width, scratch);
  NONET_UNROLL
  for (int k = 0; k < items; ++k) out.total += expf(v[k] - out.largest);
  out.total = group_reduce(out.total, Sum{}, width, scratch);
  out.log_total = logf(out.total);
  return out;
}

template <class T, int items>
struct IndexRows {
  static constexpr int max_threads = 1024;

  NONET_DEVICE void operator()(const T* x, const IndexTarget& target, float* loss, T* dx, const RowShape& shape) const {
    const RowSlots<T, items> slots(shape);
    auto* scratch = shared_memory<float>();
    const Wanted wanted = slots.inside() ? target.wanted(slots.row) : Wanted{Wanted::ignored, 0.f};
    // x at the target is read before dx may overwrite it.
    const float at_target = wanted.t >= 0 ? as_float(x[slots.row * shape.n + wanted.t]) : 0.f;
    float v[items];
    slots.load(v, x, -INFINITY);
    const RowSoftmax s = softmax_of(v, shape.width, scratch);
    float smooth_loss = 0;
    if (target.smooth != 0.f) {
      NONET_UNROLL
      for (int k = 0; k < items; ++k) {
        const int c = slots.index(k);
        if (c < shape.n) smooth_loss += term(target.weight_of(c), (v[k] - s.largest) - s.log_total);
      }
      smooth_loss = target.smooth * group_reduce(smooth_loss, Sum{}, shape.width, scratch);
    }
    if (slots.first()) {
      const float own = term(wanted.b, (at_target - s.largest) - s.log_total);
      loss[slots.row] = wanted.t == Wanted::ignored ? 0.f : own + smooth_loss;
    }
    if (dx == nullptr) return;
    const float scale = target.scale();
    const float p = target.mass(wanted.b) * scale / s.total;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      const int c = slots.index(k);
      v[k] = expf(v[k] - s.largest) * p;
      if (target.smooth != 0.f && c < shape.n) v[k] -= target.smooth * scale * target.weight_of(c);
      if (c == wanted.t) v[k] -= wanted.b * scale;
      if (wanted.t == Wanted::ignored) v[k] = 0;
    }
    slots.store(dx, v);
  }
};

struct ProbabilityTarget {
  const float* q;
  const float* weight;
  float keep;
  float smooth;
  float scale;

  NONET_DEVICE float weight_of(int64_t c) const { return weight == nullptr ? 1.f : weight[c]; }
  NONET_DEVICE float factor(float q, int64_t c) const { return weight_of(c) * fmaf(q, keep, smooth); }
};

template <int items>
struct ProbabilityRows {
  static constexpr int max_threads = 512;

  NONET_DEVICE void operator()(const float* x, const ProbabilityTarget& target, float* loss, float* dx, float* dq,
                               const RowShape& shape) const {
    const RowSlots<float, items> slots(shape);
    auto* scratch = shared_memory<float>();
    float v[items];
    float b[items];
    slots.load(v, x, -INFINITY);
    slots.load(b, target.q, 0.f);
    const RowSoftmax s = softmax_of(v, shape.width, scratch);
    float sum = 0;
    float mass = 0;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      const int c = slots.index(k);
      b[k] = c < shape.n ? target.factor(b[k], c) : 0.f;
      mass += b[k];
      sum += term(b[k], (v[k] - s.largest) - s.log_total);
    }
    sum = group_reduce(sum, Sum{}, shape.width, scratch);
    if (slots.first()) loss[slots.row] = sum;
    if (dx != nullptr) {
      const float p = group_reduce(mass, Sum{}, shape.width, scratch) * target.scale / s.total;
      NONET_UNROLL
      for (int k = 0; k < items; ++k) b[k] = fmaf(expf(v[k] - s.largest), p, -target.scale * b[k]);
      slots.store(dx, b);
    }
    if (dq == nullptr) return;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      const int c = slots.index(k);
      const float factor = c < shape.n ? target.weight_of(c) * (target.keep * target.scale) : 0.f;
      v[k] = term(factor, (v[k] - s.largest) - s.log_total);
    }
    slots.store(dq, v);
  }
};

// ---------------------------------------------------------------- other slices
// Beside the softmax: sums of b_c (x_c - largest) and of b_c, for loss = sum b_c (log_total - (x_c - largest)).
struct LossState {
  SoftmaxState softmax;
  float sum;
  float mass;

  NONET_DEVICE void take(float x, float b) {
    if (x > softmax.largest) sum = moved(x);
    softmax.take(x);
    if (b == 0.f) return;
    sum += b * (x == -INFINITY ? x : x - softmax.largest);
    mass += b;
  }
  // The first sum with a larger `largest`.
  NONET_DEVICE float moved(float largest) const {
    return mass == 0.f || largest == softmax.largest ? sum : sum - (largest - softmax.largest) * mass;
  }
  NONET_DEVICE float loss(float log_total) const { return (mass == 0.f ? 0.f : mass * log_total) - sum; }

  struct Rule {
    using State = LossState;
    NONET_DEVICE LossState identity() const { return {SoftmaxState::Rule{}.identity(), 0.f, 0.f}; }
    NONET_DEVICE LossState join(const LossState& a, const LossState& b) const {
      const SoftmaxState softmax = SoftmaxState::Rule{}.join(a.softmax, b.softmax);
      return {softmax, a.moved(softmax.largest) + b.moved(softmax.largest), a.mass + b.mass};
    }
  };
};

// The classes run along the middle axis: the k-th item of a row is the k-th class from j on, of columns class j.
template <class T>
struct IndexRule : LossState::Rule {
  static constexpr int pack = pack_size<T>();
  static constexpr int batch = pack > 4 ? 1 : 2;
  using Local = Wanted;
  struct Shared {
    float largest;
    float p;
    float b;
    int t;
  };
  const T* x;
  IndexTarget target;
  float* loss;
  T* dx;
  bool rows;

  constexpr bool maps() const { return dx != nullptr; }
  NONET_DEVICE Wanted local(int64_t, int64_t position) const { return target.wanted(position); }
  NONET_DEVICE int head(int64_t at) const {
    return dx == nullptr ? head_of<pack>(x + at) : head_of<pack>(x + at, dx + at);
  }
  template <int count>
  NONET_DEVICE Pack<T, count> load(int64_t at, int64_t) const {
    return load_pack<count>(x + at);
  }
  NONET_DEVICE float smooth_of(int64_t c) const {
    return target.smooth == 0.f ? 0.f : target.smooth * target.weight_of(c);
  }
  template <int count>
  NONET_DEVICE void take(LossState& state, const Wanted& wanted, const Pack<T, count>& items, int k, int64_t c) const {
    state.take(as_float(items[k]), smooth_of(c) + (c == wanted.t ? wanted.b : 0.f));
  }
  NONET_DEVICE Shared share(const LossState& state, int64_t, int64_t position) const {
    const Wanted wanted = target.wanted(position);
    const float total = state.softmax.normalizer();
    const float value = wanted.t == Wanted::bad ? NAN : state.loss(logf(total));
    loss[position] = wanted.t == Wanted::ignored ? 0.f : value;
    const float scale = target.scale();
    return {state.softmax.largest, target.mass(wanted.b) * scale / total, wanted.b * scale, wanted.t};
  }
  template <int count, class Of>
  NONET_DEVICE void store(int64_t at, int64_t j, const Pack<T, count>& items, const Of& of) const {
    const float scale = target.scale();
    Pack<T, count> out;
    NONET_UNROLL
    for (int k = 0; k < count; ++k) {
      const Shared s = of(k);
      const int64_t c = rows ? j + k : j;
      float d = expf(as_float(items[k]) - s.largest) * s.p - scale * smooth_of(c);
      if (c == s.t) d -= s.b;
      out[k] = from_float<T>(s.t == Wanted::ignored ? 0.f : d);
    }
    store_pack(dx + at, out);
  }
};

template <int count>
struct Pair {
  Pack<float, count> x;
  Pack<float, count> q;
};

struct ProbabilityRule : LossState::Rule {
  static constexpr int pack = 4;
  static constexpr int batch = 2;
  using Local = Nothing;
  struct Shared {
    float largest;
    float p;
    float log_total;
  };
  const float* x;
  ProbabilityTarget target;
  float* loss;
  float* dx;
  float* dq;
  bool rows;

  constexpr bool maps() const { return dx != nullptr || dq != nullptr; }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE int head(int64_t at) const {
    const float* third = dq == nullptr ? target.q : dq;
    return head_of<pack>(x + at, target.q + at, third + at, (dx == nullptr ? x : dx) + at);
  }
  template <int count>
  NONET_DEVICE Pair<count> load(int64_t at, int64_t) const {
    return {load_pack<count>(x + at), load_pack<count>(target.q + at)};
  }
  template <int count>
  NONET_DEVICE void take(LossState& state, Nothing, const Pair<count>& items, int k, int64_t c) const {
    state.take(items.x[k], target.factor(items.q[k], c));
  }
  NONET_DEVICE Shared share(const LossState& state, int64_t, int64_t position) const {
    const float total = state.softmax.normalizer();
    const float log_total = logf(total);
    loss[position] = state.loss(log_total);
    return {state.softmax.largest, state.mass * target.scale / total, log_total};
  }
  template <int count, class Of>
  NONET_DEVICE void store(int64_t at, int64_t j, const Pair<count>& items, const Of& of) const {
    Pack<float, count> d;
    Pack<float, count> e;
    NONET_UNROLL
    for (int k = 0; k < count; ++k) {
      const Shared s = of(k);
      const int64_t c = rows ? j + k : j;
      const float v = items.x[k] - s.largest;
      d[k] = fmaf(expf(v), s.p, -target.scale * target.factor(items.q[k], c));
      e[k] = term(target.weight_of(c) * (target.keep * target.scale), v - s.log_total);
    }
    if (dx != nullptr) store_pack(dx + at, d);
    if (dq != nullptr) store_pack(dq + at, e);
  }
};

// ---------------------------------------------------------------- launchers
void index(Stream stream, DType dtype, const void* x, const int64_t* target, int64_t ignore, const float* weight,
           const float* weight_sum, float smoothing, const double* divisor, float* loss, void* dx,
           const ReducePlan& plan, void* scratch) {
  const IndexTarget wanted{
      target, ignore, plan.n, weight, weight_sum, 1.f - smoothing, smoothing / static_cast<float>(plan.n), divisor};
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto* from = static_cast<const T*>(x);
    auto* to = static_cast<T*>(dx);
    const bool aligned = begins_aligned(x, dx);
    const IndexRule<T> rule{{}, from, wanted, loss, to, plan.inner == 1};
    if (plan.inner > 1) return run_column_slices(stream, rule, plan, aligned);
    if (scratch != nullptr) return run_row_slices(stream, rule, plan, scratch);
    run_rows<T, 16, 1024>(stream, plan.outer, plan.n, aligned, [&](auto items, const RowLaunch& go) {
      go(IndexRows<T, decltype(items)::value>{}, from, wanted, loss, to);
    });
  });
}

void probability(Stream stream, const float* x, const float* target, const float* weight, float smoothing, float scale,
                 float* loss, float* dx, float* dq, const ReducePlan& plan, void* scratch) {
  const ProbabilityTarget wanted{target, weight, 1.f - smoothing, smoothing / static_cast<float>(plan.n), scale};
  const bool aligned = begins_aligned(x, target, dx, dq);
  const ProbabilityRule rule{{}, x, wanted, loss, dx, dq, plan.inner == 1};
  if (plan.inner > 1) return run_column_slices(stream, rule, plan, aligned);
  if (scratch != nullptr) return run_row_slices(stream, rule, plan, scratch);
  run_rows<float, 16, 512>(stream, plan.outer, plan.n, aligned, [&](auto items, const RowLaunch& go) {
    go(ProbabilityRows<decltype(items)::value>{}, x, wanted, loss, dx, dq);
  });
}

}  // namespace

NONET_DEVICE_TABLE(CrossEntropyDevice, simt, {index, probability});

}  // namespace nonet::NONET_CUDA_NS
