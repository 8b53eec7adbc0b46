// What embeddings need of a device beside taking rows and summing them (ops/index/index.h).
//
// J indices, B bags, a table of V rows of D. Indices outside [0, V) are not reported on a device: what they would read
// is 0, and they are in no bag. Offsets are used as they are, but nothing is read outside the arrays.
#pragma once

#include "base/kernel.h"

namespace nonet {

struct BagSizes {
  int64_t j, b, v, d;
  int64_t offsets;  // how many: B, or B + 1 with the end of the last bag
};

struct EmbeddingDevice {
  static constexpr const char* name = "embedding";

  // used [V], zero before: 1 for the rows among `rows` [J].
  void (*mark)(Stream, const int64_t* rows, int64_t j, int64_t v, uint8_t* used);
  // Scales the rows in use of weight [V, D] whose p-norm exceeds max_norm down to it.
  void (*renorm)(Stream, DType dtype, void* weight, const uint8_t* used, int64_t v, int64_t d, double max_norm,
                 double p);
  // Of each index: its row, or -1 if it is padding or in no bag, and its bag.
  void (*bags)(Stream, const int64_t* index, const int64_t* offsets, int64_t padding, int64_t* rows, int64_t* bags,
               const BagSizes& sizes);
  // y [B, D] = the sum of scales[j] W[rows[j]]. scales [J] may be null: 1. means [J], if not null, becomes 1 / size of
  // the bag of j, which y is scaled by.
  void (*sum)(Stream, DType dtype, const void* weight, const int64_t* rows, const int64_t* offsets, const float* scales,
              float* means, void* y, const BagSizes& sizes);
  // y [B, D] and where it comes from, -1 and 0 for an empty bag: arg [B, D].
  void (*largest)(Stream, DType dtype, const void* weight, const int64_t* rows, const int64_t* offsets, void* y,
                  int64_t* arg, const BagSizes& sizes);
  // ds [J] = dy[bags[j]] . W[rows[j]].
  void (*dots)(Stream, DType dtype, const void* dy, const void* weight, const int64_t* rows, const int64_t* bags,
               float* ds, const BagSizes& sizes);
};

}  // namespace nonet
