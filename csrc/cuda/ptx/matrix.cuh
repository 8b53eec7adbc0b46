// The GPU's side of prim.cuh: ldmatrix, mma.sync, wgmma. Documented there.
#pragma once

#include "cuda/ptx/async.cuh"

namespace nonet::cuda {

template <int n, bool transpose = false>
NONET_DEVICE void load_matrix(uint32_t (&r)[n], const void* row) {
  static_assert(n == 1 || n == 2 || n == 4);
  const uint32_t address = shared_address(row);
#define NONET_LOAD_MATRIX(suffix)                                                             \
  if constexpr (n == 1) {                                                                     \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" suffix ".shared.b16 {%0}, [%1];"             \
                 : "=r"(r[0])                                                                 \
                 : "r"(address)                                                               \
                 : "memory");                                                                 \
  } else if constexpr (n == 2) {                                                              \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" suffix ".shared.b16 {%0, %1}, [%2];"         \
                 : "=r"(r[0]), "=r"(r[1])                                                     \
                 : "r"(address)                                                               \
                 : "memory");                                                                 \
  } else {                                                                                    \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" suffix ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                             \
                 : "r"(address)                                                               \
                 : "memory");                                                                 \
  }
  if constexpr (transpose) {
    NONET_LOAD_MATRIX(".trans")
  } else {
    NONET_LOAD_MATRIX("")
  }
#undef NONET_LOAD_MATRIX
}

NONET_DEVICE uint32_t to_tf32(float x) {
  uint32_t out = 0;
  NONET_ASM_FROM(80, "cvt.rna.tf32.f32 %0, %1;" : "=r"(out) : "f"(x));
  return out;
}

NONET_DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  NONET_ASM_FROM(80,
                 "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};" : "+f"(d[0]),
                 "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
NONET_DEVICE void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  NONET_ASM_FROM(80,
                 "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};" : "+f"(d[0]),
                 "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// ---- wgmma: instructions of sm_90a, which sm_90 does not have

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool has_wgmma = true;
#else
inline constexpr bool has_wgmma = false;
#endif

#define NONET_WGMMA_ASM(...)     \
  do {                           \
    if constexpr (has_wgmma) {   \
      asm volatile(__VA_ARGS__); \
    } else {                     \
      __trap();                  \
    }                            \
  } while (false)

NONET_DEVICE void wgmma_fence() {
  NONET_WGMMA_ASM("wgmma.fence.sync.aligned;" :: : "memory");
}
NONET_DEVICE void wgmma_commit() {
  NONET_WGMMA_ASM("wgmma.commit_group.sync.aligned;" :: : "memory");
}
namespace detail {
// The compiler takes d for written here: it moves no use of d to an earlier place.
template <int n>
NONET_DEVICE void written(float (&d)[n]) {
  NONET_UNROLL
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
}  // namespace detail
template <int n, class... Accumulators>
NONET_DEVICE void wgmma_wait(Accumulators&... d) {
  NONET_WGMMA_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
  (detail::written(d), ...);
}
template <int registers>
NONET_DEVICE void raise_registers() {
  NONET_WGMMA_ASM("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
NONET_DEVICE void lower_registers() {
  NONET_WGMMA_ASM("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}

// Operands %0… of the accumulators, as text and as constraints; the text of each length is the start of the next.
#define NONET_R4 "%0,%1,%2,%3"
#define NONET_R8 NONET_R4 ",%4,%5,%6,%7"
#define NONET_R16 NONET_R8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define NONET_R32 NONET_R16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define NONET_R48 NONET_R32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define NONET_R64 NONET_R48 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define NONET_R80 NONET_R64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define NONET_R96 NONET_R80 ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define NONET_R112 NONET_R96 ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111"
#define NONET_R128 NONET_R112 ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define NONET_C4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define NONET_C8(i) NONET_C4(i), NONET_C4(i + 4)
#define NONET_C16(i) NONET_C8(i), NONET_C8(i + 8)
#define NONET_C32(i) NONET_C16(i), NONET_C16(i + 16)
#define NONET_C48(i) NONET_C32(i), NONET_C16(i + 32)
#define NONET_C64(i) NONET_C32(i), NONET_C32(i + 32)
#define NONET_C96(i) NONET_C64(i), NONET_C32(i + 64)
#define NONET_C128(i) NONET_C64(i), NONET_C64(i + 64)

// n columns, half of them registers; p0… are the numbers of the operands after the accumulators.
#define NONET_WGMMA_SS(n, registers, shape, types, p0, p1, p2, p3, p4, tail, ...)                    \
  NONET_WGMMA_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %" p2                                            \
                  ", 0;\n"                                                                           \
                  "wgmma.mma_async.sync.aligned.m64n" #n shape ".f32." types " {" NONET_R##registers \
                  "}, %" p0 ", %" p1 ", p, 1, 1" tail ";\n}" : NONET_C##registers(0) : "l"(a),       \
                  "l"(b), "r"(static_cast<int>(accumulate))__VA_ARGS__ : "memory")
#define NONET_WGMMA_RS(n, registers, shape, types, p0, p1, p2, p3, p4, p5, tail, ...)                \
  NONET_WGMMA_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, %" p5                                            \
                  ", 0;\n"                                                                           \
                  "wgmma.mma_async.sync.aligned.m64n" #n shape ".f32." types " {" NONET_R##registers \
                  "}, {%" p0 ", %" p1 ", %" p2 ", %" p3 "}, %" p4 ", p, 1, 1" tail                   \
                  ";\n}" : NONET_C##registers(0) : "r"(a[0]),                                        \
                  "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate))__VA_ARGS__ : "memory")

// The shapes there are: FORM(n, registers, the numbers of the eight operands that follow them).
#define NONET_WGMMA_SHAPES(FORM)                                                      \
  if constexpr (n == 8) FORM(8, 4, "4", "5", "6", "7", "8", "9", "10");               \
  if constexpr (n == 16) FORM(16, 8, "8", "9", "10", "11", "12", "13", "14");         \
  if constexpr (n == 32) FORM(32, 16, "16", "17", "18", "19", "20", "21", "22");      \
  if constexpr (n == 64) FORM(64, 32, "32", "33", "34", "35", "36", "37", "38");      \
  if constexpr (n == 96) FORM(96, 48, "48", "49", "50", "51", "52", "53", "54");      \
  if constexpr (n == 128) FORM(128, 64, "64", "65", "66", "67", "68", "69", "70");    \
  if constexpr (n == 192) FORM(192, 96, "96", "97", "98", "99", "100", "101", "102"); \
  if constexpr (n == 256) FORM(256, 128, "128", "129", "130", "131", "132", "133", "134")

template <int n>
inline constexpr bool wgmma_width =
    n == 8 || n == 16 || n == 32 || n == 64 || n == 96 || n == 128 || n == 192 || n == 256;

template <int n, bool transpose_a = false, bool transpose_b = false>
NONET_DEVICE void wgmma_bf16(float (&d)[n / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(wgmma_width<n>);
#define NONET_FORM(n, registers, p0, p1, p2, p3, p4, p5, p6)                                \
  NONET_WGMMA_SS(n, registers, "k16", "bf16.bf16", p0, p1, p2, p3, p4, ", %" p3 ", %" p4, , \
                 "n"(static_cast<int>(transpose_a)), "n"(static_cast<int>(transpose_b)))
  NONET_WGMMA_SHAPES(NONET_FORM);
#undef NONET_FORM
}
template <int n, bool transpose_b = false>
NONET_DEVICE void wgmma_bf16(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(wgmma_width<n>);
#define NONET_FORM(n, registers, p0, p1, p2, p3, p4, p5, p6)                           \
  NONET_WGMMA_RS(n, registers, "k16", "bf16.bf16", p0, p1, p2, p3, p4, p5, ", %" p6, , \
                 "n"(static_cast<int>(transpose_b)))
  NONET_WGMMA_SHAPES(NONET_FORM);
#undef NONET_FORM
}
template <int n>
NONET_DEVICE void wgmma_tf32(float (&d)[n / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(wgmma_width<n>);
#define NONET_FORM(n, registers, p0, p1, p2, p3, p4, p5, p6) \
  NONET_WGMMA_SS(n, registers, "k8", "tf32.tf32", p0, p1, p2, p3, p4, "", )
  NONET_WGMMA_SHAPES(NONET_FORM);
#undef NONET_FORM
}
template <int n>
NONET_DEVICE void wgmma_tf32(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(wgmma_width<n>);
#define NONET_FORM(n, registers, p0, p1, p2, p3, p4, p5, p6) \
  NONET_WGMMA_RS(n, registers, "k8", "tf32.tf32", p0, p1, p2, p3, p4, p5, "", )
  NONET_WGMMA_SHAPES(NONET_FORM);
#undef NONET_FORM
}

}  // namespace nonet::cuda
