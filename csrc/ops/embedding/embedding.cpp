#include "ops/embedding/embedding.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/embedding/device.h"
#include "ops/index/rows.h"

namespace nonet {

namespace {

void check_table(const Array& weight, const char* op) {
  check_rank(weight, 2, op, "weight", "[rows, columns]");
  check_floating(weight, op, "weight");
}

Array gradient_table(const std::optional<Array>& out, int64_t v, int64_t d, DType dtype) {
  if (out && out->dtype() == DType::float32 && dtype == DType::float32 && out->shape() == Shape{v, d}) {
    fill(*out, 0);
    return *out;
  }
  const Array dw({v, d});
  fill(dw, 0);
  return dw;
}

// dW from rows of dy: source[j] (or j) of weight scale[j] (or 1) goes to rows[j].
void add_gradient(const Array& dw, const Array& dy, const Array& rows, const int64_t* source, const float* scale,
                  bool scale_by_freq, bool add = false) {
  const int64_t d = dw.dim(1);
  const Array from = dy.plain().to(DType::float32);
  const Grouping grouping = group_rows(rows.data<int64_t>(), rows.numel(), dw.dim(0));
  std::vector<float> scales;
  if (scale_by_freq) {
    scales.resize(rows.numel());
    for (const RowGroup& group : grouping.groups) {
      for (int64_t i = group.begin; i < group.end; ++i) {
        const int64_t j = grouping.order[i];
        scales[j] = (scale == nullptr ? 1.f : scale[j]) / static_cast<float>(group.end - group.begin);
      }
    }
    scale = scales.data();
  }
  add_rows(grouping, {.from = from.data<float>(),
                      .out = dw.data<float>(),
                      .outer = 1,
                      .count = rows.numel(),
                      .n = dw.dim(0),
                      .inner = d,
                      .source = source,
                      .scale = scale,
                      .add = add});
}

Array without_padding(const Array& rows, int64_t padding) {
  if (padding < 0) return rows;
  const Array kept = rows.clone();
  int64_t* p = kept.data<int64_t>();
  std::replace(p, p + kept.numel(), padding, int64_t{-1});
  return kept;
}

double norm(const float* row, int64_t d, double p) {
  double out = 0;
  for (int64_t i = 0; i < d; ++i) {
    const double a = std::abs(double{row[i]});
    out = std::isinf(p) ? std::max(out, a) : out + (p == 2 ? a * a : (p == 1 ? a : std::pow(a, p)));
  }
  return std::isinf(p) ? out : std::pow(out, 1 / p);
}

// As int64.
Array checked_offsets(const Array& offsets, bool include_last) {
  check<TypeError>(offsets.dtype() == DType::int64 || offsets.dtype() == DType::int32,
                   "embedding_bag: offsets must be int64 or int32, got ", offsets.dtype());
  check_rank(offsets, 1, "embedding_bag", "offsets", "[bags]");
  check(!include_last || offsets.numel() > 0, "embedding_bag: offsets must hold the end of the last bag, got none");
  return offsets.to(DType::int64);
}

// Begin of each bag, and the end of the last.
std::vector<int64_t> bag_begins(const Array& offsets, int64_t count, bool include_last) {
  const int64_t* p = offsets.data<int64_t>();
  std::vector<int64_t> out(p, p + offsets.numel());
  check(out.empty() || out[0] == 0, "embedding_bag: offsets must begin with 0, got ", out.empty() ? 0 : out[0]);
  for (size_t b = 0; b < out.size(); ++b) {
    check(out[b] <= count && (b == 0 || out[b] >= out[b - 1]), "embedding_bag: offsets must rise from 0 to at most ",
          count, ", got ", out[b], " at position ", b);
  }
  if (!include_last) out.push_back(count);
  return out;
}

void max_bag(const float* table, const int64_t* rows, int64_t count, int64_t d, float* y, int64_t* arg) {
  std::fill_n(y, d, 0.f);
  std::fill_n(arg, d, int64_t{-1});
  for (int64_t j = 0; j < count; ++j) {
    if (rows[j] < 0) continue;
    const float* row = table + rows[j] * d;
    for (int64_t i = 0; i < d; ++i) {
      if (arg[i] >= 0 && !(row[i] > y[i])) continue;
      y[i] = row[i];
      arg[i] = rows[j];
    }
  }
}

}  // namespace

Embedded embedding_forward(const Array& weight, const Array& index) {
  check_table(weight, "embedding");
  const Array rows = checked_index(index, weight.dim(0), false, "embedding", -1);
  Shape shape = index.shape();
  shape.push_back(weight.dim(1));
  if (weight.device() != Device::cpu) return {device_embedding(weight, rows, shape), rows};
  check_same_device(weight, rows, "embedding");
  const Array y(shape, weight.dtype());
  take_rows(weight.plain().raw<char>(), rows.data<int64_t>(), y.raw<char>(), 1, weight.dim(0), rows.numel(),
            weight.dim(1) * item_size(weight.dtype()));
  return {y, rows};
}

Array embedding_backward(const Array& dy, const Array& rows, int64_t v, int64_t padding, bool scale_by_freq,
                         const std::optional<Array>& out) {
  if (dy.device() != Device::cpu)
    return device_embedding_gradient(dy, rows, v, padding, scale_by_freq, out, nullptr, nullptr);
  const Array dw = gradient_table(out, v, dy.shape().back(), dy.dtype());
  add_gradient(dw, dy, without_padding(rows, padding), nullptr, nullptr, scale_by_freq);
  return dw.to(dy.dtype());
}

void embedding_add_gradient(const Array& table, const Array& dy, const Array& rows, int64_t padding,
                            bool scale_by_freq) {
  check_dtype(table, DType::float32, "embedding", "gradient");
  check_rank(table, 2, "embedding", "gradient", "[rows, columns]");
  check(dy.shape().back() == table.dim(1), "embedding: gradient must have shape [V, ", dy.shape().back(), "], got ",
        table.shape());
  table.begin_write("embedding");
  add_gradient(table, dy, without_padding(rows, padding), nullptr, nullptr, scale_by_freq, true);
}

void embedding_renorm(const Array& weight, const Array& index, double max_norm, double p) {
  check_table(weight, "embedding");
  check(p > 0, "embedding: norm_type must be > 0, got ", p);
  const Array rows = checked_index(index, weight.dim(0), false, "embedding", -1);
  if (weight.device() != Device::cpu) return device_renorm(weight, rows, max_norm, p);
  check_same_device(weight, rows, "embedding");
  const Grouping grouping = group_rows(rows.data<int64_t>(), rows.numel(), weight.dim(0));
  weight.begin_write("embedding");
  const int64_t d = weight.dim(1);
  for (const RowGroup& group : grouping.groups) {
    const Array row = weight.rows(group.row, group.row + 1);
    const Array values = row.to(DType::float32).clone();
    float* x = values.data<float>();
    const double length = norm(x, d, p);
    if (length <= max_norm) continue;
    const double scale = max_norm / (length + 1e-7);
    for (int64_t i = 0; i < d; ++i) x[i] = static_cast<float>(x[i] * scale);
    copy_into(row, values, "embedding");
  }
}

Bags bag_forward(const Array& weight, const Array& index, const Array& offsets, BagMode mode,
                 const std::optional<Array>& scales, bool include_last, int64_t padding) {
  check_table(weight, "embedding_bag");
  check_rank(index, 1, "embedding_bag", "input", "[indices]");
  const int64_t d = weight.dim(1);
  const Array places = checked_offsets(offsets, include_last);
  const bool on_cpu = weight.device() == Device::cpu;
  if (on_cpu) check_same_device(weight, places, "embedding_bag");
  const std::vector<int64_t> begins = on_cpu ? bag_begins(places, index.numel(), include_last) : std::vector<int64_t>();
  const int64_t count = begins.empty() ? 0 : static_cast<int64_t>(begins.size()) - 1;
  Bags out;
  const Array checked = checked_index(index, weight.dim(0), false, "embedding_bag", -1);
  if (scales) {
    check(mode == BagMode::sum, "embedding_bag: per_sample_weights need mode sum");
    check_shape(*scales, index.shape(), "embedding_bag", "per_sample_weights", "[indices]");
    out.scales = scales->plain().to(DType::float32);
  }
  if (!on_cpu) return device_bags(weight, checked, places, mode, out.scales, include_last, padding);
  check_same_device(weight, checked, "embedding_bag");
  out.rows = checked.clone();
  int64_t* rows = out.rows.data<int64_t>();
  if (padding >= 0) std::replace(rows, rows + index.numel(), padding, int64_t{-1});
  if (mode == BagMode::mean) out.scales = zeros({index.numel()});
  out.bags = zeros({index.numel()}, DType::int64);
  int64_t* bags = out.bags.data<int64_t>();
  // Indices behind the last offset belong to no bag.
  std::fill(rows + (count > 0 ? begins[count] : 0), rows + index.numel(), int64_t{-1});
  for (int64_t b = 0; b < count; ++b) {
    std::fill(bags + begins[b], bags + begins[b + 1], b);
    if (mode != BagMode::mean) continue;
    const int64_t padded = std::count(rows + begins[b], rows + begins[b + 1], -1);
    const int64_t kept = begins[b + 1] - begins[b] - padded;
    float* s = out.scales.data<float>();
    std::fill(s + begins[b], s + begins[b + 1], kept == 0 ? 0.f : 1.f / static_cast<float>(kept));
  }
  const Array table = weight.plain().to(DType::float32);
  const Array y({count, d});
  if (mode == BagMode::max) out.arg = Array({count, d}, DType::int64);
  parallel_for(count, 1 + 16384 * count / (1 + index.numel() * d), [&](int64_t first, int64_t last) {
    std::vector<int64_t> kept;
    std::vector<float> kept_scales;
    for (int64_t b = first; b < last; ++b) {
      float* to = y.data<float>() + b * d;
      if (mode == BagMode::max) {
        max_bag(table.data<float>(), rows + begins[b], begins[b + 1] - begins[b], d, to,
                out.arg.data<int64_t>() + b * d);
        continue;
      }
      kept.clear();
      kept_scales.clear();
      for (int64_t j = begins[b]; j < begins[b + 1]; ++j) {
        if (rows[j] < 0) continue;
        kept.push_back(rows[j]);
        if (out.scales.defined()) kept_scales.push_back(out.scales.data<float>()[j]);
      }
      index_kernels().sum_rows(table.data<float>(), kept.data(), out.scales.defined() ? kept_scales.data() : nullptr,
                               static_cast<int64_t>(kept.size()), to, d, false);
    }
  });
  out.y = y.to(weight.dtype());
  return out;
}

Array bag_backward(const Array& dy, const Array& rows, const Array& bags, const std::optional<Array>& scales, int64_t v,
                   bool scale_by_freq, const std::optional<Array>& out) {
  if (dy.device() != Device::cpu)
    return device_embedding_gradient(dy, rows, v, -1, scale_by_freq, out, &bags, scales ? &*scales : nullptr);
  const Array dw = gradient_table(out, v, dy.dim(1), dy.dtype());
  add_gradient(dw, dy, rows, bags.data<int64_t>(), scales ? scales->data<float>() : nullptr, scale_by_freq);
  return dw.to(dy.dtype());
}

Array bag_scales_backward(const Array& dy, const Array& weight, const Array& rows, const Array& bags) {
  if (dy.device() != Device::cpu) return device_bag_scales_gradient(dy, weight, rows, bags);
  const Array g = dy.plain().to(DType::float32);
  const Array table = weight.plain().to(DType::float32);
  const Array ds({rows.numel()});
  const int64_t d = table.dim(1);
  parallel_for(rows.numel(), 1 + 16384 / (d + 1), [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const int64_t row = rows.data<int64_t>()[j];
      const float* a = g.data<float>() + bags.data<int64_t>()[j] * d;
      double total = 0;
      for (int64_t i = 0; row >= 0 && i < d; ++i) total += double{a[i]} * table.data<float>()[row * d + i];
      ds.data<float>()[j] = static_cast<float>(total);
    }
  });
  return ds;
}

Array bag_max_backward(const Array& dy, const Array& arg, int64_t v) {
  if (dy.device() != Device::cpu) return device_bag_max_gradient(dy, arg, v);
  const Array g = dy.plain().to(DType::float32);
  const int64_t d = dy.dim(1);
  const Array dw = zeros({v, d});
  const float* from = g.data<float>();
  const int64_t* row = arg.data<int64_t>();
  float* to = dw.data<float>();
  parallel_for(d, 64, [&](int64_t begin, int64_t end) {  // columns
    for (int64_t b = 0; b < dy.dim(0); ++b) {
      for (int64_t i = begin; i < end; ++i) {
        if (row[b * d + i] >= 0) to[row[b * d + i] * d + i] += from[b * d + i];
      }
    }
  });
  return dw.to(dy.dtype());
}

}  // namespace nonet
