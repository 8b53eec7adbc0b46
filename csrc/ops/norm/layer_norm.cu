#include "cuda/rows.cuh"
#include "ops/norm/layer_norm.h"
#include "ops/reduce/moments.cuh"
#include "ops/reduce/slices.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

NONET_DEVICE float inverse_root(float x) {
  return 1.f / sqrtf(x);
}

// ---------------------------------------------------------------- rows in registers
template <class T, int items>
struct ForwardRows {
  static constexpr int max_threads = 1024;

  NONET_DEVICE void operator()(const T* x, const float* gamma, const float* beta, T* y, float* mean, float* rstd,
                               float eps, const RowShape& shape) const {
    const RowSlots<T, items> slots(shape);
    auto* scratch = shared_memory<float>();
    const float share = 1.f / static_cast<float>(shape.n);
    float v[items];
    slots.load(v, x, 0.f);
    float m = 0;
    if (mean != nullptr) {
      float sum = 0;
      NONET_UNROLL
      for (int k = 0; k < items; ++k) sum += v[k];
      m = group_reduce(sum, Sum{}, shape.width, scratch) * share;
    }
    float squares = 0;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      v[k] -= m;
      squares += slots.index(k) < shape.n ? v[k] * v[k] : 0.f;
    }
    const float r = inverse_root(group_reduce(squares, Sum{}, shape.width, scratch) * share + eps);
    float c[items];
    slots.load_shared(c, gamma, 1.f);
    NONET_UNROLL
    for (int k = 0; k < items; ++k) v[k] = v[k] * r * c[k];
    if (beta != nullptr) {
      slots.load_shared(c, beta, 0.f);
      NONET_UNROLL
      for (int k = 0; k < items; ++k) v[k] += c[k];
    }
    slots.store(y, v);
    if (!slots.first()) return;
    rstd[slots.row] = r;
    if (mean != nullptr) mean[slots.row] = m;
  }
};

// The sums over a row of g = dy gamma and of g h.
struct RowSums {
  float g;
  float gh;
};
struct JoinRowSums {
  NONET_DEVICE RowSums operator()(RowSums a, RowSums b) const { return {a.g + b.g, a.gh + b.gh}; }
};

// A group of threads takes every so-many-th row; its sums of dgamma and dbeta stay in registers until the end, when
// those of the block are added.
template <class T, int items, int most_threads>
struct BackwardRows {
  static constexpr int max_threads = most_threads;
  static constexpr int min_blocks = most_threads == 256 ? 3 : 1;  // what registers allow
  static constexpr int sums_offset = 256;                         // bytes; before it the scratch of reductions

  NONET_DEVICE void operator()(const T* dy, const T* x, const float* gamma, const float* mean, const float* rstd, T* dx,
                               float* parts, const RowShape& shape) const {
    RowSlots<T, items> slots(shape);
    const int groups = block_size().x / shape.width;
    float dgamma[items];
    float dbeta[items];
    NONET_UNROLL
    for (int k = 0; k < items; ++k) dgamma[k] = dbeta[k] = 0;
    const int64_t step = int64_t{grid_size().x} * groups;
    for (int64_t base = int64_t{block_index().x} * groups; base < shape.rows; base += step, slots.row += step) {
      row(slots, dy, x, gamma, mean, rstd, dx, dgamma, dbeta);
    }
    if (parts == nullptr) return;
    add_groups(slots, dgamma, parts + int64_t{block_index().x} * 2 * shape.n, groups);
    add_groups(slots, dbeta, parts + (int64_t{block_index().x} * 2 + 1) * shape.n, groups);
  }

 private:
  NONET_DEVICE void row(const RowSlots<T, items>& slots, const T* dy, const T* x, const float* gamma, const float* mean,
                        const float* rstd, T* dx, float (&dgamma)[items], float (&dbeta)[items]) const {
    const bool centred = mean != nullptr;
    const float m = centred && slots.inside() ? mean[slots.row] : 0.f;
    const float r = slots.inside() ? rstd[slots.row] : 0.f;
    float d[items];
    float h[items];
    slots.load(d, dy, 0.f);
    slots.load(h, x, m);  // so that h is 0 behind the end
    RowSums sums{0, 0};
    float c[items];
    slots.load_shared(c, gamma, 1.f);
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      h[k] = slots.index(k) < slots.shape.n ? (h[k] - m) * r : 0.f;
      dgamma[k] = fmaf(d[k], h[k], dgamma[k]);
      dbeta[k] += d[k];
      d[k] *= c[k];
      sums.g += d[k];
      sums.gh = fmaf(d[k], h[k], sums.gh);
    }
    if (dx == nullptr) return;
    sums = group_reduce(sums, JoinRowSums{}, slots.shape.width, shared_memory<RowSums>());
    const float share = 1.f / static_cast<float>(slots.shape.n);
    const float g_mean = centred ? sums.g * share : 0.f;
    const float gh_mean = sums.gh * share;
    NONET_UNROLL
    for (int k = 0; k < items; ++k) d[k] = r * fmaf(-h[k], gh_mean, d[k] - g_mean);
    slots.store(dx, d);
  }

  // to[i] = the sum over the groups of the block of their i-th element.
  NONET_DEVICE void add_groups(const RowSlots<T, items>& slots, const float (&v)[items], float* to, int groups) const {
    const int n = slots.shape.n;
    auto* sums = shared_memory<float>(sums_offset);
    const int own = thread_rank() / slots.shape.width * n;
    block_sync();
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      if (slots.index(k) < n) sums[own + slots.index(k)] = v[k];
    }
    block_sync();
    for (int i = thread_rank(); i < n; i += block_size().x) {
      float sum = sums[i];
      for (int group = 1; group < groups; ++group) sum += sums[group * n + i];
      to[i] = sum;
    }
  }
};

// ---------------------------------------------------------------- long rows
template <class T>
struct ForwardRule : Distances::Rule {
  static constexpr int pack = pack_size<T>();
  using Local = double;
  struct Shared {
    float mean;
    float rstd;
  };
  const T* x;
  const float* gamma;
  const float* beta;
  T* y;
  float* mean;
  float* rstd;
  double n;
  double eps;

  NONET_DEVICE double local(int64_t first, int64_t) const {
    return mean != nullptr ? Distances::origin(as_float(x[first])) : 0.;
  }
  NONET_DEVICE int head(int64_t at) const { return head_of<pack>(x + at, y + at); }
  template <int count>
  NONET_DEVICE Pack<T, count> load(int64_t at, int64_t) const {
    return load_pack<count>(x + at);
  }
  template <int count>
  NONET_DEVICE void take(Distances& state, double origin, const Pack<T, count>& items, int k, int64_t) const {
    state.take(as_float(items[k]), origin);
  }
  NONET_DEVICE Shared share(Distances state, int64_t first, int64_t result) const {
    const bool centred = mean != nullptr;
    const double squares = centred ? state.squares_about_mean(n) : state.squares;
    const Shared out{centred ? static_cast<float>(state.mean(n, local(first, result))) : 0.f,
                     static_cast<float>(1. / ::sqrt(squares / n + eps))};
    rstd[result] = out.rstd;
    if (centred) mean[result] = out.mean;
    return out;
  }
  template <int count, class Of>
  NONET_DEVICE void store(int64_t at, int64_t j, const Pack<T, count>& items, const Of& of) const {
    Pack<T, count> out;
    NONET_UNROLL
    for (int k = 0; k < count; ++k) {
      const Shared s = of(k);
      float h = (as_float(items[k]) - s.mean) * s.rstd;
      if (gamma != nullptr) h *= gamma[j + k];
      if (beta != nullptr) h += beta[j + k];
      out[k] = from_float<T>(h);
    }
    store_pack(y + at, out);
  }
};

template <class T, int count>
struct Pair {
  Pack<T, count> d;
  Pack<T, count> x;
};

template <class T>
struct BackwardInputs {
  static constexpr int pack = pack_size<T>();
  static constexpr int batch = 2;
  const T* dy;
  const T* x;
  const float* mean;
  const float* rstd;

  template <int count>
  NONET_DEVICE Pair<T, count> load(int64_t at, int64_t) const {
    return {load_pack<count>(dy + at), load_pack<count>(x + at)};
  }
  NONET_DEVICE float normal(T v, int64_t row) const {
    return (as_float(v) - (mean != nullptr ? mean[row] : 0.f)) * rstd[row];
  }
};

template <class T>
struct InputRule : BackwardInputs<T> {
  using State = RowSums;
  using Local = int64_t;  // the row
  struct Shared {
    float g_mean;
    float gh_mean;
    float mean;
    float rstd;
  };
  const float* gamma;
  T* dx;
  float n;

  NONET_DEVICE RowSums identity() const { return {0, 0}; }
  NONET_DEVICE int64_t local(int64_t, int64_t row) const { return row; }
  NONET_DEVICE int head(int64_t at) const { return head_of<pack_size<T>()>(this->dy + at, this->x + at, dx + at); }
  NONET_DEVICE float scaled(T d, int64_t j) const { return as_float(d) * (gamma != nullptr ? gamma[j] : 1.f); }
  template <int count>
  NONET_DEVICE void take(RowSums& state, int64_t row, const Pair<T, count>& items, int k, int64_t j) const {
    const float g = scaled(items.d[k], j);
    state.g += g;
    state.gh += g * this->normal(items.x[k], row);
  }
  NONET_DEVICE RowSums join(RowSums a, RowSums b) const { return JoinRowSums{}(a, b); }
  NONET_DEVICE Shared share(RowSums state, int64_t, int64_t row) const {
    const bool centred = this->mean != nullptr;
    return {centred ? state.g / n : 0.f, state.gh / n, centred ? this->mean[row] : 0.f, this->rstd[row]};
  }
  template <int count, class Of>
  NONET_DEVICE void store(int64_t at, int64_t j, const Pair<T, count>& items, const Of& of) const {
    Pack<T, count> out;
    NONET_UNROLL
    for (int k = 0; k < count; ++k) {
      const Shared s = of(k);
      const float h = (as_float(items.x[k]) - s.mean) * s.rstd;
      out[k] = from_float<T>(s.rstd * fmaf(-h, s.gh_mean, scaled(items.d[k], j + k) - s.g_mean));
    }
    store_pack(dx + at, out);
  }
};

// Sums over the rows, which are the middle axis here.
template <class T>
struct ParametersRule : BackwardInputs<T> {
  using State = RowSums;  // of dy and of dy h
  using Local = Nothing;
  float* sums;
  int64_t n;

  NONET_DEVICE RowSums identity() const { return {0, 0}; }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE int head(int64_t at) const { return head_of<pack_size<T>()>(this->dy + at, this->x + at); }
  template <int count>
  NONET_DEVICE void take(RowSums& state, Nothing, const Pair<T, count>& items, int k, int64_t row) const {
    const float d = as_float(items.d[k]);
    state.g += d;
    state.gh += d * this->normal(items.x[k], row);
  }
  NONET_DEVICE RowSums join(RowSums a, RowSums b) const { return JoinRowSums{}(a, b); }
  NONET_DEVICE void finish(RowSums state, int64_t, int64_t column) const {
    sums[column] = state.gh;
    sums[n + column] = state.g;
  }
};

// ---------------------------------------------------------------- launchers
void forward(Stream stream, DType dtype, const void* x, const float* gamma, const float* beta, void* y, float* mean,
             float* rstd, float eps, const ReducePlan& plan, void* scratch) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto* from = static_cast<const T*>(x);
    auto* to = static_cast<T*>(y);
    const bool aligned = begins_aligned(x, gamma, beta, y);
    if (scratch != nullptr) {
      const ForwardRule<T> rule{{}, from, gamma, beta, to, mean, rstd, static_cast<double>(plan.n), eps};
      return run_row_slices(stream, rule, plan, scratch);
    }
    run_rows<T, 16, 1024>(stream, plan.outer, plan.n, aligned, [&](auto items, const RowLaunch& go) {
      go(ForwardRows<T, decltype(items)::value>{}, from, gamma, beta, to, mean, rstd, eps);
    });
  });
}

void backward(Stream stream, DType dtype, const void* dy, const void* x, const float* gamma, const float* mean,
              const float* rstd, void* dx, float* parts, int64_t rows, int64_t n) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const bool aligned = begins_aligned(dy, x, gamma, dx);
    run_rows<T, 8, 512>(stream, rows, n, aligned, [&](auto items, RowLaunch go) {
      constexpr int count = decltype(items)::value;
      // Few rows go to as many blocks as there are parts, each with as few groups as that takes.
      go.blocks = rows < LayerNormDevice::blocks ? rows : LayerNormDevice::blocks;
      while (go.threads > 32 && go.threads > go.shape.width && go.threads / go.shape.width / 2 * go.blocks >= rows) {
        go.threads /= 2;
      }
      const auto launch = [&](auto kernel) {
        go.shared_bytes = kernel.sums_offset + static_cast<int>(go.threads / go.shape.width * n * sizeof(float));
        go(kernel, static_cast<const T*>(dy), static_cast<const T*>(x), gamma, mean, rstd, static_cast<T*>(dx), parts);
      };
      if constexpr (count == 8) {
        if (go.threads > 256) return launch(BackwardRows<T, count, 512>{});
      }
      launch(BackwardRows<T, count, 256>{});
    });
  });
}

void backward_input(Stream stream, DType dtype, const void* dy, const void* x, const float* gamma, const float* mean,
                    const float* rstd, void* dx, const ReducePlan& plan, void* scratch) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const InputRule<T> rule{{static_cast<const T*>(dy), static_cast<const T*>(x), mean, rstd},
                            gamma,
                            static_cast<T*>(dx),
                            static_cast<float>(plan.n)};
    run_row_slices(stream, rule, plan, scratch);
  });
}

void backward_parameters(Stream stream, DType dtype, const void* dy, const void* x, const float* mean,
                         const float* rstd, float* sums, const ReducePlan& column_plan, void* parts) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const ParametersRule<T> rule{
        {static_cast<const T*>(dy), static_cast<const T*>(x), mean, rstd}, sums, column_plan.inner};
    run_fold_columns(stream, rule, column_plan, begins_aligned(dy, x), parts);
  });
}

}  // namespace

NONET_DEVICE_TABLE(LayerNormDevice, simt, {forward, backward, backward_input, backward_parameters});

}  // namespace nonet::NONET_CUDA_NS
