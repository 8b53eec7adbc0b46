// A caching allocator over any source of memory.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <unordered_map>
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
// block is waste and a training step finds every block of the step before. On the host,
// where all that is kept would exceed the largest use by an eighth, a block of up to twice the size serves, or some are
// given back first. Blocks of a size that nobody has asked for in a long time make room for those that are freed. On a
// GPU a freed block may be reused at once, since all work on it is in one stream.
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
  using Blocks = std::vector<std::pair<void*, int64_t>>;
  void give_back(void* block, int64_t bytes);
  void give_back(const Blocks& blocks);

  // With the lock held:
  int64_t limit() const;  // of all memory, in use and kept
  int64_t most_kept() const;
  void* larger(int index);          // a block of one of the next four classes serves as one of this
  Blocks surplus();                 // what is beyond the limit, out of the largest classes
  Blocks forgotten(int64_t bytes);  // so much, or less, that is kept and has not been wanted for long

  Device device_;
  std::mutex mutex_;
  std::array<std::vector<void*>, 200> free_;
  std::array<int64_t, 200> wanted_{};  // the last allocation of each class
  int64_t allocations_ = 0;
  std::unordered_map<void*, int> lent_;  // classes of blocks that serve as smaller ones
  int64_t in_use_ = 0;
  int64_t cached_ = 0;
  int64_t peak_ = 0;
};

Allocator& allocator(Device device);

}  // namespace nonet
