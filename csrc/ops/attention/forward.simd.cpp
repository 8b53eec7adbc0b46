#include "ops/attention/forward.h"

#include "ops/attention/decode.h"

namespace nonet::NONET_NS {

namespace {

// Chains of multiply-adds of float32.
struct Floats {
  using Operand = float;
  static constexpr int64_t query_block = 4 * tile_rows >= 56 ? 4 * tile_rows : 8 * tile_rows;
  static constexpr bool in_place = true;

  static void begin() {}
  static void end() {}

  static int64_t row(int64_t n) { return n; }
  static int64_t floats(int64_t operands) { return operands; }
  static int64_t key_floats(int64_t size) { return key_block * size; }
  static int64_t value_floats(int64_t size) { return key_block * padded(size); }

  template <class T>
  static void load(const T* x, int64_t row, int64_t rows, int64_t n, float factor, float* to) {
    copy_rows(x, row, rows, n, factor, to);
  }
  template <class T>
  static void pack_keys(const T* k, int64_t row, int64_t cols, int64_t size, float* to) {
    pack_rows_transposed(k, row, cols, size, to);
  }
  template <class T>
  static void pack_values(const T* v, int64_t row, int64_t cols, int64_t size, float* to) {
    pack_rows_as_panels(v, row, cols, size, key_block, 0, to);
  }
  static void score(int64_t rows, int64_t cols, int64_t size, const float* q, const float* k, float, float* scores) {
    multiply(rows, cols, size, q, size, k, size, scores, key_block, false);
  }
  static void set(const float*, int64_t, float*) {}
  static void mix(int64_t rows, int64_t size, int64_t cols, const float* p, const float* v, float* out) {
    multiply(rows, size, cols, p, key_block, v, key_block, out, size, true);
  }
};

int64_t workspace(const Attention& a) {
  return wants_decode(a) ? decode_workspace(a) : 0;
}

void forward(const Attention& a, void* out, float* lse, float* workspace) {
  if (wants_decode(a)) return decode(a, out, lse, workspace);
  Forward<Floats>::pass(a, out, lse);
}

}  // namespace

// backward.simd.cpp
int64_t attention_backward_workspace(const Attention& a, const AttentionGradient& g);
void attention_backward_pass(const Attention& a, const AttentionGradient& g, float* workspace);

constinit const AttentionKernels attention_kernels = {workspace, forward, attention_backward_workspace,
                                                      attention_backward_pass};

}  // namespace nonet::NONET_NS
