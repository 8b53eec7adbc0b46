#include "array/array.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "array/axis.h"
#include "array/convert.h"
#include "array/launch.h"
#include "array/strided.h"

namespace nonet {

namespace {

int64_t checked_numel(const Shape& shape) {
  int64_t numel = 1;
  bool overflow = false;
  for (const int64_t size : shape) {
    check(size >= 0, "shape: sizes must be >= 0, got ", shape);
    if (size > 0) overflow |= __builtin_mul_overflow(numel, size, &numel);
  }
  check(!overflow && numel < (int64_t{1} << 60), "shape: too many elements: ", shape);
  return shape.numel();
}

// [n, c, p] -> [n, p, c] in tiles that stay in cache; with c and p exchanged, back.
template <class T>
void exchange(const T* from, T* to, int64_t n, int64_t c, int64_t p) {
  constexpr int64_t tile = 32;
  parallel_for(n * ((p + tile - 1) / tile), 1, [&](int64_t begin, int64_t end) {
    const int64_t tiles = (p + tile - 1) / tile;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t image = block / tiles * c * p;
      const int64_t p0 = block % tiles * tile;
      const int64_t p1 = std::min(p0 + tile, p);
      for (int64_t c0 = 0; c0 < c; c0 += tile) {
        const int64_t c1 = std::min(c0 + tile, c);
        for (int64_t j = p0; j < p1; ++j) {
          for (int64_t i = c0; i < c1; ++i) to[image + j * c + i] = from[image + i * p + j];
        }
      }
    }
  });
}

template <class From, class To>
To convert(From x) {
  if constexpr (std::is_same_v<From, To>) {
    return x;
  } else if constexpr (std::is_same_v<From, bfloat16>) {
    return convert<float, To>(to_float(x));
  } else if constexpr (std::is_same_v<To, bfloat16>) {
    return to_bfloat16(static_cast<float>(x));
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From{0};
  } else if constexpr (std::is_same_v<From, float>) {
    // Out of range and NaN have no value in C++; saturate, NaN to 0.
    if (x != x) return 0;
    constexpr float low = static_cast<float>(std::numeric_limits<To>::min());
    constexpr float high = static_cast<float>(std::numeric_limits<To>::max());
    if (x <= low) return std::numeric_limits<To>::min();
    if (x >= high) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

// The bits of one element.
uint64_t element_bits(DType dtype, double value) {
  uint64_t bits = 0;
  visit(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    T element;
    if constexpr (std::is_same_v<T, bfloat16>) {
      element = to_bfloat16(static_cast<float>(value));
    } else {
      element = static_cast<T>(value);
    }
    std::memcpy(&bits, &element, sizeof element);
  });
  return bits;
}

}  // namespace

Array::Array(const Shape& shape, DType dtype, Format format, Device device)
    : shape_(shape), numel_(checked_numel(shape)), dtype_(dtype), format_(format) {
  storage_ = std::make_shared<Storage>(numel_ * item_size(dtype), device);
}

Array::Array(std::shared_ptr<Storage> storage, int64_t byte_offset, const Shape& shape, DType dtype, Format format)
    : storage_(std::move(storage)),
      byte_offset_(byte_offset),
      shape_(shape),
      numel_(shape.numel()),
      dtype_(dtype),
      format_(format) {}

Array Array::to_format(Format format) const {
  if (format == format_) return *this;
  check(rank() == 4, "format: only arrays of rank 4 can be stored as nhwc, got shape ", shape_);
  Array out(shape_, dtype_, format, device());
  if (device() != Device::cpu) {
    write_strided(Array(out.storage_, 0, shape_, dtype_), strided(out), *this);
    return out;
  }
  const int64_t n = dim(0);
  int64_t c = dim(1);
  int64_t p = dim(2) * dim(3);
  if (format == Format::plain) std::swap(c, p);
  switch (item_size(dtype_)) {
    case 8:
      exchange(raw<uint64_t>(), out.raw<uint64_t>(), n, c, p);
      break;
    case 4:
      exchange(raw<uint32_t>(), out.raw<uint32_t>(), n, c, p);
      break;
    case 2:
      exchange(raw<uint16_t>(), out.raw<uint16_t>(), n, c, p);
      break;
    default:
      exchange(raw<uint8_t>(), out.raw<uint8_t>(), n, c, p);
  }
  return out;
}

Array Array::reshape(const Shape& shape) const {
  check(checked_numel(shape) == numel_, "reshape: shape ", shape, " does not hold the ", numel_, " elements of ",
        shape_);
  if (shape == shape_) return *this;
  const Array source = plain();
  return Array(source.storage_, source.byte_offset_, shape, dtype_);
}

Array Array::rows(int64_t begin, int64_t end) const {
  const int64_t row = dim(0) == 0 ? 0 : bytes() / dim(0);
  return Array(storage_, byte_offset_ + begin * row, shape_.with(0, end - begin), dtype_, format_);
}

Array Array::view(int64_t offset, const Shape& shape) const {
  return Array(storage_, byte_offset_ + offset * item_size(dtype_), shape, dtype_);
}

Array Array::clone() const {
  Array out = empty_like(*this);
  copy_bytes(out.address(), out.device(), address(), device(), bytes());
  return out;
}

Array Array::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Array out(shape_, dtype, format_, device());
  if (device() != Device::cpu) {
    on_device(&ConvertDevice::convert, "to", out, *this, dtype_, out, dtype, numel_);
    return out;
  }
  if (dtype_ == DType::float32 && dtype == DType::bfloat16) {
    parallel_for(numel_, 65536, [&](int64_t begin, int64_t end) {
      convert_kernels().to_bfloat16(raw<float>() + begin, out.raw<bfloat16>() + begin, end - begin);
    });
    return out;
  }
  visit(dtype_, [&](auto from) {
    visit(dtype, [&](auto to) {
      using From = typename decltype(from)::type;
      using To = typename decltype(to)::type;
      const From* x = raw<From>();
      To* y = out.raw<To>();
      parallel_for(numel_, 65536, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = convert<From, To>(x[i]);
      });
    });
  });
  return out;
}

Array Array::to(Device device) const {
  if (device == this->device()) return *this;
  Array out(shape_, dtype_, format_, device);
  copy_bytes(out.address(), device, address(), this->device(), bytes());
  return out;
}

// csrc/ops/softmax/softmax.cpp asks for softmax, csrc/ops/optim/bind.cpp for optim.
void Array::refuse_device(const char* file) const {
  std::string path = file;
  const size_t end = path.rfind("/bind.cpp");
  path = path.substr(0, end == std::string::npos ? path.rfind('.') : end);
  fail<RuntimeError>(path.substr(path.rfind('/') + 1), ": there is no kernel for ", device(), "; use .cpu()");
}

void Array::begin_write(const char* op) const {
  check(storage_->writable(), op, ": the array's memory was given read-only");
  storage_->bump_version();
}

Array axis_last(const Array& x, int axis) {
  const auto [outer, n, inner] = around(x.shape(), axis);
  const Array rows = x.reshape({outer, n, inner});
  if (inner == 1) return rows.reshape({outer, n});
  // As an image of n channels and inner pixels, this is the change to channels-last.
  const Array moved = rows.reshape({outer, n, inner, 1}).to_format(Format::nhwc);
  return Array(moved.storage(), moved.byte_offset(), {outer * inner, n}, x.dtype());
}

Array axis_back(const Array& rows, const Shape& shape, int axis) {
  const auto [outer, n, inner] = around(shape, axis);
  if (inner == 1) return rows.reshape(shape);
  const Array image(rows.storage(), rows.byte_offset(), {outer, n, inner, 1}, rows.dtype(), Format::nhwc);
  return image.plain().reshape(shape);
}

Array empty_like(const Array& like) {
  return Array(like.shape(), like.dtype(), like.format(), like.device());
}

Array zeros(const Shape& shape, DType dtype, Device device) {
  Array out(shape, dtype, Format::plain, device);
  if (device == Device::cpu) {
    std::memset(out.address(), 0, out.bytes());
  } else {
    backend(device).clear(out.address(), out.bytes());
    if (const char* problem = failure(device)) fail<RuntimeError>("zeros: ", device, ": ", problem);
  }
  return out;
}

void fill(const Array& out, double value) {
  out.begin_write("fill");
  const uint64_t bits = element_bits(out.dtype(), value);
  if (out.device() != Device::cpu) {
    const int size = static_cast<int>(item_size(out.dtype()));
    return on_device(&ConvertDevice::fill, "fill", out, out, size, bits, out.numel());
  }
  visit(out.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    T element;
    std::memcpy(&element, &bits, sizeof element);
    T* y = out.raw<T>();
    parallel_for(out.numel(), 262144, [&](int64_t begin, int64_t end) { std::fill(y + begin, y + end, element); });
  });
}

void copy_into(const Array& out, const Array& source, const char* op) {
  check(source.shape() == out.shape(), op, ": source must have shape ", out.shape(), ", got ", source.shape());
  out.begin_write(op);
  Array same = source.to(out.dtype()).to_format(out.format());
  if (out.device() == Device::cpu && same.device() == Device::cpu) {
    std::memmove(out.address(), same.address(), out.bytes());
    return;
  }
  if (same.storage() == out.storage()) same = same.clone();
  copy_bytes(out.address(), out.device(), same.address(), same.device(), out.bytes());
}

void check_dtype(const Array& x, DType dtype, const char* op, const char* argument) {
  check<TypeError>(x.dtype() == dtype, op, ": ", argument, " must be ", dtype, ", got ", x.dtype());
}

void check_floating(const Array& x, const char* op, const char* argument) {
  check<TypeError>(is_floating(x.dtype()), op, ": ", argument, " must be float32 or bfloat16, got ", x.dtype());
}

void check_rank(const Array& x, int rank, const char* op, const char* argument, const char* letters) {
  check(x.rank() == rank, op, ": ", argument, " must have shape ", letters, ", got ", x.shape());
}

void check_shape(const Array& x, const Shape& shape, const char* op, const char* argument, const char* letters) {
  check(x.shape() == shape, op, ": ", argument, " must have shape ", letters, " = ", shape, ", got ", x.shape());
}

void check_on_cpu(const Array& x, const char* op) {
  check<RuntimeError>(x.device() == Device::cpu, op, ": there is no kernel for ", x.device(), "; use .cpu()");
}

void check_same_device(const Array& a, const Array& b, const char* op) {
  check<RuntimeError>(a.device() == b.device(), op, ": arrays are on different devices, ", a.device(), " and ",
                      b.device());
}

Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int axis = 0; axis < rank; ++axis) {
    const int64_t x = axis < rank - a.rank() ? 1 : a[axis - (rank - a.rank())];
    const int64_t y = axis < rank - b.rank() ? 1 : b[axis - (rank - b.rank())];
    check(x == y || x == 1 || y == 1, op, ": shapes ", a, " and ", b, " do not broadcast");
    out.push_back(x == 1 ? y : x);
  }
  return out;
}

}  // namespace nonet
