// The transforms of winograd.h, on vectors of channels. *.simd.cpp only.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

// v = B^T d B
NONET_INLINE void transform_input(const F (&d)[4][4], F (&v)[4][4]) {
  F t[4][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    t[0][j] = d[0][j] - d[2][j];
    t[1][j] = d[1][j] + d[2][j];
    t[2][j] = d[2][j] - d[1][j];
    t[3][j] = d[1][j] - d[3][j];
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i][0] = t[i][0] - t[i][2];
    v[i][1] = t[i][1] + t[i][2];
    v[i][2] = t[i][2] - t[i][1];
    v[i][3] = t[i][1] - t[i][3];
  }
}

// y = A^T m A
NONET_INLINE void transform_output(const F (&m)[4][4], F (&y)[2][2]) {
  F t[2][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    t[0][j] = m[0][j] + (m[1][j] + m[2][j]);
    t[1][j] = (m[1][j] - m[2][j]) - m[3][j];
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    y[i][0] = t[i][0] + (t[i][1] + t[i][2]);
    y[i][1] = (t[i][1] - t[i][2]) - t[i][3];
  }
}

// v = A y A^T
NONET_INLINE void transform_gradient(const F (&y)[2][2], F (&v)[4][4]) {
  F t[4][2];
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j) {
    t[0][j] = y[0][j];
    t[1][j] = y[0][j] + y[1][j];
    t[2][j] = y[0][j] - y[1][j];
    t[3][j] = -y[1][j];
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i][0] = t[i][0];
    v[i][1] = t[i][0] + t[i][1];
    v[i][2] = t[i][0] - t[i][1];
    v[i][3] = -t[i][1];
  }
}

// u = G g G^T
NONET_INLINE void transform_kernel(const F (&g)[3][3], F (&u)[4][4]) {
  F t[4][3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    const F ends = g[0][j] + g[2][j];
    t[0][j] = g[0][j];
    t[1][j] = (ends + g[1][j]) * .5f;
    t[2][j] = (ends - g[1][j]) * .5f;
    t[3][j] = g[2][j];
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const F ends = t[i][0] + t[i][2];
    u[i][0] = t[i][0];
    u[i][1] = (ends + t[i][1]) * .5f;
    u[i][2] = (ends - t[i][1]) * .5f;
    u[i][3] = t[i][2];
  }
}

// g = G^T u G
NONET_INLINE void transform_sums(const F (&u)[4][4], F (&g)[3][3]) {
  F t[3][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const F half = (u[1][j] + u[2][j]) * .5f;
    t[0][j] = u[0][j] + half;
    t[1][j] = (u[1][j] - u[2][j]) * .5f;
    t[2][j] = half + u[3][j];
  }
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    const F half = (t[i][1] + t[i][2]) * .5f;
    g[i][0] = t[i][0] + half;
    g[i][1] = (t[i][1] - t[i][2]) * .5f;
    g[i][2] = half + t[i][3];
  }
}

// The same three for 2 x 2 kernels.
NONET_INLINE void transform_input(const F (&d)[3][3], F (&v)[3][3]) {
  F t[3][3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    t[0][j] = d[0][j] - d[1][j];
    t[1][j] = d[1][j];
    t[2][j] = d[2][j] - d[1][j];
  }
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    v[i][0] = t[i][0] - t[i][1];
    v[i][1] = t[i][1];
    v[i][2] = t[i][2] - t[i][1];
  }
}
NONET_INLINE void transform_output(const F (&m)[3][3], F (&y)[2][2]) {
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) y[i][j] = (m[i][j] + m[i + 1][j]) + (m[i][j + 1] + m[i + 1][j + 1]);
  }
}
NONET_INLINE void transform_kernel(const F (&g)[2][2], F (&u)[3][3]) {
  const F top[3] = {g[0][0], g[0][0] + g[0][1], g[0][1]};
  const F bottom[3] = {g[1][0], g[1][0] + g[1][1], g[1][1]};
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    u[0][j] = top[j];
    u[1][j] = top[j] + bottom[j];
    u[2][j] = bottom[j];
  }
}

// Element (i, j) is at p[(S i + j) * step].
template <int S>
NONET_INLINE void load_positions(const float* p, int64_t step, int64_t lanes, F (&m)[S][S]) {
#pragma GCC unroll 16
  for (int i = 0; i < S * S; ++i) m[i / S][i % S] = load_lanes(p + i * step, lanes);
}
template <int S>
NONET_INLINE void store_positions(float* p, int64_t step, const F (&m)[S][S]) {
#pragma GCC unroll 16
  for (int i = 0; i < S * S; ++i) store(p + i * step, m[i / S][i % S]);
}

}  // namespace nonet::NONET_NS
