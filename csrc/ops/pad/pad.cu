#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/pad/pad.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// The axes for a thread: how an index is taken apart, and where its parts lead.
template <class I>
struct PadLoops {
  Divisor<I> n[9];
  Divisor<I> size[9];
  I low[9];
  I step[9];  // elements from one position to the next, of the array that is read
  Divisor<I> inner;
  int rank;
  PadMode mode;
};

template <class I>
PadLoops<I> loops_of(PadMode mode, const PadAxes& axes, bool backward) {
  PadLoops<I> out = {};
  out.inner = Divisor<I>(axes.inner);
  out.rank = axes.rank;
  out.mode = mode;
  int64_t step = axes.inner;
  for (int a = axes.rank - 1; a >= 0; --a) {
    const PadAxis& axis = axes.axes[a];
    out.n[a] = Divisor<I>(axis.n);
    out.size[a] = Divisor<I>(axis.size);
    out.low[a] = static_cast<I>(axis.low);
    out.step[a] = static_cast<I>(step);
    step *= backward ? axis.size : axis.n;
  }
  return out;
}

struct PadCounts {
  int64_t x, y;
};
PadCounts counts_of(const PadAxes& axes) {
  PadCounts out = {axes.inner, axes.inner};
  for (int a = 0; a < axes.rank; ++a) {
    out.x *= axes.axes[a].n;
    out.y *= axes.axes[a].size;
  }
  return out;
}

// ---------------------------------------------------------------- forward
// Where row i of y comes from in x, or -1. (A row: the elements behind a position of the last axis.)
template <class I>
NONET_DEVICE I source_of(const PadLoops<I>& loops, I row) {
  I at = 0;
  for (int a = loops.rank - 1; a >= 0; --a) {
    const I rest = loops.size[a].quotient(row);
    const I s = pad_source(row - rest * loops.size[a].value - loops.low[a], loops.n[a].value, loops.mode);
    if (s < 0) return -1;
    at += s * loops.step[a];
    row = rest;
  }
  return at;
}

template <class T, class I>
struct PadForward {
  NONET_DEVICE void operator()(const T* x, T* y, T value, int64_t n, const PadLoops<I>& loops) const {
    constexpr int pack = pack_size<T>();
    const I inner = loops.inner.value;
    const bool in_rows = inner % pack == 0 && is_aligned<pack>(x);
    for_packs<pack>(n, is_aligned<pack>(y), [&](int64_t first, auto count) {
      constexpr int size = decltype(count)::value;
      const I i = static_cast<I>(first);
      Pack<T, size> out;
      if (in_rows) {  // a pack lies in one row, and moves as one
        const I row = loops.inner.quotient(i);
        const I at = source_of(loops, row);
        NONET_UNROLL
        for (int k = 0; k < size; ++k) out[k] = value;
        if (at >= 0) out = load_pack<size>(x + at + (i - row * inner));
      } else {
        NONET_UNROLL
        for (int k = 0; k < size; ++k) {
          const I row = loops.inner.quotient(i + k);
          const I at = source_of(loops, row);
          out[k] = at < 0 ? value : x[at + (i + k - row * inner)];
        }
      }
      store_pack(y + first, out);
    });
  }
};

void forward(Stream stream, PadMode mode, const void* x, void* y, int size, uint64_t bits, const PadAxes& axes) {
  const PadCounts counts = counts_of(axes);
  visit_size(size, [&](auto element) {
    using T = decltype(element);
    visit_index(4 * (counts.x > counts.y ? counts.x : counts.y), [&](auto index) {
      using I = decltype(index);
      run_elements(stream, counts.y, PadForward<T, I>{}, static_cast<const T*>(x), static_cast<T*>(y),
                   static_cast<T>(bits), counts.y, loops_of<I>(mode, axes, false));
    });
  });
}

// ---------------------------------------------------------------- backward
// The positions of y that come from one position of x, in their order: first + k step for k < count, but for the last.
template <class I>
struct Targets {
  I count, first, step, last;
};

template <class I>
NONET_DEVICE Targets<I> steps(I first, I step, I count) {
  return {count < 0 ? 0 : count, first, step, first + (count - 1) * step};
}

template <class I>
NONET_DEVICE Targets<I> targets(PadMode mode, I s, I n, I size, I low) {
  I at = s + low;  // of the element itself
  if (mode == PadMode::reflect) {
    const I before = low - s;
    const I behind = low + 2 * (n - 1) - s;
    const bool has_before = s > 0 && before >= 0 && before < size;
    const bool has_self = at >= 0 && at < size;
    const bool has_behind = s < n - 1 && behind >= 0 && behind < size;
    const I first = has_before ? before : (has_self ? at : behind);
    const I last = has_behind ? behind : (has_self ? at : before);
    return {I{has_before} + I{has_self} + I{has_behind}, first, at - first, last};
  }
  if (mode == PadMode::replicate) {
    const I first = s == 0 || at < 0 ? 0 : at;
    const I last = s == n - 1 || at >= size ? size - 1 : at;
    const bool none = (at < 0 && s < n - 1) || (at >= size && s > 0);
    return steps<I>(first, 1, none ? 0 : last - first + 1);
  }
  while (at >= n) at -= n;
  while (at < 0) at += n;
  return steps<I>(at, n, I{at < size} + I{at + n < size} + I{at + 2 * n < size});
}

template <class T, class I>
struct PadBackward {
  NONET_DEVICE void operator()(const T* dy, T* dx, int64_t n, const PadLoops<I>& loops) const {
    constexpr int pack = pack_size<T>();
    const I inner = loops.inner.value;
    for_packs<pack>(n, inner % pack == 0 && is_aligned<pack>(dy) && is_aligned<pack>(dx), [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const I row = loops.inner.quotient(static_cast<I>(i));
      const I column = static_cast<I>(i) - row * inner;
      float sum[size] = {};
      // The combinations of the axes' targets, those of the last axis next to each other: the order of o.
      I combination = 0;
      I combinations = 1;
      do {
        I rest = row;
        I k = combination;
        I at = column;
        combinations = 1;
        for (int a = loops.rank - 1; a >= 0 && combinations > 0; --a) {
          const I outer = loops.n[a].quotient(rest);
          const auto t = targets<I>(loops.mode, rest - outer * loops.n[a].value, loops.n[a].value, loops.size[a].value,
                                    loops.low[a]);
          rest = outer;
          combinations *= t.count;
          I own = 0;
          if (t.count > 1) {
            own = k % t.count;
            k /= t.count;
          }
          at += (own == t.count - 1 ? t.last : t.first + own * t.step) * loops.step[a];
        }
        if (combinations == 0) break;
        const auto d = load_pack<size>(dy + at);
        NONET_UNROLL
        for (int j = 0; j < size; ++j) sum[j] += as_float(d[j]);
      } while (++combination < combinations);
      Pack<T, size> out;
      NONET_UNROLL
      for (int j = 0; j < size; ++j) out[j] = from_float<T>(sum[j]);
      store_pack(dx + i, out);
    });
  }
};

void backward(Stream stream, PadMode mode, DType dtype, const void* dy, void* dx, const PadAxes& axes) {
  const PadCounts counts = counts_of(axes);
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_index(4 * (counts.x > counts.y ? counts.x : counts.y), [&](auto index) {
      using I = decltype(index);
      run_elements(stream, counts.x, PadBackward<T, I>{}, static_cast<const T*>(dy), static_cast<T*>(dx), counts.x,
                   loops_of<I>(mode, axes, true));
    });
  });
}

}  // namespace

NONET_DEVICE_TABLE(PadDevice, simt, {forward, backward});

}  // namespace nonet::NONET_CUDA_NS
