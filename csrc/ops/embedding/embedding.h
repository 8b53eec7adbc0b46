// Rows of a table by number, alone or summed in bags.
//
//   embedding   y[j] = W[i_j]                                     dW[v] = sum over j with i_j = v of dy[j]
//   bag         y[b] = sum over j in bag b of s_j W[i_j]          dW[v] = sum over j with i_j = v of s_j dy[bag(j)]
//               (sum: s_j given or 1; mean: 1 / size of the bag)  ds_j = dy[bag(j)] . W[i_j]
//   max         y[b, d] = max over j in bag b of W[i_j, d]        dW[arg[b, d], d] = sum over such b of dy[b, d]
//
// W: [V, D] float32 or bfloat16, arithmetic in float32; i: int64 or int32. padding (-1: none) is a row that gets no
// gradient and is left out of bags; an empty bag gives 0. scale_by_freq divides dW[v] by the number of j with i_j = v.
// Sums run in the order of j, each row of dW in one thread: the bytes do not depend on the number of threads.
#pragma once

#include <optional>

#include "array/array.h"

namespace nonet {

struct Embedded {
  Array y;     // [..., D]
  Array rows;  // int64: the indices; saved
};
// Errors: IndexError with the value and position of an index out of range, TypeError, ValueError.
Embedded embedding_forward(const Array& weight, const Array& index);
// Into `out` if given. rows: as saved.
Array embedding_backward(const Array& dy, const Array& rows, int64_t v, int64_t padding, bool scale_by_freq,
                         const std::optional<Array>& out);
// Adds it to a gradient that is there, on the CPU: touches the rows in use alone. table: float32 [V, D].
void embedding_add_gradient(const Array& table, const Array& dy, const Array& rows, int64_t padding,
                            bool scale_by_freq);
// Scales the rows in use whose p-norm exceeds max_norm down to it, in place.
void embedding_renorm(const Array& weight, const Array& index, double max_norm, double p);

enum class BagMode { sum, mean, max };
struct Bags {
  Array y;       // [B, D]
  Array rows;    // int64 [J]: the indices, -1 where padding
  Array bags;    // int64 [J]
  Array scales;  // float32 [J], undefined where all are 1
  Array arg;     // max: int64 [B, D], -1 in an empty bag
};
// index: [J], offsets: [B] where each bag begins ([B + 1] with the end of the last if include_last). scales: [J], for
// sum. Errors: as embedding, ValueError for offsets that do not begin with 0, fall, or exceed J.
Bags bag_forward(const Array& weight, const Array& index, const Array& offsets, BagMode mode,
                 const std::optional<Array>& scales, bool include_last, int64_t padding);
// scales: the factors s_j if any.
Array bag_backward(const Array& dy, const Array& rows, const Array& bags, const std::optional<Array>& scales, int64_t v,
                   bool scale_by_freq, const std::optional<Array>& out);
Array bag_scales_backward(const Array& dy, const Array& weight, const Array& rows, const Array& bags);
Array bag_max_backward(const Array& dy, const Array& arg, int64_t v);

}  // namespace nonet
