// Matrix products on AMX tiles: float32 as sums of bfloat16 terms, six, three or one product of terms for highest, high
// and medium.
#include "ops/matmul/terms_gemm.h"
#include "simd/tile.h"

namespace nonet::NONET_NS {

namespace {

template <int i>
NONET_INLINE void load_a(const char* a) {
  tile_load<4>(a + 2 * i * tile_bytes, tile_line);
  tile_load<5>(a + (2 * i + 1) * tile_bytes, tile_line);
}
template <int j>
NONET_INLINE void load_b(const char* b) {
  tile_load<6>(b + 2 * j * tile_bytes, tile_line);
  tile_load<7>(b + (2 * j + 1) * tile_bytes, tile_line);
}
NONET_INLINE void dots() {
  tile_dot<0, 4, 6>();
  tile_dot<1, 4, 7>();
  tile_dot<2, 5, 6>();
  tile_dot<3, 5, 7>();
}

// One step of k: the products of terms (i, j) with 0 < i + j <= order. Each reloads one operand: A0 B2, A0 B1, A1 B1,
// A1 B0, A2 B0.
template <int a_terms, int b_terms, int order>
NONET_INLINE void small_products(const char* a, const char* b) {
  constexpr bool a1 = a_terms > 1 && order >= 1;
  constexpr bool b1 = b_terms > 1 && order >= 1;
  if constexpr (b1) load_a<0>(a);
  if constexpr (b_terms > 2 && order >= 2) {
    load_b<2>(b);
    dots();
  }
  if constexpr (b1) {
    load_b<1>(b);
    dots();
  }
  if constexpr (a1) load_a<1>(a);
  if constexpr (a1 && b1 && order >= 2) dots();
  if constexpr (a1) {
    load_b<0>(b);
    dots();
  }
  if constexpr (a_terms > 2 && order >= 2) {
    load_a<2>(a);
    dots();
  }
}

// The small products of all steps come first and A0 B0 of all steps last: added to sums that have their full size, the
// small ones would be rounded as coarsely as the large.
template <int a_terms, int b_terms, int order>
void tile_product(const char* a, const char* b, int64_t steps, int64_t, float* out) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  if constexpr (order > 0) {
    for (int64_t s = 0; s < steps; ++s)
      small_products<a_terms, b_terms, order>(a + s * step_bytes(a_terms), b + s * step_bytes(b_terms));
  }
  for (int64_t s = 0; s < steps; ++s) {
    load_a<0>(a + s * step_bytes(a_terms));
    load_b<0>(b + s * step_bytes(b_terms));
    dots();
  }
  constexpr int64_t line = strip_lines * sizeof(float);
  tile_store<0>(out, line);
  tile_store<1>(out + 16, line);
  tile_store<2>(out + 16 * strip_lines, line);
  tile_store<3>(out + 16 * strip_lines + 16, line);
}

struct Tiles {
  static void begin() { tile_configure(); }
  static void end() { tile_release(); }
  static TileProduct product_of(const Scheme& s) {
    if (s.order == 0) return tile_product<1, 1, 0>;
    if (s.a == 1 && s.b == 1) return tile_product<1, 1, 0>;
    if (s.order == 1)
      return s.a == 1 ? tile_product<1, 2, 1> : s.b == 1 ? tile_product<2, 1, 1> : tile_product<2, 2, 1>;
    return s.a == 1 ? tile_product<1, 3, 2> : s.b == 1 ? tile_product<3, 1, 2> : tile_product<3, 3, 2>;
  }
};

}  // namespace

constinit const MatmulKernels amx_matmul_kernels = {workspace, gemm<Tiles>, packed_bytes, pack_b};

}  // namespace nonet::NONET_NS
