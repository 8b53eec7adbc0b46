#include <cmath>

#include "ops/loss/margin.h"
#include "ops/reduce/slices.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int threads = 128;

NONET_DEVICE bool counts(float z) {  // NaN does
  return !(z <= 0.f);
}

struct Hinges {
  float total;
  float slopes;
};

template <class T>
struct MultiMarginRule {
  static constexpr int pack = pack_size<T>();
  using State = Hinges;
  struct Local {
    float offset;
    int t;
  };
  struct Shared {
    float offset;
    float unit;       // of gradients
    float at_target;  // the gradient there
    int t;
  };
  const T* x;
  const int64_t* target;
  MarginTerms terms;
  float* loss;
  T* dx;
  int64_t n;

  constexpr bool maps() const { return dx != nullptr; }
  NONET_DEVICE Hinges identity() const { return {0.f, 0.f}; }
  NONET_DEVICE Local local(int64_t first, int64_t row) const {
    const int64_t t = target[row];
    if (t < 0 || t >= n) return {NAN, -1};
    return {terms.margin - as_float(x[first + t]), static_cast<int>(t)};
  }
  NONET_DEVICE int head(int64_t at) const { return head_of<pack>(x + at, (dx == nullptr ? x : dx) + at); }
  template <int count>
  NONET_DEVICE Pack<T, count> load(int64_t at, int64_t) const {
    return load_pack<count>(x + at);
  }
  NONET_DEVICE float slope(float z) const { return terms.p == 1 ? 1.f : 2.f * z; }
  template <int count>
  NONET_DEVICE void take(Hinges& state, const Local& local, const Pack<T, count>& items, int k, int64_t c) const {
    const float z = as_float(items[k]) + local.offset;
    if (c == local.t || !counts(z)) return;
    state.total += terms.p == 1 ? z : z * z;
    state.slopes += slope(z);
  }
  NONET_DEVICE Hinges join(Hinges a, Hinges b) const { return {a.total + b.total, a.slopes + b.slopes}; }
  NONET_DEVICE Shared share(Hinges state, int64_t first, int64_t row) const {
    const Local own = local(first, row);
    const float weight = own.t < 0 ? NAN : (terms.weight == nullptr ? 1.f : terms.weight[own.t]);
    const float part = weight / static_cast<float>(n);
    loss[row] = part * state.total;
    return {own.offset, part * terms.scale, -part * terms.scale * state.slopes, own.t};
  }
  template <int count, class Of>
  NONET_DEVICE void store(int64_t at, int64_t j, const Pack<T, count>& items, const Of& of) const {
    Pack<T, count> out;
    NONET_UNROLL
    for (int k = 0; k < count; ++k) {
      const Shared s = of(k);
      const float z = as_float(items[k]) + s.offset;
      const float other = counts(z) ? s.unit * slope(z) : 0.f;
      out[k] = from_float<T>(j + k == s.t ? s.at_target : other);
    }
    store_pack(dx + at, out);
  }
};

void multi_margin(Stream stream, DType dtype, const void* x, const int64_t* target, const float* weight, float margin,
                  int p, float scale, float* loss, void* dx, const ReducePlan& plan, void* scratch) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const MultiMarginRule<T> rule{static_cast<const T*>(x), target, {weight, margin, p, scale}, loss,
                                  static_cast<T*>(dx),      plan.n};
    run_row_slices(stream, rule, plan, scratch);
  });
}

struct First {
  NONET_DEVICE int64_t operator()(int64_t a, int64_t b) const { return a < b ? a : b; }
};

// A block to a row. Targets may name a class more than once.
template <class T>
struct MultilabelMargin {
  static constexpr int max_threads = threads;

  NONET_DEVICE void operator()(const T* x, const int64_t* target, float scale, uint8_t* inside, float* loss, T* dx,
                               int64_t n) const {
    const int64_t row = block_index().x;
    x += row * n;
    target += row * n;
    inside += row * n;
    const int64_t count = mark(target, inside, n, shared_memory<int64_t>());
    const float unit = count < 0 ? NAN : 1.f / static_cast<float>(n);
    float sum = 0;
    for (int64_t c = thread_rank(); c < n; c += threads) {
      const float v = as_float(x[c]);
      float total = 0;
      float hinges = 0;  // that c is part of
      if (inside[c] == 0) {
        for (int64_t k = 0; k < count; ++k) add(v + (1.f - as_float(x[target[k]])), total, hinges);
        sum += total;
      } else if (dx != nullptr) {
        for (int64_t i = 0; i < n; ++i) {
          if (inside[i] == 0) add(as_float(x[i]) + (1.f - v), total, hinges);
        }
        float times = 0;
        for (int64_t k = 0; k < count; ++k) times += target[k] == c ? 1.f : 0.f;
        hinges *= -times;
      }
      if (dx != nullptr) dx[row * n + c] = from_float<T>(unit * scale * hinges);
    }
    sum = block_sum(sum, shared_memory<float>());
    if (thread_rank() == 0) loss[row] = unit * sum;
  }

 private:
  NONET_DEVICE static void add(float z, float& total, float& hinges) {
    if (!counts(z)) return;
    total += z;
    hinges += 1.f;
  }

  // inside = whether a class is among the targets, of which there are so many; -1 if one of them is no class.
  NONET_DEVICE static int64_t mark(const int64_t* target, uint8_t* inside, int64_t n, int64_t* scratch) {
    int64_t end = n;    // the first -1
    int64_t wrong = n;  // the first that is no class
    for (int64_t k = n - 1 - thread_rank(); k >= 0; k -= threads) {
      inside[k] = 0;
      if (target[k] == -1) end = k;
      if (target[k] < -1 || target[k] >= n) wrong = k;
    }
    end = block_reduce(end, First{}, scratch);
    wrong = block_reduce(wrong, First{}, scratch);
    if (wrong < end) return -1;
    for (int64_t k = thread_rank(); k < end; k += threads) inside[target[k]] = 1;
    block_sync();
    return end;
  }
};

void multilabel_margin(Stream stream, DType dtype, const void* x, const int64_t* target, float scale, uint8_t* inside,
                       float* loss, void* dx, int64_t rows, int64_t n) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run(stream, rows, threads, threads / 32 * sizeof(int64_t), MultilabelMargin<T>{}, static_cast<const T*>(x), target,
        scale, inside, loss, static_cast<T*>(dx), n);
  });
}

}  // namespace

NONET_DEVICE_TABLE(MarginLossDevice, simt, {multi_margin, multilabel_margin});

}  // namespace nonet::NONET_CUDA_NS
