#include "cuda/divide.cuh"
#include "ops/norm/channel_norm.h"
#include "ops/reduce/fold.cuh"
#include "ops/reduce/moments.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

// ---------------------------------------------------------------- cells
template <class T>
struct MomentsRule : OneInput<T>, Distances::Rule {
  using Local = double;
  double* cells;
  double n;

  NONET_DEVICE double local(int64_t first, int64_t) const { return Distances::origin(as_float(this->x[first])); }
  template <int count>
  NONET_DEVICE void take(Distances& state, double origin, const Pack<T, count>& items, int k, int64_t) const {
    state.take(as_float(items[k]), origin);
  }
  NONET_DEVICE void finish(Distances state, int64_t first, int64_t cell) const {
    cells[2 * cell] = state.mean(n, local(first, cell));
    cells[2 * cell + 1] = state.squares_about_mean(n);
  }
};

template <class T, int count>
struct Pair {
  Pack<T, count> d;
  Pack<T, count> x;
};
struct CellMap {
  float mean, scale, shift;
};
NONET_DEVICE CellMap map_of(const float* maps, int64_t cell) {
  const auto in = load_pack<4>(maps + 4 * cell);
  return {in[0], in[1], in[2]};
}
struct CellSums {
  float dot;
  float sum;
};
template <class Sums>
struct Join {
  NONET_DEVICE Sums operator()(Sums a, Sums b) const { return {a.dot + b.dot, a.sum + b.sum}; }
};

// dz, whose mask is taken from y where there is one, else from x.
template <class T>
struct Incoming {
  const T* dy;
  const T* y;
  bool relu;

  template <int count>
  NONET_DEVICE Pack<T, count> load(int64_t at) const {
    auto d = load_pack<count>(dy + at);
    if (relu && y != nullptr) {
      const auto z = load_pack<count>(y + at);
      NONET_UNROLL
      for (int k = 0; k < count; ++k) d[k] = as_float(z[k]) <= 0.f ? from_float<T>(0.f) : d[k];
    }
    return d;
  }
  NONET_DEVICE float masked(T d, float distance, const CellMap& map) const {
    const bool zero = relu && y == nullptr && fmaf(distance, map.scale, map.shift) <= 0.f;
    return zero ? 0.f : as_float(d);
  }
};

template <class T>
struct SumsRule {
  static constexpr int pack = pack_size<T>();
  using State = CellSums;
  using Local = CellMap;
  Incoming<T> in;
  const T* x;
  T* dz;
  const float* maps;
  float* sums;

  NONET_DEVICE CellSums identity() const { return {0, 0}; }
  NONET_DEVICE CellMap local(int64_t, int64_t cell) const { return map_of(maps, cell); }
  NONET_DEVICE int head(int64_t at) const {
    return head_of<pack>(x + at, in.dy + at, (in.y != nullptr ? in.y : x) + at, (dz != nullptr ? dz : x) + at);
  }
  template <int count>
  NONET_DEVICE Pair<T, count> load(int64_t at, int64_t) const {
    const Pair<T, count> out{in.template load<count>(at), load_pack<count>(x + at)};
    if (dz != nullptr) store_pack(dz + at, out.d);  // each element is loaded once
    return out;
  }
  template <int count>
  NONET_DEVICE void take(CellSums& state, const CellMap& map, const Pair<T, count>& items, int k, int64_t) const {
    const float distance = as_float(items.x[k]) - map.mean;
    const float d = in.masked(items.d[k], distance, map);
    state.dot = fmaf(d, distance, state.dot);
    state.sum += d;
  }
  NONET_DEVICE CellSums join(CellSums a, CellSums b) const { return Join<CellSums>{}(a, b); }
  NONET_DEVICE void finish(CellSums state, int64_t, int64_t cell) const {
    sums[2 * cell] = state.dot;
    sums[2 * cell + 1] = state.sum;
  }
};

// ---------------------------------------------------------------- slices: a warp to each
struct Slice {
  int64_t first;  // cell
  int64_t step;
  int64_t cells;
};
NONET_DEVICE Slice slice_of(const CellLayout& layout, int64_t slice) {
  if (layout.groups == 0) return {slice, layout.channels, layout.images};
  const int64_t each = layout.channels / layout.groups;
  return {slice * each, 1, each};
}
NONET_DEVICE int64_t slice_of_cell(const CellLayout& layout, int64_t cell) {
  if (layout.groups == 0) return cell % layout.channels;
  return cell / (layout.channels / layout.groups);
}
int64_t count_slices(const CellLayout& layout) {
  return layout.groups == 0 ? layout.channels : layout.images * layout.groups;
}

// The number of this thread's warp in the grid.
NONET_DEVICE int64_t global_warp() {
  return (int64_t{block_index().x} * block_size().x + thread_rank()) / 32;
}
template <class Kernel, class... Args>
void run_warps(Stream stream, int64_t warps, const Kernel& kernel, const Args&... args) {
  run(stream, (warps + 3) / 4, 128, 0, kernel, args...);
}

struct Statistics {
  NONET_DEVICE void operator()(const double* cells, float* mean, float* variance, int64_t slices,
                               const CellLayout& layout) const {
    const int64_t index = global_warp();
    if (index >= slices) return;
    const Slice slice = slice_of(layout, index);
    double sum = 0;
    for (int64_t i = lane_index(); i < slice.cells; i += 32) sum += cells[2 * (slice.first + i * slice.step)];
    const double m = warp_reduce(sum, Sum{}) / static_cast<double>(slice.cells);
    double squares = 0;
    for (int64_t i = lane_index(); i < slice.cells; i += 32) {
      const double* cell = cells + 2 * (slice.first + i * slice.step);
      const double distance = cell[0] - m;
      squares += cell[1] + static_cast<double>(layout.positions) * distance * distance;
    }
    squares = warp_reduce(squares, Sum{});
    if (lane_index() != 0) return;
    mean[index] = static_cast<float>(m);
    variance[index] = static_cast<float>(squares / (static_cast<double>(slice.cells) * layout.positions));
  }
};

struct Maps {
  NONET_DEVICE void operator()(const float* mean, const float* variance, float eps, const float* gamma,
                               const float* beta, float* rstd, float* maps, int64_t cells,
                               const CellLayout& layout) const {
    for_grid(cells, [&](int64_t cell) {
      const int64_t slice = slice_of_cell(layout, cell);
      const int64_t channel = cell % layout.channels;
      float r = 0;
      if (variance != nullptr) {
        r = static_cast<float>(1. / ::sqrt(static_cast<double>(variance[slice]) + eps));
        if (cell == slice_of(layout, slice).first) rstd[slice] = r;
      } else {
        r = rstd[slice];
      }
      const Pack<float, 4> out{mean[slice], gamma != nullptr ? gamma[channel] * r : r,
                               beta != nullptr ? beta[channel] : 0.f, 0.f};
      store_pack(maps + 4 * cell, out);
    });
  }
};

struct Update {
  NONET_DEVICE void operator()(const float* statistics, float* running, double momentum, double scale, int64_t images,
                               int64_t channels) const {
    const int64_t c = global_warp();
    if (c >= channels) return;
    double sum = 0;
    for (int64_t n = lane_index(); n < images; n += 32) sum += statistics[n * channels + c];
    sum = warp_reduce(sum, Sum{}) / static_cast<double>(images);
    if (lane_index() == 0) running[c] = static_cast<float>((1 - momentum) * running[c] + momentum * scale * sum);
  }
};

struct DoubleSums {
  double dot;
  double sum;
};

struct Slopes {
  NONET_DEVICE void operator()(const float* sums, const float* rstd, const float* gamma, float* slopes, int64_t slices,
                               const CellLayout& layout) const {
    const int64_t index = global_warp();
    if (index >= slices) return;
    const Slice slice = slice_of(layout, index);
    DoubleSums total{0, 0};
    for (int64_t i = lane_index(); i < slice.cells; i += 32) {
      const int64_t cell = slice.first + i * slice.step;
      const double weight = gamma != nullptr ? gamma[cell % layout.channels] : 1.f;
      total.dot += weight * sums[2 * cell];
      total.sum += weight * sums[2 * cell + 1];
    }
    total = warp_reduce(total, Join<DoubleSums>{});
    const double n = static_cast<double>(slice.cells) * layout.positions;
    const double r = rstd[index];
    const auto slope = static_cast<float>(-r * r * r * total.dot / n);
    const auto offset = static_cast<float>(-r * total.sum / n);
    for (int64_t i = lane_index(); i < slice.cells; i += 32) {
      float* out = slopes + 2 * (slice.first + i * slice.step);
      out[0] = slope;
      out[1] = offset;
    }
  }
};

struct Parameters {
  NONET_DEVICE void operator()(const float* sums, const float* rstd, float* dgamma, float* dbeta,
                               const CellLayout& layout) const {
    const int64_t c = global_warp();
    if (c >= layout.channels) return;
    DoubleSums total{0, 0};
    for (int64_t n = lane_index(); n < layout.images; n += 32) {
      const int64_t cell = n * layout.channels + c;
      total.dot += static_cast<double>(sums[2 * cell]) * rstd[slice_of_cell(layout, cell)];
      total.sum += sums[2 * cell + 1];
    }
    total = warp_reduce(total, Join<DoubleSums>{});
    if (lane_index() != 0) return;
    dgamma[c] = static_cast<float>(total.dot);
    dbeta[c] = static_cast<float>(total.sum);
  }
};

// ---------------------------------------------------------------- maps of elements
template <class I>
struct Cells {
  Divisor<I> positions, channels, image;
  bool last;

  explicit Cells(const CellLayout& l)
      : positions(l.positions), channels(l.channels), image(l.channels * l.positions), last(l.last) {}
  // The cell of element e; those behind it in a pack are of the next ones if channels lie side by side.
  NONET_DEVICE int64_t of(int64_t e) const {
    const auto i = static_cast<I>(e);
    if (!last) return positions.quotient(i);
    return image.quotient(i) * channels.value + i - channels.quotient(i) * channels.value;
  }
};

template <class T, class I>
struct Apply {
  NONET_DEVICE void operator()(const T* x, const T* residual, T* y, const float* maps, bool relu, int64_t n,
                               bool packed, const Cells<I>& cells) const {
    for_packs<pack_size<T>()>(n, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const int64_t cell = cells.of(i);
      const auto in = load_pack<size>(x + i);
      Pack<T, size> more;
      if (residual != nullptr) more = load_pack<size>(residual + i);
      Pack<T, size> out;
      CellMap map = map_of(maps, cell);
      NONET_UNROLL
      for (int k = 0; k < size; ++k) {
        if (k > 0 && cells.last) map = map_of(maps, cell + k);
        float z = fmaf(as_float(in[k]) - map.mean, map.scale, map.shift);
        if (residual != nullptr) z += as_float(more[k]);
        out[k] = from_float<T>(relu && z < 0.f ? 0.f : z);
      }
      store_pack(y + i, out);
    });
  }
};

template <class T, class I>
struct Gradient {
  Incoming<T> in;

  NONET_DEVICE void operator()(const T* x, const float* maps, const float* slopes, T* dx, int64_t n, bool packed,
                               const Cells<I>& cells) const {
    for_packs<pack_size<T>()>(n, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const int64_t cell = cells.of(i);
      const auto d = in.template load<size>(i);
      const auto from = load_pack<size>(x + i);
      Pack<T, size> out;
      CellMap map = map_of(maps, cell);
      float slope = slopes != nullptr ? slopes[2 * cell] : 0.f;
      float offset = slopes != nullptr ? slopes[2 * cell + 1] : 0.f;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) {
        if (k > 0 && cells.last) {
          map = map_of(maps, cell + k);
          slope = slopes != nullptr ? slopes[2 * (cell + k)] : 0.f;
          offset = slopes != nullptr ? slopes[2 * (cell + k) + 1] : 0.f;
        }
        const float distance = as_float(from[k]) - map.mean;
        const float g = in.masked(d[k], distance, map);
        out[k] = from_float<T>(slopes != nullptr ? fmaf(g, map.scale, fmaf(distance, slope, offset)) : g * map.scale);
      }
      store_pack(dx + i, out);
    });
  }
};

// body(cells, n, packed) for arrays that begin aligned or not.
template <class T, class Body>
void with_cells(const CellLayout& layout, bool aligned, const Body& body) {
  const int64_t n = layout.images * layout.channels * layout.positions;
  const bool packed = aligned && (layout.last ? layout.channels : layout.positions) % pack_size<T>() == 0;
  visit_index(n, [&](auto index) { body(Cells<decltype(index)>(layout), n, packed); });
}

// ---------------------------------------------------------------- launchers
void moments(Stream stream, DType dtype, const void* x, double* cells, const ReducePlan& plan, void* parts) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const MomentsRule<T> rule{{static_cast<const T*>(x)}, {}, cells, static_cast<double>(plan.n)};
    run_fold(stream, rule, plan, begins_aligned(x), parts);
  });
}

void statistics(Stream stream, const double* cells, float* mean, float* variance, const CellLayout& layout) {
  const int64_t slices = count_slices(layout);
  run_warps(stream, slices, Statistics{}, cells, mean, variance, slices, layout);
}

void maps(Stream stream, const float* mean, const float* variance, float eps, const float* gamma, const float* beta,
          float* rstd, float* out, const CellLayout& layout) {
  const int64_t cells = layout.images * layout.channels;
  run_elements(stream, cells, Maps{}, mean, variance, eps, gamma, beta, rstd, out, cells, layout);
}

void update(Stream stream, const float* statistics, float* running, double momentum, double scale, int64_t images,
            int64_t channels) {
  run_warps(stream, channels, Update{}, statistics, running, momentum, scale, images, channels);
}

void apply(Stream stream, DType dtype, const void* x, const void* residual, void* y, const float* maps, bool relu,
           const CellLayout& layout) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    with_cells<T>(layout, begins_aligned(x, residual, y), [&](auto cells, int64_t n, bool packed) {
      using I = decltype(cells.positions.value);
      run_elements(stream, packed ? n / pack_size<T>() : n, Apply<T, I>{}, static_cast<const T*>(x),
                   static_cast<const T*>(residual), static_cast<T*>(y), maps, relu, n, packed, cells);
    });
  });
}

void sums(Stream stream, DType dtype, const void* dy, const void* x, const void* y, const float* maps, bool relu,
          void* dz, float* out, const ReducePlan& plan, void* parts) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const Incoming<T> in{static_cast<const T*>(dy), static_cast<const T*>(y), relu};
    const SumsRule<T> rule{in, static_cast<const T*>(x), static_cast<T*>(dz), maps, out};
    run_fold(stream, rule, plan, begins_aligned(dy, x, y, dz), parts);
  });
}

void slopes(Stream stream, const float* sums, const float* rstd, const float* gamma, float* out,
            const CellLayout& layout) {
  const int64_t slices = count_slices(layout);
  run_warps(stream, slices, Slopes{}, sums, rstd, gamma, out, slices, layout);
}

void parameters(Stream stream, const float* sums, const float* rstd, float* dgamma, float* dbeta,
                const CellLayout& layout) {
  run_warps(stream, layout.channels, Parameters{}, sums, rstd, dgamma, dbeta, layout);
}

void gradient(Stream stream, DType dtype, const void* dy, const void* x, const void* y, const float* maps, bool relu,
              const float* slopes, void* dx, const CellLayout& layout) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    with_cells<T>(layout, begins_aligned(dy, x, y, dx), [&](auto cells, int64_t n, bool packed) {
      using I = decltype(cells.positions.value);
      const Incoming<T> in{static_cast<const T*>(dy), static_cast<const T*>(y), relu};
      run_elements(stream, packed ? n / pack_size<T>() : n, Gradient<T, I>{in}, static_cast<const T*>(x), maps, slopes,
                   static_cast<T*>(dx), n, packed, cells);
    });
  });
}

}  // namespace

NONET_DEVICE_TABLE(ChannelNormDevice, simt,
                   {moments, statistics, maps, update, apply, sums, slopes, parameters, gradient});

}  // namespace nonet::NONET_CUDA_NS
