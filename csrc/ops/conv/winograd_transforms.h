// The transforms of winograd.h, on vectors of channels: along one axis, and from these on tiles. *.simd.cpp and
// *.avx512_bf16.cpp only.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

// A kernel of `taps` elements along an axis reads `taps` + 1 pixels, and as many products see them.
template <int taps>
struct Taps {
  static constexpr int count = taps;
  static constexpr int pixels = taps + 1;
  static constexpr int matrices = taps == 1 ? 1 : taps + 1;

  // Where in the tile of sums product i is, and which matrix it takes.
  static constexpr int place(int i) { return taps == 1 ? 2 * i : i; }
  static constexpr int matrix(int i) { return taps == 1 ? 0 : i; }
};

// v = B^T d
template <int taps>
NONET_INLINE void along_input(const F (&d)[taps + 1], F (&v)[taps + 1]) {
  if constexpr (taps == 1) {
    v[0] = d[0];
    v[1] = d[1];
  } else if constexpr (taps == 2) {
    v[0] = d[0] - d[1];
    v[1] = d[1];
    v[2] = d[2] - d[1];
  } else {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
}

// u = G g
template <int taps>
NONET_INLINE void along_kernel(const F (&g)[taps], F (&u)[Taps<taps>::matrices]) {
  if constexpr (taps == 1) {
    u[0] = g[0];
  } else if constexpr (taps == 2) {
    u[0] = g[0];
    u[1] = g[0] + g[1];
    u[2] = g[1];
  } else {
    const F ends = g[0] + g[2];
    u[0] = g[0];
    u[1] = (ends + g[1]) * .5f;
    u[2] = (ends - g[1]) * .5f;
    u[3] = g[2];
  }
}

// g = G^T u
template <int taps>
NONET_INLINE void along_sums(const F (&u)[Taps<taps>::matrices], F (&g)[taps]) {
  if constexpr (taps == 1) {
    g[0] = u[0];
  } else if constexpr (taps == 2) {
    g[0] = u[0] + u[1];
    g[1] = u[1] + u[2];
  } else {
    const F half = (u[1] + u[2]) * .5f;
    g[0] = u[0] + half;
    g[1] = (u[1] - u[2]) * .5f;
    g[2] = half + u[3];
  }
}

// y = A^T m
template <int S>
NONET_INLINE void along_output(const F (&m)[S], F (&y)[2]) {
  if constexpr (S == 3) {
    y[0] = m[0] + m[1];
    y[1] = m[1] + m[2];
  } else {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = (m[1] - m[2]) - m[3];
  }
}

// v = A y
template <int S>
NONET_INLINE void along_gradient(const F (&y)[2], F (&v)[S]) {
  v[0] = y[0];
  v[1] = y[0] + y[1];
  if constexpr (S == 3) {
    v[2] = y[1];
  } else {
    v[2] = y[0] - y[1];
    v[3] = -y[1];
  }
}

// to = the transform of the columns, and then of the rows, of `from`.
template <int R, int C, int TR, int TC, class Rows, class Cols>
NONET_INLINE void transform(const F (&from)[R][C], F (&to)[TR][TC], const Rows& along_column, const Cols& along_row) {
  F t[TR][C];
#pragma GCC unroll 4
  for (int j = 0; j < C; ++j) {
    F column[R];
    F changed[TR];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) column[i] = from[i][j];
    along_column(column, changed);
#pragma GCC unroll 4
    for (int i = 0; i < TR; ++i) t[i][j] = changed[i];
  }
#pragma GCC unroll 4
  for (int i = 0; i < TR; ++i) along_row(t[i], to[i]);
}

template <class R, class C>
NONET_INLINE void transform_input(const F (&d)[R::pixels][C::pixels], F (&v)[R::pixels][C::pixels]) {
  transform(d, v, along_input<R::count>, along_input<C::count>);
}
template <class R, class C>
NONET_INLINE void transform_kernel(const F (&g)[R::count][C::count], F (&u)[R::matrices][C::matrices]) {
  transform(g, u, along_kernel<R::count>, along_kernel<C::count>);
}
template <class R, class C>
NONET_INLINE void transform_sums(const F (&u)[R::matrices][C::matrices], F (&g)[R::count][C::count]) {
  transform(u, g, along_sums<R::count>, along_sums<C::count>);
}
template <int S>
NONET_INLINE void transform_output(const F (&m)[S][S], F (&y)[2][2]) {
  transform(m, y, along_output<S>, along_output<S>);
}
template <int S>
NONET_INLINE void transform_gradient(const F (&y)[2][2], F (&v)[S][S]) {
  transform(y, v, along_gradient<S>, along_gradient<S>);
}

}  // namespace nonet::NONET_NS
