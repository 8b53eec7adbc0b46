#include "ops/embedding/device.h"

#include "array/launch.h"
#include "ops/embedding/kernels.h"
#include "ops/index/device.h"

namespace nonet {

namespace {

Array like(const Shape& shape, DType dtype, const Array& beside) {
  return Array(shape, dtype, Format::plain, beside.device());
}

}  // namespace

Array device_embedding(const Array& weight, const Array& rows, const Shape& shape) {
  const Array y = like(shape, weight.dtype(), weight);
  device_take(weight.plain(), rows, y, {1, weight.dim(0), weight.dim(1)}, "embedding");
  return y;
}

Array device_embedding_gradient(const Array& dy, const Array& rows, int64_t v, int64_t padding, bool scale_by_freq,
                                const std::optional<Array>& out, const Array* source, const Array* scale) {
  const int64_t d = dy.shape().back();
  Array dw;
  if (out && out->dtype() == dy.dtype() && out->shape() == Shape{v, d} && out->format() == Format::plain) {
    fill(*out, 0);
    dw = *out;
  } else {
    dw = zeros({v, d}, dy.dtype(), dy.device());
  }
  const RowSums sums = {.outer = 1, .count = rows.numel(), .n = v, .inner = d, .by_count = scale_by_freq};
  device_add_rows(dy.plain(), dw, order(rows, v, padding, "embedding"), sums, source, scale, "embedding");
  return dw;
}

void device_renorm(const Array& weight, const Array& rows, double max_norm, double p) {
  const Array used = zeros({weight.dim(0)}, DType::uint8, weight.device());
  on_device(&EmbeddingDevice::mark, "embedding", weight, rows, rows.numel(), weight.dim(0), used);
  weight.begin_write("embedding");
  on_device(&EmbeddingDevice::renorm, "embedding", weight, weight.dtype(), weight, used, weight.dim(0), weight.dim(1),
            max_norm, p);
}

Bags device_bags(const Array& weight, const Array& index, const Array& offsets, BagMode mode, const Array& scales,
                 bool include_last, int64_t padding) {
  constexpr const char* op = "embedding_bag";
  const int64_t begins = offsets.numel();
  const int64_t bags = begins == 0 ? 0 : begins - (include_last ? 1 : 0);
  const BagSizes sizes = {.j = index.numel(), .b = bags, .v = weight.dim(0), .d = weight.dim(1), .offsets = begins};
  const Array table = weight.plain();
  Bags out;
  out.y = like({bags, sizes.d}, weight.dtype(), weight);
  out.rows = like({sizes.j}, DType::int64, weight);
  out.bags = like({sizes.j}, DType::int64, weight);
  out.scales = scales;
  on_device(&EmbeddingDevice::bags, op, out.y, index, offsets, padding, out.rows, out.bags, sizes);
  if (mode == BagMode::max) {
    out.arg = like({bags, sizes.d}, DType::int64, weight);
    on_device(&EmbeddingDevice::largest, op, out.y, weight.dtype(), table, out.rows, offsets, out.y, out.arg, sizes);
    return out;
  }
  const Array means = mode == BagMode::mean ? zeros({sizes.j}, DType::float32, weight.device()) : Array();
  on_device(&EmbeddingDevice::sum, op, out.y, weight.dtype(), table, out.rows, offsets, scales, means, out.y, sizes);
  if (mode == BagMode::mean) out.scales = means;
  return out;
}

Array device_bag_scales_gradient(const Array& dy, const Array& weight, const Array& rows, const Array& bags) {
  const BagSizes sizes = {
      .j = rows.numel(), .b = dy.dim(0), .v = weight.dim(0), .d = weight.dim(1), .offsets = dy.dim(0)};
  const Array ds = like({sizes.j}, DType::float32, weight);
  on_device(&EmbeddingDevice::dots, "embedding_bag", ds, weight.dtype(), dy.plain().to(weight.dtype()), weight.plain(),
            rows, bags, ds, sizes);
  return ds;
}

Array device_bag_max_gradient(const Array& dy, const Array& arg, int64_t v) {
  const Array dw = zeros({v, dy.dim(1)}, dy.dtype(), dy.device());
  if (dy.numel() > 0) device_scatter(dw, arg, dy.plain(), 0, Scatter::add, "embedding_bag");
  return dw;
}

}  // namespace nonet
