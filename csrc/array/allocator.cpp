#include "array/allocator.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

#include "base/check.h"

namespace nonet {

namespace {

constexpr int64_t min_cached = int64_t{64} << 20;
constexpr int64_t largest = int64_t{1} << 46;
constexpr int64_t long_ago = 1024;  // allocations: a step or more of most trainings
constexpr int64_t mapped =
    int64_t{1} << 20;  // from here on in mappings of their own, which free() would keep for itself

struct OutOfMemory : std::bad_alloc {
  explicit OutOfMemory(std::string text) : text(std::move(text)) {}
  const char* what() const noexcept override { return text.c_str(); }
  std::string text;
};

struct Class {
  int index;
  int64_t bytes;
};

Class class_of(int64_t bytes) {
  const uint64_t lines = bytes <= 64 ? 1 : static_cast<uint64_t>(bytes + 63) / 64;
  if (lines <= 8) return {static_cast<int>(lines) - 1, static_cast<int64_t>(lines) * 64};
  // lines - 1 = 1xx… in binary: the two bits behind the leading one choose the quarter.
  const int shift = std::bit_width(lines - 1) - 3;
  const uint64_t top = ((lines - 1) >> shift) + 1;  // 5 … 8
  return {8 + (shift - 1) * 4 + static_cast<int>(top) - 5, static_cast<int64_t>(top << shift) * 64};
}

int64_t bytes_of(int index) {
  if (index < 8) return int64_t{64} * (index + 1);
  return (int64_t{(index - 8) % 4 + 5} << ((index - 8) / 4 + 1)) * 64;
}

// The emulator gives every array memory of its own, of the exact size, so that an access beside it is caught.
bool caches(Device device) {
  return device != Device::emulator;
}

int64_t held(Device device, int64_t bytes) {
  return caches(device) ? class_of(bytes).bytes : bytes;
}

}  // namespace

void* Allocator::fresh(int64_t bytes) {
  if (bytes > largest) return nullptr;
  if (device_ != Device::cpu) return backend(device_).allocate(bytes);
  if (bytes < mapped) return std::aligned_alloc(64, bytes);
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return block == MAP_FAILED ? nullptr : block;
}

void Allocator::give_back(void* block, int64_t bytes) {
  if (device_ != Device::cpu) {
    backend(device_).release(block);
  } else if (bytes < mapped) {
    std::free(block);
  } else {
    munmap(block, bytes);
  }
}

void Allocator::give_back(const Blocks& blocks) {
  for (const auto& [block, bytes] : blocks) give_back(block, bytes);
}

int64_t Allocator::most_kept() const {
  return std::max(min_cached, peak_);
}

int64_t Allocator::limit() const {
  return peak_ + std::max(min_cached, peak_ / 8);
}

void* Allocator::larger(int index) {
  if (bytes_of(index) < mapped) return nullptr;
  for (int other = index + 1; other <= index + 4; ++other) {
    if (auto& list = free_[other]; !list.empty()) {
      void* block = list.back();
      list.pop_back();
      cached_ -= bytes_of(other);
      lent_[block] = other;
      return block;
    }
  }
  return nullptr;
}

Allocator::Blocks Allocator::forgotten(int64_t bytes) {
  Blocks blocks;
  for (int index = 0; index < static_cast<int>(free_.size()); ++index) {
    if (wanted_[index] > allocations_ - long_ago) continue;
    for (auto& list = free_[index]; bytes > 0 && !list.empty(); list.pop_back()) {
      blocks.emplace_back(list.back(), bytes_of(index));
      cached_ -= bytes_of(index);
      bytes -= bytes_of(index);
    }
  }
  return blocks;
}

Allocator::Blocks Allocator::surplus() {
  Blocks blocks;
  for (int index = static_cast<int>(free_.size()) - 1; index >= 0; --index) {
    for (auto& list = free_[index]; !list.empty(); list.pop_back()) {
      if (in_use_ + cached_ <= limit()) return blocks;
      blocks.emplace_back(list.back(), bytes_of(index));
      cached_ -= bytes_of(index);
    }
  }
  return blocks;
}

void* Allocator::allocate(int64_t bytes) {
  const int64_t size = held(device_, bytes);
  Blocks unneeded;
  {
    const std::lock_guard lock(mutex_);
    wanted_[class_of(bytes).index] = ++allocations_;
    in_use_ += size;
    peak_ = std::max(peak_, in_use_);
    if (auto& list = free_[class_of(bytes).index]; !list.empty()) {
      void* block = list.back();
      list.pop_back();
      cached_ -= size;
      return block;
    }
    // Activations, gradients and moments differ in size: what the classes of some keep must not add up with the others.
    // Not on a GPU, where giving memory back waits for all work.
    if (device_ == Device::cpu && in_use_ + cached_ > limit()) {
      if (void* block = larger(class_of(bytes).index)) return block;
      unneeded = surplus();
    }
  }
  give_back(unneeded);
  if (void* block = fresh(size)) return block;
  empty();
  if (void* block = fresh(size)) return block;
  const std::lock_guard lock(mutex_);
  in_use_ -= size;
  if (device_ == Device::cpu) {
    throw OutOfMemory(message("out of memory: ", bytes, " bytes wanted, ", in_use_, " in use by arrays"));
  }
  int64_t free = 0;
  int64_t total = 0;
  backend(device_).memory(free, total);
  throw OutOfMemory(message("out of memory on ", device_, ": ", bytes, " bytes wanted, ", in_use_,
                            " in use by arrays, ", free, " of ", total, " free on the device"));
}

void Allocator::release(void* block, int64_t bytes) {
  int64_t size = held(device_, bytes);
  Blocks unneeded;
  bool keeps = false;
  {
    const std::lock_guard lock(mutex_);
    in_use_ -= size;
    int index = class_of(bytes).index;
    if (const auto lent = lent_.find(block); lent != lent_.end()) {
      index = lent->second;
      size = bytes_of(index);
      lent_.erase(lent);
    }
    if (caches(device_)) {
      if (size <= most_kept() && cached_ + size > most_kept()) unneeded = forgotten(cached_ + size - most_kept());
      keeps = cached_ + size <= most_kept();
    }
    if (keeps) {
      cached_ += size;
      free_[index].push_back(block);
    }
  }
  give_back(unneeded);
  if (!keeps) give_back(block, size);
}

void Allocator::empty() {
  const std::lock_guard lock(mutex_);
  for (int index = 0; index < static_cast<int>(free_.size()); ++index) {
    for (void* block : free_[index]) give_back(block, bytes_of(index));
    free_[index].clear();
  }
  cached_ = 0;
}

MemoryStats Allocator::stats() {
  const std::lock_guard lock(mutex_);
  return {in_use_, cached_, peak_};
}

void Allocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  peak_ = in_use_;
}

Allocator& allocator(Device device) {
  // Never destroyed: arrays held by the interpreter may outlive static destructors. The locks are taken around fork, so
  // that a child never inherits one locked.
  static Allocator* const* instances = [] {
    static constexpr auto each = [](void (*visit)(std::mutex&)) {
      for (const Device d : {Device::cpu, Device::cuda, Device::emulator}) visit(allocator(d).mutex());
    };
    constexpr auto unlock = [] { each([](std::mutex& mutex) { mutex.unlock(); }); };
    pthread_atfork([] { each([](std::mutex& mutex) { mutex.lock(); }); }, unlock, unlock);
    return new Allocator*[3]{new Allocator(Device::cpu), new Allocator(Device::cuda), new Allocator(Device::emulator)};
  }();
  return *instances[static_cast<int>(device)];
}

}  // namespace nonet
