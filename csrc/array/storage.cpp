#include "array/storage.h"

#include <pthread.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "base/check.h"

namespace nonet {

namespace {

struct OutOfMemory : std::bad_alloc {
  explicit OutOfMemory(std::string text) : text(std::move(text)) {}
  const char* what() const noexcept override { return text.c_str(); }
  std::string text;
};

// Keeps freed blocks by size class. Sizes are rounded up to four classes per power of two, so at most a fifth of a
// block is waste and a training step finds every block of the step before.
class Allocator {
 public:
  void* allocate(int64_t bytes) {
    const Class c = class_of(bytes);
    {
      const std::lock_guard lock(mutex_);
      in_use_ += c.bytes;
      peak_ = std::max(peak_, in_use_);
      if (auto& list = free_[c.index]; !list.empty()) {
        void* block = list.back();
        list.pop_back();
        cached_ -= c.bytes;
        return block;
      }
    }
    if (void* block = fresh(c.bytes)) return block;
    empty();
    if (void* block = fresh(c.bytes)) return block;
    const std::lock_guard lock(mutex_);
    in_use_ -= c.bytes;
    throw OutOfMemory(message(bytes));
  }

  void release(void* block, int64_t bytes) {
    const Class c = class_of(bytes);
    {
      const std::lock_guard lock(mutex_);
      in_use_ -= c.bytes;
      if (cached_ + c.bytes <= std::max(min_cached, peak_)) {
        cached_ += c.bytes;
        free_[c.index].push_back(block);
        return;
      }
    }
    std::free(block);
  }

  void empty() {
    const std::lock_guard lock(mutex_);
    for (auto& list : free_) {
      for (void* block : list) std::free(block);
      list.clear();
    }
    cached_ = 0;
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return {in_use_, cached_, peak_};
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = in_use_;
  }

  std::mutex& mutex() { return mutex_; }

 private:
  static constexpr int64_t min_cached = int64_t{64} << 20;
  static constexpr int64_t largest = int64_t{1} << 46;

  struct Class {
    int index;
    int64_t bytes;
  };

  static Class class_of(int64_t bytes) {
    const uint64_t lines = bytes <= 64 ? 1 : static_cast<uint64_t>(bytes + 63) / 64;
    if (lines <= 8) return {static_cast<int>(lines) - 1, static_cast<int64_t>(lines) * 64};
    // lines - 1 = 1xx… in binary: the two bits behind the leading one choose the quarter.
    const int shift = std::bit_width(lines - 1) - 3;
    const uint64_t top = ((lines - 1) >> shift) + 1;  // 5 … 8
    return {8 + (shift - 1) * 4 + static_cast<int>(top) - 5, static_cast<int64_t>(top << shift) * 64};
  }

  static void* fresh(int64_t bytes) { return bytes > largest ? nullptr : std::aligned_alloc(64, bytes); }

  std::string message(int64_t bytes) const {
    std::ostringstream out;
    out << "out of memory: " << bytes << " bytes wanted, " << in_use_ << " in use by arrays";
    return out.str();
  }

  std::mutex mutex_;
  std::array<std::vector<void*>, 200> free_;
  int64_t in_use_ = 0;
  int64_t cached_ = 0;
  int64_t peak_ = 0;
};

Allocator& allocator() {
  // Never destroyed: arrays held by the interpreter may outlive static destructors. The lock is taken around fork, so
  // that a child never inherits it locked.
  static Allocator* instance = [] {
    pthread_atfork([] { allocator().mutex().lock(); }, [] { allocator().mutex().unlock(); },
                   [] { allocator().mutex().unlock(); });
    return new Allocator;
  }();
  return *instance;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, Device device) {
  if (device.type == DeviceType::cpu) return out << "cpu";
  return out << "cuda:" << device.index;
}

Device device_from_name(const std::string& name) {
  if (name == "cpu") return {};
  check<ValueError>(name == "cuda" || name.rfind("cuda:", 0) == 0, "device: expected cpu or cuda, got ", name);
  fail<RuntimeError>("device: this build of nonet has no CUDA kernels, so ", name, " is not available; use cpu");
}

Storage::Storage(int64_t bytes) : data_(allocator().allocate(bytes)), bytes_(bytes) {}

Storage::Storage(void* data, int64_t bytes, bool writable, std::function<void()> release)
    : data_(data), bytes_(bytes), writable_(writable), release_(std::move(release)) {}

Storage::~Storage() {
  if (release_) {
    release_();
  } else {
    allocator().release(data_, bytes_);
  }
}

MemoryStats memory_stats() {
  return allocator().stats();
}
void reset_peak_memory() {
  allocator().reset_peak();
}
void empty_cache() {
  allocator().empty();
}

}  // namespace nonet
