// Array: contiguous, row-major memory with a shape, a dtype and a device. Copies of an Array share the memory.
//
// An image Array [N, C, H, W] may instead be stored as [N, H, W, C] (Format::nhwc) under the same logical shape. An op
// that does not know formats starts with `const Array x = input.plain();`; data() refuses any other format, so that a
// forgotten conversion is an error and never a wrong number.
//
// The same holds for devices: data() and raw() are for kernels of the CPU and refuse memory of any other device, naming
// the op that asked; launchers get address() through on_device() (array/launch.h).
#pragma once

#include <memory>

#include "array/shape.h"
#include "array/storage.h"
#include "base/dtype.h"

namespace nonet {

enum class Format : uint8_t { plain, nhwc };

class Array {
 public:
  Array() = default;  // no array: defined() is false
  // Uninitialised. Errors: ValueError for a negative size or a product beyond int64.
  explicit Array(const Shape& shape, DType dtype = DType::float32, Format format = Format::plain,
                 Device device = Device::cpu);
  Array(std::shared_ptr<Storage> storage, int64_t byte_offset, const Shape& shape, DType dtype,
        Format format = Format::plain);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t numel() const { return numel_; }
  DType dtype() const { return dtype_; }
  Format format() const { return format_; }
  Device device() const { return storage_->device(); }
  int64_t bytes() const { return numel_ * item_size(dtype_); }
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  int64_t byte_offset() const { return byte_offset_; }

  // Elements in row-major order of the shape. Errors: RuntimeError in any format but plain, or on another device than
  // the CPU; `file` is the caller's, whose name is the op's.
  template <class T>
  T* data(const char* file = __builtin_FILE()) const {
    check<RuntimeError>(format_ == Format::plain, "internal: an op read an nhwc array as plain");
    return raw<T>(file);
  }
  // Elements in storage order. Errors: RuntimeError on another device than the CPU.
  template <class T>
  T* raw(const char* file = __builtin_FILE()) const {
    if (storage_->device() != Device::cpu) [[unlikely]]
      refuse_device(file);
    return static_cast<T*>(address());
  }
  // Where the elements are, in storage order, in the memory of the device.
  void* address() const { return static_cast<char*>(storage_->data()) + byte_offset_; }

  // The same values in row-major order: this array itself if it is stored so, else a copy.
  Array plain() const { return format_ == Format::plain ? *this : to_format(Format::plain); }
  // A conversion of a rank-4 array (itself if nothing is to do).
  Array to_format(Format format) const;
  // Same elements, another shape; shares the memory (an nhwc array is converted first). No size may be -1.
  Array reshape(const Shape& shape) const;
  // Rows [begin, end) of the first axis; shares the memory.
  Array rows(int64_t begin, int64_t end) const;
  // The elements [offset, offset + shape.numel()) of the storage order under a shape; shares the memory.
  Array view(int64_t offset, const Shape& shape) const;
  Array clone() const;
  // Converted to a dtype (itself if nothing is to do): floats truncate to integers, anything but 0 is true.
  Array to(DType dtype) const;

  // Copied to a device (itself if nothing is to do).
  Array to(Device device) const;

  // Every in-place write goes through here, before the first element changes. Errors: ValueError for memory that was
  // given read-only.
  void begin_write(const char* op) const;

 private:
  [[noreturn]] void refuse_device(const char* file) const;

  std::shared_ptr<Storage> storage_;
  int64_t byte_offset_ = 0;
  Shape shape_;
  int64_t numel_ = 0;
  DType dtype_ = DType::float32;
  Format format_ = Format::plain;
};

// Same shape, dtype, format and device, uninitialised.
Array empty_like(const Array& like);
Array zeros(const Shape& shape, DType dtype = DType::float32, Device device = Device::cpu);
// Fills every element with a number converted to the array's dtype.
void fill(const Array& out, double value);
// Copies the values of a source of the same shape into out, converting dtype, format and device. The two may overlap.
void copy_into(const Array& out, const Array& source, const char* op);

// Checks that ops share.
void check_dtype(const Array& x, DType dtype, const char* op, const char* argument);
void check_floating(const Array& x, const char* op, const char* argument);
void check_rank(const Array& x, int rank, const char* op, const char* argument, const char* letters);
void check_shape(const Array& x, const Shape& shape, const char* op, const char* argument, const char* letters);
// For what has no kernels for another device. Errors: RuntimeError.
void check_on_cpu(const Array& x, const char* op);
void check_same_device(const Array& a, const Array& b, const char* op);

}  // namespace nonet
