// Recurrent layers over whole sequences: RNN (tanh, relu), LSTM (with projection), GRU (reset gate behind or ahead of
// its product), all layers and directions in one call. The cells' maths is in cells.h.
//
//   x-part   G_t = X_t W_ih^T + b_ih + b_hh        one product over all steps (GRU: b_hn joins the h-part instead)
//   h-part   Z_t = H_{t-1} W_hh^T                   step by step; LSTM with projection: H_t = M_t W_hr^T, M = o tanh(c)
//   back     dH_{t-1} = dZ_t W_hh + …                step by step; then dX = dG W_ih, dW_ih = dG^T X, dW_hh = dZ^T H,
//                                                    dW_hr = dH^T M and the bias gradients, one product each
//
// T steps, B sequences, I inputs, H hidden units, S the size of the state h (H, or P with projection), D directions,
// L layers, g gates per unit: torch's order, r u n for GRU (which torch calls r z n) and i f g o for LSTM.
// float32, or bfloat16 storage with float32 states and arithmetic. Steps after a sequence's end are not computed.
//
// Results do not depend on the number of threads: an element of Z is one chain of multiply-adds whose order depends on
// sizes only. Appleyard et al., "Optimizing performance of recurrent neural networks on GPUs", 2016.
#pragma once

#include "base/kernel.h"

namespace nonet {

enum class Cell : int { tanh, relu, lstm, gru, gru_reset_before };

constexpr int64_t gates_of(Cell cell) {
  return cell == Cell::lstm ? 4 : cell == Cell::tanh || cell == Cell::relu ? 1 : 3;
}
// Values per hidden unit that a backward pass wants, beside states.
constexpr int64_t kept_of(Cell cell) {
  return cell == Cell::gru || cell == Cell::lstm ? 4 : cell == Cell::gru_reset_before ? 3 : 0;
}
// Gradients per hidden unit: GRU has one of n's x-part and one of its h-part.
constexpr int64_t gradients_of(Cell cell) {
  return cell == Cell::gru ? 4 : gates_of(cell);
}
// Gates whose h-part is a product with h; the rest of GRU with the reset gate ahead is one with r h.
constexpr int64_t first_gates_of(Cell cell) {
  return cell == Cell::gru_reset_before ? 2 : gates_of(cell);
}
// Whether a step has a second product.
constexpr bool has_middle(Cell cell, bool projected) {
  return projected || cell == Cell::gru_reset_before;
}

// Where the steps of sequences lie in matrices with a row per step: sequence i, step t in row first(t) + i stride.
// Sequences are sorted so that those that are live at a step are the first ones.
struct Steps {
  int64_t steps, batch;
  int64_t rows;           // of all sequences
  int64_t step, stride;   // between steps, if `first` is null, and between sequences
  const int64_t* first;   // [steps], or null
  const int64_t* live;    // [steps]: sequences at a step, not increasing; null: all of them
  const int64_t* number;  // [batch]: where a sequence's states lie among those of the batch; null: in its place
  bool reverse;           // from each sequence's end to its beginning
};

// Where sums of 32 columns go: row r, gate g to z + r row + g gate, with the bias of the gate, if any, added.
struct RecurrentSums {
  float* z;
  int64_t row, gate;
  const float* bias = nullptr;  // `gate` apart
};

// Products with weights rounded to bfloat16, on dot products of pairs (AVX512_BF16): where precision is medium, or
// everything is stored as bfloat16. Panels of 32 columns: [columns / 32][gates][pairs of k][32][2], zeros beyond both.
struct RecurrentPairKernels {
  // `rows` rows of a, lda apart, times a block of panels. a is read up to an even k. batch: of the whole call; it
  // chooses the order of a sum.
  void (*dots)(const bfloat16* a, int64_t lda, int64_t k, const bfloat16* panels, int64_t gates, int64_t rows,
               int64_t batch, const RecurrentSums& z);
  void (*from_rows)(const void* w, bool is_bfloat16, int64_t gates, int64_t columns, int64_t k, bfloat16* panels);
  void (*from_columns)(const void* w, bool is_bfloat16, int64_t k, int64_t columns, bfloat16* panels);
};
constexpr int64_t recurrent_pair_panel(int64_t k) {  // elements, per gate
  return (k + 1) / 2 * 64;
}
#if defined(__x86_64__)
namespace avx512 {
extern const RecurrentPairKernels recurrent_pair_kernels;
}  // namespace avx512
#endif

// Of one layer and direction. States are float32; y, kept, cells, before, middle are stored as `bfloat16` says. The
// last four are null without a backward pass.
struct RecurrentForward {
  Cell cell;
  Steps at;
  int64_t hidden, state;  // H, S
  bool projected;
  bool bfloat16;
  const float* gates;  // [rows, g H]: the x-part; null on a CPU that shall make it, from
  const void* x;       // [rows, I]
  int64_t inputs;
  bool x_is_bfloat16;
  const float* weights_of_x;          // panels of W_ih, by hidden unit
  const float* bias_of_x;             // [g H] or null
  const RecurrentPairKernels* pairs;  // null: panels are float32; else they are its
  const float* weights;               // panels of the first gates of W_hh, by hidden unit
  const float* middle_weights;        // panels of W_hr, or of W_hn with the reset gate ahead; else null
  const float* bias;                  // b_hn [H] of GRU; may be null
  const float* h0;                    // [B, S], or null for zeros
  const float* c0;                    // [B, H], LSTM only; or null
  float* hn;                          // [B, S], of sequences with at least one step
  float* cn;
  void* y;  // [rows, ...], rows y_row apart
  int64_t y_row;
  void* kept;    // [rows, kept_of() H]
  void* cells;   // [rows, H]: c ahead of the step
  void* before;  // [rows, S]: h ahead of the step
  void* middle;  // [rows, H]: the second product's operand
  float* workspace;
};

struct RecurrentBackward {
  Cell cell;
  Steps at;
  int64_t hidden, state;
  bool projected;
  bool bfloat16;
  const RecurrentPairKernels* pairs;
  const float* weights;         // panels of the first gates of W_hh, by element of h
  const float* middle_weights;  // panels of W_hr or W_hn
  const void* kept;
  const void* cells;
  const void* before;
  const void* y;  // of the forward pass
  int64_t y_row;
  const void* dy;  // like y, or null for zeros
  int64_t dy_row;
  const float* dhn;  // [B, S], or null
  const float* dcn;
  float* dh0;  // [B, S], of sequences with at least one step
  float* dc0;
  void* dz;      // [rows, gradients_of() H]
  void* dstate;  // [rows, P]: of h, with projection
  float* workspace;
};

// Panels of 32 columns: [columns / 32][gates][k][32], zeros beyond the columns.
struct RecurrentPanelKernels {
  void (*from_rows)(const void* w, bool bfloat16, int64_t gates, int64_t columns, int64_t k, float* panels);
  void (*from_columns)(const void* w, bool bfloat16, int64_t k, int64_t columns, float* panels);
};
NONET_KERNELS(RecurrentPanelKernels, recurrent_panel_kernels);

// One job per direction; they run at the same time.
struct RecurrentForwardKernels {
  int64_t (*workspace)(const RecurrentForward& f);  // floats
  void (*run)(const RecurrentForward* jobs, int64_t count);
};
NONET_KERNELS(RecurrentForwardKernels, recurrent_forward_kernels);

struct RecurrentBackwardKernels {
  int64_t (*workspace)(const RecurrentBackward& b);
  void (*run)(const RecurrentBackward* jobs, int64_t count);
};
NONET_KERNELS(RecurrentBackwardKernels, recurrent_backward_kernels);

// On a device. The arguments are those above with memory of the device throughout, those of `at` too, but for the
// weights: W_hh [g H, S], W_hr [P, H], W_hn [H, H] as they are, in float32, also for the backward pass. The workspaces
// are the CPU's. barrier: a zero, which the launches of a stream may share.
struct RecurrentForwardDevice {
  static constexpr const char* name = "recurrent_forward";

  // All steps of one layer and direction, in one cooperative launch.
  void (*forward)(Stream, const RecurrentForward& f, uint32_t* barrier);
  // to[i] = x[i] + (i < both ? z[i] : 0), i < n. dtype: of x and z.
  void (*join_bias)(Stream, DType dtype, const void* x, const void* z, float* to, int64_t both, int64_t n);
  // Rows of `size` elements, from[source[i]] to to[i], or from[i] to to[source[i]] unless `gather`.
  void (*move_rows)(Stream, DType dtype, const void* from, void* to, const int64_t* source, int64_t count, int64_t size,
                    bool gather);
};
struct RecurrentBackwardDevice {
  static constexpr const char* name = "recurrent_backward";

  void (*backward)(Stream, const RecurrentBackward& b, uint32_t* barrier);
};

constexpr int64_t recurrent_panel_columns = 32;
constexpr int64_t recurrent_panel_floats(int64_t gates, int64_t columns, int64_t k, bool pairs) {
  const int64_t floats = pairs ? recurrent_pair_panel(k) / 2 : k * recurrent_panel_columns;
  return (columns + recurrent_panel_columns - 1) / recurrent_panel_columns * gates * floats;
}

}  // namespace nonet
