#include "ops/reduce/reduce.h"

#include "simd/fold.h"
#include "simd/math.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 16384;  // elements per block
constexpr int64_t strip = 512;    // columns whose partial results stay in the nearest cache

NONET_INLINE I same(F x, F p) {
  return (x == p) | ((x != x) & (p != p));
}

template <Term term>
NONET_INLINE F map(F x, F p) {
  if constexpr (term == Term::equal) return same(x, p) ? broadcast(1.f) : F{};
  if constexpr (term == Term::squared_offset) return (x - p) * (x - p);
  if constexpr (term == Term::exp_offset) return exp(x - p);
  return x;
}

template <class Op, Term term>
void fold_rows(const float* x, const float* p, float* y, int64_t outer, int64_t n) {
  constexpr int64_t span = fold_span(1);
  const int64_t spans = (n + span - 1) / span;
  parallel_for(outer * spans, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / spans;
      const int64_t first = task % spans * span;
      const int64_t last = first + span < n ? first + span : n;
      const float* from = x + row * n;
      const F offset = broadcast(p != nullptr ? p[row] : 0.f);
      y[task] = fold_range<Op>(
          first, last, [&](int64_t i, int64_t lanes) { return map<term>(load_lanes(from + i, lanes), offset); });
    }
  });
}

// `rows` rows of `columns` numbers, `stride` apart, into y: eight rows at a time by a tree, the eights in order.
template <class Op, Term term>
void fold_strip(const float* x, const float* p, float* y, int64_t rows, int64_t columns, int64_t stride) {
  for (int64_t r = 0; r < rows; r += 8) {
    const int64_t count = rows - r < 8 ? rows - r : 8;
    for_vectors(columns, [&](int64_t i, int64_t lanes) {
      const F offset = p != nullptr ? load_lanes(p + i, lanes) : F{};
      const float* from = x + r * stride + i;
      F v[8];
      if (count == 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) v[k] = map<term>(load_lanes(from + k * stride, lanes), offset);
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) v[k] = Op::apply(v[k], v[k + 4]);
        v[0] = Op::apply(Op::apply(v[0], v[2]), Op::apply(v[1], v[3]));
      } else {
        v[0] = map<term>(load_lanes(from, lanes), offset);
        for (int64_t k = 1; k < count; ++k) {
          v[0] = Op::apply(v[0], map<term>(load_lanes(from + k * stride, lanes), offset));
        }
      }
      store_lanes(y + i, r == 0 ? v[0] : Op::apply(load_lanes(y + i, lanes), v[0]), lanes);
    });
  }
}

template <class Op, Term term>
void fold_columns(const float* x, const float* p, float* y, int64_t outer, int64_t n, int64_t inner) {
  constexpr int64_t span = fold_span(2);
  const int64_t spans = (n + span - 1) / span;
  const int64_t strips = (inner + strip - 1) / strip;
  const int64_t cost = (n < span ? n : span) * (inner < strip ? inner : strip);
  parallel_for(outer * spans * strips, 1 + grain / (cost + 1), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t column = task % strips * strip;
      const int64_t part = task / strips;  // outer, span
      const int64_t o = part / spans;
      const int64_t row = part % spans * span;
      fold_strip<Op, term>(x + (o * n + row) * inner + column, p != nullptr ? p + o * inner + column : nullptr,
                           y + part * inner + column, n - row < span ? n - row : span,
                           inner - column < strip ? inner - column : strip, inner);
    }
  });
}

template <class Op, Term term>
void fold_any(const float* x, const float* p, float* y, int64_t outer, int64_t n, int64_t inner) {
  if (inner == 1) {
    fold_rows<Op, term>(x, p, y, outer, n);
  } else {
    fold_columns<Op, term>(x, p, y, outer, n, inner);
  }
}

void fold(Fold op, Term term, const float* x, const float* p, float* y, int64_t outer, int64_t n, int64_t inner) {
  switch (op) {
    case Fold::product:
      return fold_any<Multiply, Term::value>(x, p, y, outer, n, inner);
    case Fold::maximum:
      return fold_any<Maximum, Term::value>(x, p, y, outer, n, inner);
    case Fold::minimum:
      return fold_any<Minimum, Term::value>(x, p, y, outer, n, inner);
    default:
      break;
  }
  switch (term) {
    case Term::equal:
      return fold_any<Add, Term::equal>(x, p, y, outer, n, inner);
    case Term::squared_offset:
      return fold_any<Add, Term::squared_offset>(x, p, y, outer, n, inner);
    case Term::exp_offset:
      return fold_any<Add, Term::exp_offset>(x, p, y, outer, n, inner);
    default:
      return fold_any<Add, Term::value>(x, p, y, outer, n, inner);
  }
}

template <Spread what>
NONET_INLINE F unmap(const float* x, int64_t i, int64_t lanes, F p, F d) {
  if constexpr (what == Spread::constant) return d;
  const F v = load_lanes(x + i, lanes);
  if constexpr (what == Spread::equal) return same(v, p) ? d : F{};
  if constexpr (what == Spread::offset) return (v - p) * d;
  return exp(v - p) * d;
}

template <Spread what>
void spread_any(const float* x, const float* p, const float* d, float* dx, int64_t outer, int64_t n, int64_t inner) {
  if (inner == 1) {
    const int64_t spans = (n + grain - 1) / grain;
    return parallel_for(outer * spans, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t row = task / spans;
        const int64_t first = task % spans * grain;
        const F offset = broadcast(p != nullptr ? p[row] : 0.f);
        const F factor = broadcast(d[row]);
        const float* from = x != nullptr ? x + row * n + first : nullptr;
        for_vectors(n - first < grain ? n - first : grain, [&](int64_t i, int64_t lanes) {
          store_lanes(dx + row * n + first + i, unmap<what>(from, i, lanes, offset, factor), lanes);
        });
      }
    });
  }
  parallel_for(outer * n, 1 + grain / (inner + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row / n * inner;
      const float* from = x != nullptr ? x + row * inner : nullptr;
      for_vectors(inner, [&](int64_t i, int64_t lanes) {
        const F offset = p != nullptr ? load_lanes(p + at + i, lanes) : F{};
        const F factor = load_lanes(d + at + i, lanes);
        store_lanes(dx + row * inner + i, unmap<what>(from, i, lanes, offset, factor), lanes);
      });
    }
  });
}

void spread(Spread what, const float* x, const float* p, const float* d, float* dx, int64_t outer, int64_t n,
            int64_t inner) {
  switch (what) {
    case Spread::equal:
      return spread_any<Spread::equal>(x, p, d, dx, outer, n, inner);
    case Spread::offset:
      return spread_any<Spread::offset>(x, p, d, dx, outer, n, inner);
    case Spread::exp_offset:
      return spread_any<Spread::exp_offset>(x, p, d, dx, outer, n, inner);
    default:
      return spread_any<Spread::constant>(x, p, d, dx, outer, n, inner);
  }
}

// The value first, in one branch-free pass; then where it stands, stopping at the first vector that has it.
template <class Op>
void extreme_row(const float* x, float* value, int64_t* index, int64_t n) {
  const float y = fold_range<Op>(0, n, [&](int64_t i, int64_t lanes) { return load_lanes(x + i, lanes); });
  const F wanted = broadcast(y);
  int64_t i = 0;
  for (; i + width <= n; i += width) {
    const I found = same(load(x + i), wanted);
    int32_t any = 0;
    for (int lane = 0; lane < width; ++lane) any |= found[lane];
    if (any != 0) break;
  }
  while (!(x[i] == y || (x[i] != x[i] && y != y))) ++i;
  *value = y;
  *index = i;
}

void extreme(const float* x, float* value, int64_t* index, int64_t rows, int64_t n, bool largest) {
  parallel_for(rows, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (largest) {
        extreme_row<Maximum>(x + r * n, value + r, index + r, n);
      } else {
        extreme_row<Minimum>(x + r * n, value + r, index + r, n);
      }
    }
  });
}

// Backwards over the rows, so that the first of equals is what remains.
void find(const float* x, const float* value, int64_t* index, int64_t outer, int64_t n, int64_t inner) {
  const int64_t strips = (inner + strip - 1) / strip;
  parallel_for(outer * strips, 1 + grain / (n * (inner < strip ? inner : strip) + 1), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t column = task % strips * strip;
      const int64_t at = task / strips * inner + column;
      const float* from = x + task / strips * n * inner + column;
      const int64_t columns = inner - column < strip ? inner - column : strip;
      int32_t found[strip] = {};
      for (int64_t j = n; j-- > 0;) {
        for_vectors(columns, [&](int64_t i, int64_t lanes) {
          const I hit = same(load_lanes(from + j * inner + i, lanes), load_lanes(value + at + i, lanes));
          I first;  // a multiple of any width fits into the strip
          __builtin_memcpy(&first, found + i, sizeof first);
          first = hit ? I{} + (int32_t)j : first;
          __builtin_memcpy(found + i, &first, sizeof first);
        });
      }
      for (int64_t i = 0; i < columns; ++i) index[at + i] = found[i];
    }
  });
}

}  // namespace

constinit const ReduceKernels reduce_kernels = {fold, spread, extreme, find};

}  // namespace nonet::NONET_NS
