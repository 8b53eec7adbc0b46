// Scaled dot-product attention, in memory that grows with the length and not with its square.
//
//   s_ij = scale q_i . k_j + bias_ij        -inf where the mask is 0, and with causal where j > i + shift
//   p_ij = exp(s_ij) / sum_j exp(s_ij)      o_i = sum_j d_ij p_ij v_j,   d_ij = 0 if dropped, else 1 / (1 - dropout)
//
//   dV_j = sum_i d_ij p_ij dO_i             D_i = dO_i . O_i
//   ds_ij = p_ij (d_ij dO_i . v_j - D_i)    dq_i = scale sum_j ds_ij k_j,  dk_j = scale sum_i ds_ij q_i,  dbias = ds
//
// A row that sees no key gives 0. Saved: q, k, v, O and per row lse_i = log2 sum_j exp(s_ij), inf where nothing is
// seen; the backward pass computes p again (Dao et al., "FlashAttention", 2022; Milakov & Gimelshein, "Online
// normalizer calculation for softmax", 2018). Blocks in which no query sees a key are not computed.
//
// float32 or bfloat16, sums in float32. Where the processor multiplies bfloat16, operands of products are bfloat16 if
// they are stored so, unless the precision is ieee, and if it is medium; else float32. Query head h reads key head h /
// (heads / kv_heads) (Ainslie et al., "GQA", 2023). Dropout: element (b, h, i, j) survives by word ((b heads + h)
// queries + i) drawn + j of a draw, with drawn = keys rounded up to a multiple of 4 (simd/philox.h). Results do not
// depend on the number of threads.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;
class Shape;
enum class Precision : int;  // of ops/matmul/matmul.h

// Vectors by batch, head and place: (b, h, t) begins at element offset + b * batch + h * head + t * row, and is
// contiguous. So q, k and v may be parts of one array of any order of axes.
struct HeadView {
  int64_t offset, batch, head, row;
};

// Where (b, h, i, 0) of a [batch, heads, queries, keys] is; distances are 0 along axes that it is the same for.
struct PlaneView {
  int64_t batch, head, row;
};

struct Attention {
  int64_t batch, heads, kv_heads, queries, keys;
  int64_t size, value_size;  // of q and k, of v
  bool bfloat16;             // what is stored in q, k, v, O and their gradients
  float scale;
  bool causal;
  int64_t shift;
  float dropout;
  PhiloxKey key;
  const void* q;
  const void* k;
  const void* v;
  HeadView q_view, k_view, v_view, out_view;
  const float* bias;  // null: none
  PlaneView bias_view;
  const bool* mask;  // null: none; false: not seen
  PlaneView mask_view;
};

struct AttentionGradient {
  const void* out;
  const float* lse;  // [batch, heads, queries]
  const void* dout;  // like out
  void* dq;          // like q, k and v
  void* dk;
  void* dv;
  float* dbias;        // [bias_batch, heads, queries, keys] of zeros, added to; null: not wanted
  int64_t bias_batch;  // batch, or 1: summed over the batch
};

struct AttentionKernels {
  int64_t (*workspace)(const Attention& a);  // floats that forward() wants
  void (*forward)(const Attention& a, void* out, float* lse, float* workspace);
  int64_t (*backward_workspace)(const Attention& a, const AttentionGradient& g);
  void (*backward)(const Attention& a, const AttentionGradient& g, float* workspace);
};
NONET_KERNELS(AttentionKernels, attention_kernels);
#if defined(__x86_64__)
// On products of bfloat16, which q, k, v, dO, the probabilities and ds are rounded to.
namespace avx512 {
extern const AttentionKernels amx_attention_kernels;
extern const AttentionKernels dot_attention_kernels;
}  // namespace avx512
#endif

struct AttentionDevice {
  static constexpr const char* name = "attention";

  // size and value_size up to this.
  static constexpr int64_t most = 256;

  void (*forward)(Stream, const Attention& a, void* out, float* lse);
  // bias_batch is batch; delta [batch, heads, queries]: to work in.
  void (*backward)(Stream, const Attention& a, const AttentionGradient& g, float* delta);
  // As attention_store(), of floats or bfloat16.
  void (*store)(Stream, bool bfloat16, const void* x, const HeadView& view, int64_t batch, int64_t heads, int64_t rows,
                int64_t size, void* cache, int64_t capacity, int64_t position);
};

// What Python says of a call; bias [B or 1, H or 1, L or 1, S] and mask alike, or null.
struct AttentionCall {
  HeadView q_view, k_view, v_view, out_view;
  int64_t batch, heads, kv_heads, queries, keys, size, value_size;
  double scale;
  bool causal;
  int64_t shift;
  double dropout;
  PhiloxKey key;
  Precision precision;
};
// out: memory of the result, laid out as out_view says. -> lse. Errors: TypeError for dtypes, ValueError where a view
// leaves its array, and for shapes of bias and mask.
Array attention_forward(const AttentionCall& call, const Array& q, const Array& k, const Array& v, const Array& bias,
                        const Array& mask, const Array& out);
// Writes dq, dk and dv, laid out like q, k and v; -> dbias [bias_batch, H, L, S], undefined unless wanted.
Array attention_backward(const AttentionCall& call, const Array& q, const Array& k, const Array& v, const Array& bias,
                         const Array& mask, const Array& out, const Array& lse, const Array& dout, const Array& dq,
                         const Array& dk, const Array& dv, bool wants_bias);
// Keys or values of x [batch, heads, rows, size], seen through view, into rows [position, position + rows) of cache
// [batch, heads, capacity, size]. Errors: TypeError for dtypes, ValueError for shapes and a position beyond the end.
void attention_store(const Array& x, const HeadView& view, int64_t rows, const Array& cache, int64_t position);
// Words of a draw that dropout takes.
int64_t attention_draws(const AttentionCall& call);

}  // namespace nonet
