#include "ops/optim/group.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "array/launch.h"

namespace nonet {

namespace {

constexpr int64_t block_elements = 16384;

int64_t padded_size(const Array& x) {
  const int64_t unit = 64 / item_size(x.dtype());
  return (x.numel() + unit - 1) / unit * unit;
}

char* bytes_of(const Array& x) {
  return static_cast<char*>(x.address());
}

// Runs or pieces in the memory of a device.
struct Table {
  Array items;
  int64_t count, blocks;
};
template <class Item>
Table table_of(std::vector<Item>& items, Device device) {
  Table out{};
  for (Item& item : items) {
    item.first = out.blocks;
    out.blocks += (item.n + OptimDevice::block - 1) / OptimDevice::block;
  }
  out.count = static_cast<int64_t>(items.size());
  const int64_t bytes = out.count * static_cast<int64_t>(sizeof(Item));
  out.items = Array({bytes}, DType::uint8, Format::plain, device);
  copy_bytes(out.items.address(), device, items.data(), Device::cpu, bytes);
  return out;
}

}  // namespace

OptimGroup::OptimGroup(const std::vector<Array>& params, const std::vector<bool>& movable) {
  if (!params.empty()) device_ = params[0].device();
  int64_t sizes[2] = {};  // of the float32 and the bfloat16 block
  for (size_t i = 0; i < params.size(); ++i) {
    const Array& p = params[i];
    check_floating(p, "optimizer", "parameter");
    check_same_device(params[0], p, "optimizer");
    check(p.format() == Format::plain, "optimizer: a parameter must be stored as plain, got nhwc");
    entries_.push_back({p, {}, {}, total_, padded_size(p)});
    total_ += padded_size(p);
    if (movable[i]) sizes[p.dtype() == DType::bfloat16] += padded_size(p);
  }
  const auto block = [&](DType dtype) { return zeros({sizes[dtype == DType::bfloat16]}, dtype, device_); };
  const Array blocks[2] = {block(DType::float32), block(DType::bfloat16)};
  const Array gradients[2] = {block(DType::float32), block(DType::bfloat16)};
  int64_t at[2] = {};
  for (size_t i = 0; i < params.size(); ++i) {
    if (!movable[i]) continue;
    Entry& e = entries_[i];
    const int kind = e.param.dtype() == DType::bfloat16;
    const Array home = blocks[kind].view(at[kind], e.param.shape());
    copy_bytes(bytes_of(home), device_, bytes_of(e.param), device_, home.bytes());
    e.param = home;
    e.slot = gradients[kind].view(at[kind], home.shape());
    at[kind] += e.padded;
  }
  for (const Array& block : blocks) block.storage()->guard();
}

void OptimGroup::place(int64_t i, const Array& param, const Array* grad) {
  Entry& e = entries_[i];
  check_shape(param, e.param.shape(), "step", "parameter", "[as it was]");
  check_dtype(param, e.param.dtype(), "step", "parameter");
  check(param.format() == Format::plain, "step: a parameter must be stored as plain, got nhwc");
  check<RuntimeError>(param.device() == device_, "step: a parameter is on ", param.device(), ", its optimizer on ",
                      device_, "; make the optimizer after moving the parameters");
  e.param = param;
  e.grad = Array();
  stale_ = true;
  if (grad == nullptr) return;
  check_shape(*grad, param.shape(), "step", "gradient", "[of its parameter]");
  check_dtype(*grad, param.dtype(), "step", "gradient");
  check_same_device(param, *grad, "step");
  e.grad = grad->plain();
}

void OptimGroup::set_progress(int64_t i, int64_t steps, double product) {
  entries_[i].steps = steps;
  entries_[i].product = product;
  stale_ = true;
}

Array OptimGroup::state(int k, int64_t i) const {
  if (!states_[k].defined()) return {};
  return states_[k].view(entries_[i].offset, entries_[i].param.shape());
}

void OptimGroup::make_state(int k, float value) {
  if (states_[k].defined()) return;
  states_[k] = zeros({total_}, DType::float32, device_);
  if (value != 0) fill(states_[k], value);
  stale_ = true;
}

bool OptimGroup::adjacent(const Entry& a, const Entry& b) const {
  const int64_t gap = a.padded * item_size(a.param.dtype());
  return a.param.dtype() == b.param.dtype() && a.steps == b.steps && a.product == b.product &&
         b.offset == a.offset + a.padded && bytes_of(b.param) == bytes_of(a.param) + gap &&
         bytes_of(b.grad) == bytes_of(a.grad) + gap && a.param.storage() == b.param.storage() &&
         a.grad.storage() == b.grad.storage();
}

void OptimGroup::plan() {
  runs_.clear();
  first_of_.clear();
  written_.clear();
  run_of_.assign(entries_.size(), -1);
  const Entry* last = nullptr;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& e = entries_[i];
    if (!e.grad.defined()) continue;
    if (last != nullptr && adjacent(*last, e)) {
      runs_.back().n = e.offset - entries_[first_of_.back()].offset + e.param.numel();
    } else {
      OptimRun run{bytes_of(e.param), bytes_of(e.grad), {}, e.param.numel(), e.param.dtype() == DType::bfloat16, {}, 0};
      for (int k = 0; k < max_states; ++k) {
        if (states_[k].defined()) run.state[k] = static_cast<float*>(states_[k].address()) + e.offset;
      }
      runs_.push_back(run);
      first_of_.push_back(static_cast<int64_t>(i));
    }
    run_of_[i] = static_cast<int64_t>(runs_.size()) - 1;
    last = &e;
    const auto same = [&](const Array& other) { return other.storage() == e.param.storage(); };
    if (std::none_of(written_.begin(), written_.end(), same)) written_.push_back(e.param);
  }
  cut();
  stale_ = false;
}

// Fixed blocks, whatever the number of threads.
void OptimGroup::cut() {
  blocks_.clear();
  for (const OptimRun& run : runs_) {
    for (int64_t begin = 0; begin < run.n; begin += block_elements) {
      blocks_.push_back({&run, begin, std::min(begin + block_elements, run.n)});
    }
  }
}

void OptimGroup::step(OptimRule rule, bool counts, const std::function<OptimFactors(int64_t, double&)>& factors_of) {
  if (stale_) plan();
  for (const Array& array : written_) array.begin_write("step");
  for (size_t r = 0; r < runs_.size(); ++r) {
    Entry& first = entries_[first_of_[r]];
    runs_[r].factors = factors_of(first.steps + 1, first.product);
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (run_of_[i] < 0) continue;
    if (counts) ++entries_[i].steps;
    entries_[i].product = entries_[first_of_[run_of_[i]]].product;
  }
  if (device_ != Device::cpu) {
    const Table table = table_of(runs_, device_);
    return on_device(&OptimDevice::step, "step", table.items, rule, table.items, table.count, table.blocks);
  }
  optim_kernels().step(rule, blocks_.data(), static_cast<int64_t>(blocks_.size()));
}

namespace {

struct Piece {
  char* data;
  bool bf16;
  int64_t n;
};

// Errors: TypeError for integers, RuntimeError unless all are on one device, which is returned.
Device check_gradients(const std::vector<Array>& arrays, const char* op) {
  for (const Array& array : arrays) {
    check_floating(array, op, "gradient");
    check_same_device(arrays[0], array, op);
  }
  return arrays.empty() ? Device::cpu : arrays[0].device();
}

Table table_of(const std::vector<Array>& arrays) {
  std::vector<OptimPiece> out;
  for (const Array& x : arrays) out.push_back({bytes_of(x), x.numel(), x.dtype() == DType::bfloat16, 0});
  return table_of(out, arrays[0].device());
}

// All arrays in fixed blocks.
std::vector<Piece> pieces_of(const std::vector<Array>& arrays) {
  std::vector<Piece> out;
  for (const Array& array : arrays) {
    const bool bf16 = array.dtype() == DType::bfloat16;
    for (int64_t begin = 0; begin < array.numel(); begin += block_elements) {
      out.push_back(
          {bytes_of(array) + begin * item_size(array.dtype()), bf16, std::min(block_elements, array.numel() - begin)});
    }
  }
  return out;
}

template <class Body>
void for_pieces(const std::vector<Piece>& pieces, const Body& body) {
  // Several small pieces to a task, at most about a block of elements each.
  parallel_for(static_cast<int64_t>(pieces.size()), pieces.size() < 8 ? 8 : 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace

Array total_norm(const std::vector<Array>& arrays, double p) {
  constexpr const char* op = "get_total_norm";
  check(p > 0, op, ": norm_type must be positive, got ", p);
  const Device device = check_gradients(arrays, op);
  const Array out(Shape{}, DType::float32, Format::plain, device);
  if (device != Device::cpu) {
    const Table table = table_of(arrays);
    const Array parts({table.blocks}, DType::int64, Format::plain, device);  // as many doubles
    on_device(&OptimDevice::norm, op, out, table.items, table.count, table.blocks, p, parts, out);
    return out;
  }
  const std::vector<Piece> pieces = pieces_of(arrays);
  std::vector<double> parts(pieces.size());
  for_pieces(pieces, [&](int64_t i) {
    const Piece& piece = pieces[i];
    parts[i] = optim_kernels().norm(piece.data, piece.bf16, piece.n, p);
  });
  double total = 0;
  for (const double part : parts) {
    if (std::isinf(p)) {
      total = part > total || std::isnan(part) ? part : total;
    } else {
      total += part;
    }
  }
  *out.data<float>() = static_cast<float>(std::isinf(p) ? total : std::pow(total, 1 / p));
  return out;
}

void scale_to_norm(const std::vector<Array>& arrays, const Array& norm, double max_norm) {
  constexpr const char* op = "clip_grad_norm_";
  const Device device = check_gradients(arrays, op);
  if (device != Device::cpu) {
    for (const Array& array : arrays) array.begin_write(op);
    const Table table = table_of(arrays);
    return on_device(&OptimDevice::scale, op, table.items, table.items, table.count, table.blocks, norm, max_norm);
  }
  const float factor = static_cast<float>(max_norm / (double{*norm.data<float>()} + 1e-6));
  if (factor >= 1.f) return;  // not so for NaN, which spreads to every gradient
  for (const Array& array : arrays) array.begin_write(op);
  const std::vector<Piece> pieces = pieces_of(arrays);
  for_pieces(pieces, [&](int64_t i) { optim_kernels().scale(pieces[i].data, pieces[i].bf16, pieces[i].n, factor); });
}

void clamp_values(const std::vector<Array>& arrays, double bound) {
  constexpr const char* op = "clip_grad_value_";
  const Device device = check_gradients(arrays, op);
  for (const Array& array : arrays) array.begin_write(op);
  if (device != Device::cpu) {
    const Table table = table_of(arrays);
    return on_device(&OptimDevice::clamp, op, table.items, table.items, table.count, table.blocks,
                     static_cast<float>(bound));
  }
  const std::vector<Piece> pieces = pieces_of(arrays);
  for_pieces(pieces, [&](int64_t i) {
    optim_kernels().clamp(pieces[i].data, pieces[i].bf16, pieces[i].n, static_cast<float>(bound));
  });
}

}  // namespace nonet
