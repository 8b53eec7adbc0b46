// A float32 as the sum of bfloat16 terms (8 + 8 + 8 bits; Henry, Tang & Heinecke, "Leveraging the bfloat16 Artificial
// Intelligence Datatype For Higher-Precision Computations", 2019), packed for AMX tiles and for dot products of
// pairs. *.amx.cpp and *.avx512_bf16.cpp only.
//
// A strip is 32 lines (rows of A or columns of B) over all of k, cut into steps of 32: [k / 32][terms][2][16][32].
// Tiles of A hold a line per row, [16 lines][32 k]; tiles of B a pair of k per row, [16 pairs][16 lines][2]. Both are
// built from 32 lines and values of k at a time, zeros beyond the edges.
#pragma once

#include "simd/flush.h"
#include "simd/transpose.h"

namespace nonet::NONET_NS {

inline constexpr int64_t strip_lines = 32;
inline constexpr int64_t step_k = 32;
inline constexpr int most_terms = 3;
inline constexpr int64_t tile_bytes = 16 * 64;
// Of a strip per step of k: two tiles per term.
constexpr int64_t step_bytes(int terms) {
  return terms * 2 * tile_bytes;
}

typedef uint16_t Halves __attribute__((vector_size(64)));

// The values of a matrix: line l, position k at data[l * line + k * along]; one of the two distances is 1.
template <class T>
struct Lines {
  const T* data;
  int64_t line;
  int64_t along;
};

// x = sum of the terms, whose lower halves are 0. Rounds by adding half a unit: exact, as each remainder fits.
template <int terms>
NONET_INLINE void split(F x, U (&term)[terms]) {
#pragma GCC unroll 3
  for (int t = 0; t < terms; ++t) {
    term[t] = ((U)x + 0x8000u) & 0xffff0000u;
    x -= (F)term[t];
  }
}

// The upper halves of 16 + 16 values.
NONET_INLINE U join(U first, U second) {
#if defined(__clang__)
  return (U)__builtin_shufflevector((Halves)first, (Halves)second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27,
                                    29, 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63);
#else
  return (U)__builtin_shuffle((Halves)first, (Halves)second,
                              Halves{1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                     33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63});
#endif
}
// Pairs of the upper halves of two rows, the first one low.
NONET_INLINE U interleave(U first, U second) {
  return (first >> 16) | second;
}

NONET_INLINE void store_line(uint16_t* to, U line) {
  __builtin_memcpy(to, &line, sizeof line);
}

// 16 lines as 16 rows of pairs, and back.
NONET_INLINE void transpose_pairs(U (&v)[16]) {
  F rows[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = (F)v[i];
  transpose(rows);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = (U)rows[i];
}

// The tile of 16 lines and 32 values of k at x as bfloat16 holds them: one term, and nothing to split.
NONET_INLINE U line_of(const bfloat16* p, int64_t depth) {
  U out{};
  if (depth >= 32) {
    __builtin_memcpy(&out, p, sizeof out);
  } else if (depth > 0) {
    __builtin_memcpy(&out, p, depth * sizeof *p);
  }
  return out;
}
NONET_INLINE U line_of(const float*, int64_t) {
  return U{};
}

// One tile per term, tile_of(t), from 16 lines and 32 values of k at x, of which `lines` and `depth` exist.
// rows: a tile of A, else of B.
template <int terms, bool rows, class T, class TileOf>
NONET_INLINE void pack_tile_terms(const Lines<T>& x, int64_t lines, int64_t depth, const TileOf& tile_of) {
  U out[terms][16];
  const bool contiguous = x.along == 1;
  const auto part = [](const T* p, int64_t lanes) { return lanes <= 0 ? F{} : load_lanes(p, minimum(lanes, 16)); };
  for (int i = 0; i < 16; ++i) {
    U first[terms];
    U second[terms];
    if (contiguous && sizeof(T) == sizeof(bfloat16)) {
      out[0][i] = i < lines ? line_of(x.data + i * x.line, depth) : U{};
      continue;
    }
    if (contiguous) {  // line i
      const T* p = x.data + i * x.line;
      split(i < lines ? part(p, depth) : F{}, first);
      split(i < lines ? part(p + 16, depth - 16) : F{}, second);
    } else {  // pair i of k
      const T* p = x.data + 2 * i * x.along;
      split(2 * i < depth ? part(p, lines) : F{}, first);
      split(2 * i + 1 < depth ? part(p + x.along, lines) : F{}, second);
    }
    for (int t = 0; t < terms; ++t)
      out[t][i] = contiguous ? join(first[t], second[t]) : interleave(first[t], second[t]);
  }
  for (int t = 0; t < terms; ++t) {
    if (contiguous != rows) transpose_pairs(out[t]);
    uint16_t* to = tile_of(t);
    for (int i = 0; i < 16; ++i) store_line(to + 32 * i, out[t][i]);
  }
}

// Steps of a strip from k on: `lines` of 32 and `depth` values of k exist; steps cover depth.
template <int terms, bool rows, class T>
static void pack_strip(const Lines<T>& x, int64_t lines, int64_t depth, uint16_t* to) {
  const FlushDenormals flush;
  for (int64_t k = 0; k < depth; k += step_k, to += step_bytes(terms) / 2) {
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t first = 16 * half;
      const Lines<T> part{x.data + first * x.line + k * x.along, x.line, x.along};
      pack_tile_terms<terms, rows>(part, maximum(0, lines - first), minimum(step_k, depth - k),
                                   [&](int t) { return to + (2 * t + half) * tile_bytes / 2; });
    }
  }
}

// The exponents of a strip: of the largest |value| of each line that is not all zero, the least and the greatest.
struct Exponents {
  int32_t least;
  int32_t greatest;
};
inline constexpr Exponents all_zero{127, -127};

template <class T>
static Exponents exponents(const Lines<T>& x, int64_t lines, int64_t depth) {
  Exponents out = all_zero;
  const auto add = [&out](uint32_t bits) {
    if (bits == 0) return;
    const int32_t e = (int32_t)(bits >> 23) - 127;
    out.least = e < out.least ? e : out.least;
    out.greatest = e > out.greatest ? e : out.greatest;
  };
  const auto largest = [](U a, U b) { return a > b ? a : b; };
  if (x.along == 1) {
    for (int64_t l = 0; l < lines; ++l) {
      U most{};
      for_vectors(depth, [&](int64_t k, int64_t lanes) {
        most = largest(most, (U)load_lanes(x.data + l * x.line + k, lanes) & 0x7fffffffu);
      });
      uint32_t line = 0;
      for (int i = 0; i < width; ++i) line = most[i] > line ? most[i] : line;
      add(line);
    }
  } else {
    for (int64_t l = 0; l < lines; l += width) {
      const int64_t lanes = minimum(width, lines - l);
      U most{};
      for (int64_t k = 0; k < depth; ++k)
        most = largest(most, (U)load_lanes(x.data + l + k * x.along, lanes) & 0x7fffffffu);
      for (int i = 0; i < lanes; ++i) add(most[i]);
    }
  }
  return out;
}

// Whether every product and sum of a tile of these two strips stays where tiles lose nothing: no infinity, NaN or
// overflow, and no term that matters below 2^-126.
NONET_INLINE bool in_range(const Exponents& a, const Exponents& b, int64_t depth) {
  if (a.greatest > 126 || b.greatest > 126) return false;
  const bool a_zero = a.greatest < a.least;
  const bool b_zero = b.greatest < b.least;
  if ((!a_zero && a.least < -96) || (!b_zero && b.least < -96)) return false;
  if (a_zero || b_zero) return true;
  const int log_depth = 64 - __builtin_clzll((unsigned long long)depth);
  return a.least + b.least >= -96 && a.greatest + b.greatest + log_depth <= 126;
}

}  // namespace nonet::NONET_NS
