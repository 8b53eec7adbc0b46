// Embeddings on a device that is not the CPU. Everything is checked but the values of indices and offsets.
#pragma once

#include "ops/embedding/embedding.h"

namespace nonet {

// rows: int64, plain.
Array device_embedding(const Array& weight, const Array& rows, const Shape& shape);
// Into `out` if it is given and has dy's dtype. source, scale: of each row of `rows`, null as in RowOrder.
Array device_embedding_gradient(const Array& dy, const Array& rows, int64_t v, int64_t padding, bool scale_by_freq,
                                const std::optional<Array>& out, const Array* source, const Array* scale);
void device_renorm(const Array& weight, const Array& rows, double max_norm, double p);

// scales: float32 or undefined.
Bags device_bags(const Array& weight, const Array& index, const Array& offsets, BagMode mode, const Array& scales,
                 bool include_last, int64_t padding);
Array device_bag_scales_gradient(const Array& dy, const Array& weight, const Array& rows, const Array& bags);
Array device_bag_max_gradient(const Array& dy, const Array& arg, int64_t v);

}  // namespace nonet
