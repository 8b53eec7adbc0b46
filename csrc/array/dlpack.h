// The binary interface of DLPack 1.0 (structures of the published standard) and its two directions.
#pragma once

#include "array/array.h"

namespace nonet::dlpack {

struct Device {
  int32_t type;  // 1 = CPU, 2 = CUDA
  int32_t index;
};

struct DataType {
  uint8_t code;  // 0 int, 1 uint, 2 float, 4 bfloat, 6 bool
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t rank;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null = row-major
  uint64_t byte_offset;
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct ManagedVersioned {
  uint32_t major;
  uint32_t minor;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;  // bit 0: read-only
  Tensor tensor;
};

inline constexpr uint64_t read_only_flag = 1;

// The device of an array. Errors: RuntimeError for the emulator, whose memory no other library can use.
Device device_of(const Array& array);

// An export that keeps the memory alive until its deleter is called. A guarded array (a parameter) is exported
// read-only; the unversioned form has no such flag, so it makes a guarded array uncacheable instead.
Managed* export_unversioned(const Array& array);
ManagedVersioned* export_versioned(const Array& array);

// Takes the producer's memory over without a copy; release() runs when the last Array is gone. Rows that are not
// contiguous are copied. Errors: TypeError for a dtype that nonet lacks, RuntimeError for another device than the CPU
// and the CUDA device in use.
Array import(const Tensor& tensor, bool writable, std::function<void()> release);

}  // namespace nonet::dlpack
