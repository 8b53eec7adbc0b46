// A caching allocator over any source of memory.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "base/device.h"

namespace nonet {

struct MemoryStats {
  int64_t in_use;  // bytes held by arrays
  int64_t cached;  // bytes kept for reuse
  int64_t peak;    // largest in_use since the last reset_peak()
};

// Keeps freed blocks by size class. Sizes are rounded up to four classes per power of two, so at most a fifth of a
// block is waste and a training step finds every block of the step before. On the host, memory that no class has is
// taken from what other classes keep, beyond the largest use so far and 64 MiB. On a GPU a freed block may be reused at
// once, since all work on it is in one stream.
class Allocator {
 public:
  explicit Allocator(Device device) : device_(device) {}

  // Errors: std::bad_alloc (MemoryError) that states the sizes, after the cache was emptied; nothing else is lost.
  void* allocate(int64_t bytes);
  void release(void* block, int64_t bytes);
  void empty();
  MemoryStats stats();
  void reset_peak();

  std::mutex& mutex() { return mutex_; }

 private:
  void* fresh(int64_t bytes);
  std::vector<std::pair<void*, int64_t>>
  surplus();  // takes blocks of the largest classes out of the cache; the lock is held
  void give_back(void* block, int64_t bytes);

  Device device_;
  std::mutex mutex_;
  std::array<std::vector<void*>, 200> free_;
  int64_t in_use_ = 0;
  int64_t cached_ = 0;
  int64_t peak_ = 0;
};

Allocator& allocator(Device device);

}  // namespace nonet
