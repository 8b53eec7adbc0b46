#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/pool/pool.h"
#include "ops/pool/window.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// Numbers beyond every index, such as the stride of a single window, are as good as the limit.
int narrowed(int64_t x) {
  return static_cast<int>(x < PoolDevice::limit ? x : PoolDevice::limit);
}

struct Axis {
  int n, m;
  int kernel, stride, padding, dilation;
  bool adaptive, include_pad;
  bool small;  // products of n and m fit into 32 bits
  float divisor;
  Divisor<int32_t> by_n, by_m, by_stride;

  explicit Axis(const PoolAxis& a)
      : n(narrowed(a.n)),
        m(narrowed(a.m)),
        kernel(narrowed(a.kernel)),
        stride(narrowed(a.stride)),
        padding(narrowed(a.padding)),
        dilation(narrowed(a.dilation)),
        adaptive(a.adaptive),
        include_pad(a.include_pad),
        small((a.n + 1) * (a.m + 1) < PoolDevice::limit),
        divisor(a.divisor),
        by_n(n),
        by_m(m),
        by_stride(stride) {}

  // product / d.value, rounded down.
  NONET_DEVICE int ratio(int64_t product, const Divisor<int32_t>& d) const {
    return small ? d.quotient(static_cast<int>(product)) : static_cast<int>(product / d.value);
  }
  NONET_DEVICE PoolSpan<int> window(int o) const {
    if (!adaptive) return pool_window<int>(*this, o);
    return {ratio(int64_t{o} * n, by_m), ratio((int64_t{o} + 1) * n + m - 1, by_m)};
  }
  // The outputs in whose windows input p may lie.
  NONET_DEVICE PoolSpan<int> outputs(int p) const {
    if (adaptive) return {ratio(int64_t{p} * m, by_n), smaller(ratio((int64_t{p} + 1) * m + n - 1, by_n), m)};
    const int low = p + padding - (kernel - 1) * dilation;
    return {low <= 0 ? 0 : by_stride.quotient(low + stride - 1), smaller(by_stride.quotient(p + padding) + 1, m)};
  }
};

struct Images {
  Axis rows, columns;
  Divisor<int32_t> inner;

  explicit Images(const PoolImages& images) : rows(images.rows), columns(images.columns), inner(images.inner) {}
};

// body(images, elements before them in x, in y) for parts of the images whose indices fit into 32 bits.
template <class Body>
void for_parts(const PoolImages& images, const Body& body) {
  const int64_t x = images.inner * images.rows.n * images.columns.n;
  const int64_t y = images.inner * images.rows.m * images.columns.m;
  const int64_t most = x > y ? x : y;
  const int64_t together = most == 0 ? images.outer : PoolDevice::limit / most;
  for (int64_t first = 0; first < images.outer; first += together) {
    PoolImages part = images;
    part.outer = images.outer - first < together ? images.outer - first : together;
    body(part, first * x, first * y);
  }
}

// An output (or an input) of the images, and its place among the inner elements.
struct Place {
  int outer, row, column, inner;
};
NONET_DEVICE Place place(int i, const Divisor<int32_t>& inner, const Divisor<int32_t>& columns,
                         const Divisor<int32_t>& rows) {
  const int pixel = inner.quotient(i);
  const int line = columns.quotient(pixel);
  const int outer = rows.quotient(line);
  return {outer, line - outer * rows.value, pixel - line * columns.value, i - pixel * inner.value};
}

// ---------------------------------------------------------------- what is made of a window
struct Largest {
  struct State {
    float value;
    int32_t index;
  };
  static NONET_DEVICE State first(int32_t index) { return {-INFINITY, index}; }
  static NONET_DEVICE void take(State& best, float v, int32_t index) {
    if (v > best.value || v != v) best = {v, index};
  }
  // The first of equal ones, the last NaN: as if taken one after the other.
  static NONET_DEVICE State combine(const State& a, const State& b) {
    if (b.value != b.value) return a.value != a.value && a.index > b.index ? a : b;
    if (a.value != a.value) return a;
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
  }
  static NONET_DEVICE State across(const State& a, int step) {
    return {shuffle_xor(a.value, step), shuffle_xor(a.index, step)};
  }
  static NONET_DEVICE float value(const State& a, float) { return a.value; }
};

struct Average {
  struct State {
    float sum;
  };
  static NONET_DEVICE State first(int32_t) { return {0}; }
  static NONET_DEVICE void take(State& a, float v, int32_t) { a.sum += v; }
  static NONET_DEVICE State combine(const State& a, const State& b) { return {a.sum + b.sum}; }
  static NONET_DEVICE State across(const State& a, int step) { return {shuffle_xor(a.sum, step)}; }
  static NONET_DEVICE float value(const State& a, float count) { return a.sum / count; }
};

template <class Op, class T, int size>
NONET_DEVICE void store_results(const typename Op::State (&state)[size], float count, T* y, int32_t* index) {
  Pack<T, size> out;
  NONET_UNROLL
  for (int k = 0; k < size; ++k) out[k] = from_float<T>(Op::value(state[k], count));
  store_pack(y, out);
  if constexpr (std::is_same_v<Op, Largest>) {
    if (index == nullptr) return;
    constexpr int part = size < 4 ? size : 4;
    NONET_UNROLL
    for (int k = 0; k < size; k += part) {
      Pack<int32_t, part> at;
      NONET_UNROLL
      for (int j = 0; j < part; ++j) at[j] = state[k + j].index;
      store_pack(index + k, at);
    }
  }
}

// ---------------------------------------------------------------- forward: a thread per output
template <class Op, class T>
struct PoolByThread {
  NONET_DEVICE void operator()(const T* x, T* y, int32_t* index, int64_t n, const Images& g) const {
    constexpr int pack = pack_size<T>();
    const int inner = g.inner.value;
    const bool packed = inner % pack == 0 && is_aligned<pack>(x) && is_aligned<pack>(y) && is_aligned<4>(index);
    for_packs<pack>(n, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const Place at = place(static_cast<int>(i), g.inner, g.columns.by_m, g.rows.by_m);
      const PoolSpan<int> rows = g.rows.window(at.row);
      const PoolSpan<int> columns = g.columns.window(at.column);
      typename Op::State state[size];
      NONET_UNROLL
      for (int k = 0; k < size; ++k) {
        state[k] = Op::first(static_cast<int32_t>(rows.begin * g.columns.n + columns.begin));
      }
      for (int h = rows.begin; h < rows.end; h += g.rows.dilation) {
        const T* row = x + (at.outer * g.rows.n + h) * g.columns.n * inner + at.inner;
        for (int w = columns.begin; w < columns.end; w += g.columns.dilation) {
          const auto v = load_pack<size>(row + w * inner);
          NONET_UNROLL
          for (int k = 0; k < size; ++k) {
            Op::take(state[k], as_float(v[k]), static_cast<int32_t>(h * g.columns.n + w));
          }
        }
      }
      const float total = pool_count(g.rows, at.row, rows) * pool_count(g.columns, at.column, columns);
      store_results<Op>(state, total, y + i, index == nullptr ? index : index + i);
    });
  }
};

// ---------------------------------------------------------------- forward: many threads per output
// The elements first, first + step, … of a window, row after row.
template <class Op, class T>
NONET_DEVICE typename Op::State part_of_window(const T* x, const Images& g, const Place& at, const PoolSpan<int>& rows,
                                               const PoolSpan<int>& columns, int first, int step) {
  const int width = (columns.end - columns.begin + g.columns.dilation - 1) / g.columns.dilation;
  typename Op::State state = Op::first(static_cast<int32_t>(rows.begin * g.columns.n + columns.begin));
  if (width == 0) return state;
  const int down = step / width;
  const int along = step - down * width;
  int h = rows.begin + first / width * g.rows.dilation;
  int j = first % width;
  while (h < rows.end) {
    const int w = columns.begin + j * g.columns.dilation;
    const int pixel = (at.outer * g.rows.n + h) * g.columns.n + w;
    Op::take(state, as_float(x[pixel * g.inner.value + at.inner]), static_cast<int32_t>(h * g.columns.n + w));
    h += down * g.rows.dilation;
    j += along;
    if (j >= width) {
      j -= width;
      h += g.rows.dilation;
    }
  }
  return state;
}

template <class Op, class T>
struct PoolByWarp {
  NONET_DEVICE void operator()(const T* x, T* y, int32_t* index, int64_t n, const Images& g) const {
    const int64_t i = static_cast<int64_t>(block_index().x) * (block_size().x / 32) + warp_index();
    if (i >= n) return;
    const Place at = place(static_cast<int>(i), g.inner, g.columns.by_m, g.rows.by_m);
    const PoolSpan<int> rows = g.rows.window(at.row);
    const PoolSpan<int> columns = g.columns.window(at.column);
    typename Op::State state[1] = {part_of_window<Op>(x, g, at, rows, columns, lane_index(), 32)};
    for (int step = 16; step > 0; step /= 2) state[0] = Op::combine(state[0], Op::across(state[0], step));
    if (lane_index() != 0) return;
    const float total = pool_count(g.rows, at.row, rows) * pool_count(g.columns, at.column, columns);
    store_results<Op>(state, total, y + i, index == nullptr ? index : index + i);
  }
};

constexpr int block_threads = 256;

// A block per pixel of the output and `lanes` inner elements, a power of two; the rows of threads share the window.
template <class Op, class T>
struct PoolByBlock {
  NONET_DEVICE void operator()(const T* x, T* y, int32_t* index, int lanes, const Images& g) const {
    using State = typename Op::State;
    const int chunks = (g.inner.value + lanes - 1) / lanes;
    const int pixel = static_cast<int>(block_index().x) / chunks;
    const int own = (static_cast<int>(block_index().x) - pixel * chunks) * lanes + thread_rank() % lanes;
    Place at = place(pixel * g.inner.value, g.inner, g.columns.by_m, g.rows.by_m);
    at.inner = own;
    const PoolSpan<int> rows = g.rows.window(at.row);
    const PoolSpan<int> columns = g.columns.window(at.column);
    State* parts = shared_memory<State>();
    State state[1] = {Op::first(0)};
    if (own < g.inner.value) {
      state[0] = part_of_window<Op>(x, g, at, rows, columns, thread_rank() / lanes, block_threads / lanes);
    }
    parts[thread_rank()] = state[0];
    for (int half = block_threads / 2; half >= lanes; half /= 2) {
      block_sync();
      if (thread_rank() >= half) continue;
      state[0] = Op::combine(state[0], parts[thread_rank() + half]);
      parts[thread_rank()] = state[0];
    }
    if (thread_rank() >= lanes || own >= g.inner.value) return;
    const int64_t i = static_cast<int64_t>(pixel) * g.inner.value + own;
    const float total = pool_count(g.rows, at.row, rows) * pool_count(g.columns, at.column, columns);
    store_results<Op>(state, total, y + i, index == nullptr ? index : index + i);
  }
};

// Elements of the largest window along an axis.
int64_t longest(const PoolAxis& a) {
  if (!a.adaptive) return a.kernel < a.n ? a.kernel : a.n;
  return a.m == 0 ? 0 : (a.n + a.m - 1) / a.m;
}

template <class Op, class T>
void forward_part(Stream stream, const T* x, T* y, int32_t* index, const PoolImages& images) {
  const int64_t pixels = images.outer * images.rows.m * images.columns.m;
  const int64_t n = pixels * images.inner;
  const int64_t window = longest(images.rows) * longest(images.columns);
  // Many small windows, or neighbours that read the same lines: a thread each.
  const int64_t step = images.columns.adaptive ? longest(images.columns) : images.columns.stride;
  const Images g(images);
  if (window < 32 || (n >= 1 << 16 && (step < 8 || images.inner > 1))) {
    run_elements(stream, n, PoolByThread<Op, T>{}, x, y, index, n, g);
  } else if (images.inner == 1 && window < 8192) {
    constexpr int warps = block_threads / 32;
    run(stream, (n + warps - 1) / warps, block_threads, 0, PoolByWarp<Op, T>{}, x, y, index, n, g);
  } else {
    int lanes = 1;
    while (lanes < 32 && lanes < images.inner) lanes *= 2;
    const int64_t chunks = (images.inner + lanes - 1) / lanes;
    run(stream, pixels * chunks, block_threads, block_threads * sizeof(typename Op::State), PoolByBlock<Op, T>{}, x, y,
        index, lanes, g);
  }
}

template <class Op>
void forward(Stream stream, DType dtype, const void* x, void* y, int32_t* index, const PoolImages& images) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_parts(images, [&](const PoolImages& part, int64_t in, int64_t out) {
      forward_part<Op>(stream, static_cast<const T*>(x) + in, static_cast<T*>(y) + out,
                       index == nullptr ? index : index + out, part);
    });
  });
}

void max(Stream stream, DType dtype, const void* x, void* y, int32_t* index, const PoolImages& images) {
  forward<Largest>(stream, dtype, x, y, index, images);
}
void average(Stream stream, DType dtype, const void* x, void* y, const PoolImages& images) {
  forward<Average>(stream, dtype, x, y, nullptr, images);
}

// ---------------------------------------------------------------- backward: a thread per input
struct FromLargest {
  static constexpr bool reads_index = true;
};
struct FromAverage {
  static constexpr bool reads_index = false;
  static NONET_DEVICE float scale(const Images& g, int row, int column) {
    return pool_count(g.rows, row, g.rows.window(row)) * pool_count(g.columns, column, g.columns.window(column));
  }
};

template <int size>
NONET_DEVICE void load_indices(const int32_t* from, int32_t (&to)[size]) {
  constexpr int part = size < 4 ? size : 4;
  NONET_UNROLL
  for (int k = 0; k < size; k += part) {
    const auto p = load_pack<part>(from + k);
    NONET_UNROLL
    for (int j = 0; j < part; ++j) to[k + j] = p[j];
  }
}

template <class Op, class T>
struct PoolBackward {
  NONET_DEVICE void operator()(const T* dy, const int32_t* index, T* dx, int64_t n, const Images& g) const {
    constexpr int pack = pack_size<T>();
    const int inner = g.inner.value;
    const bool packed = inner % pack == 0 && is_aligned<pack>(dy) && is_aligned<pack>(dx) && is_aligned<4>(index);
    for_packs<pack>(n, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const Place at = place(static_cast<int>(i), g.inner, g.columns.by_n, g.rows.by_n);
      [[maybe_unused]] const auto position = static_cast<int32_t>(at.row * g.columns.n + at.column);
      const PoolSpan<int> rows = g.rows.outputs(at.row);
      const PoolSpan<int> columns = g.columns.outputs(at.column);
      float sum[size] = {};
      for (int r = rows.begin; r < rows.end; ++r) {
        const int line = (at.outer * g.rows.m + r) * g.columns.m;
        float of_row[size] = {};
        for (int c = columns.begin; c < columns.end; ++c) {
          const int from = (line + c) * inner + at.inner;
          const auto d = load_pack<size>(dy + from);
          if constexpr (Op::reads_index) {
            int32_t from_index[size];
            load_indices(index + from, from_index);
            NONET_UNROLL
            for (int k = 0; k < size; ++k) sum[k] += from_index[k] == position ? as_float(d[k]) : 0.f;
          } else {
            const float total = Op::scale(g, r, c);
            NONET_UNROLL
            for (int k = 0; k < size; ++k) of_row[k] += as_float(d[k]) / total;
          }
        }
        NONET_UNROLL
        for (int k = 0; k < size; ++k) sum[k] += of_row[k];
      }
      Pack<T, size> out;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) out[k] = from_float<T>(sum[k]);
      store_pack(dx + i, out);
    });
  }
};

template <class Op>
void backward(Stream stream, DType dtype, const void* dy, const int32_t* index, void* dx, const PoolImages& images) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_parts(images, [&](const PoolImages& part, int64_t in, int64_t out) {
      const int64_t n = part.outer * part.inner * part.rows.n * part.columns.n;
      run_elements(stream, n, PoolBackward<Op, T>{}, static_cast<const T*>(dy) + out,
                   index == nullptr ? index : index + out, static_cast<T*>(dx) + in, n, Images(part));
    });
  });
}

void max_backward(Stream stream, DType dtype, const void* dy, const int32_t* index, void* dx,
                  const PoolImages& images) {
  backward<FromLargest>(stream, dtype, dy, index, dx, images);
}
void average_backward(Stream stream, DType dtype, const void* dy, void* dx, const PoolImages& images) {
  backward<FromAverage>(stream, dtype, dy, nullptr, dx, images);
}

}  // namespace

NONET_DEVICE_TABLE(PoolDevice, simt, {max, max_backward, average, average_backward});

}  // namespace nonet::NONET_CUDA_NS
