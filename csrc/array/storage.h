// Memory: 64-byte aligned blocks from a caching allocator, or memory borrowed from somebody else.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "base/device.h"

namespace nonet {

class Storage {
 public:
  // Uninitialised memory. Errors: std::bad_alloc (MemoryError) that states the size.
  explicit Storage(int64_t bytes, Device device = Device::cpu);
  // Memory of another owner, who is told through release when the last Array is gone.
  Storage(void* data, int64_t bytes, bool writable, std::function<void()> release, Device device = Device::cpu);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  bool writable() const { return writable_; }
  Device device() const { return device_; }

  // Counts writes; a copy derived from the contents (packed weights) is valid for one version.
  uint64_t version() const { return version_.load(std::memory_order_acquire); }
  void bump_version() { version_.fetch_add(1, std::memory_order_acq_rel); }

  // Parameters are exported read-only, because a write from outside would not bump the version.
  bool guarded() const { return guarded_.load(std::memory_order_relaxed); }
  void guard() { guarded_.store(true, std::memory_order_relaxed); }
  // Set once somebody outside may write at any time (a DLPack export without read-only flag): nothing derived from
  // the contents may be cached then.
  bool uncacheable() const { return uncacheable_.load(std::memory_order_relaxed) || writers_.load() > 0; }
  void make_uncacheable() { uncacheable_.store(true, std::memory_order_relaxed); }
  // The same for as long as a writable view is open.
  void open_writer() { writers_.fetch_add(1); }
  void close_writer() {
    bump_version();
    writers_.fetch_sub(1);
  }

 private:
  void* data_;
  int64_t bytes_;
  Device device_;
  bool writable_ = true;
  std::function<void()> release_;
  std::atomic<uint64_t> version_ = 0;
  std::atomic<bool> guarded_ = false;
  std::atomic<bool> uncacheable_ = false;
  std::atomic<int> writers_ = 0;
};

// Bytes between memory of any two devices; the two do not overlap.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device, int64_t bytes);

}  // namespace nonet
