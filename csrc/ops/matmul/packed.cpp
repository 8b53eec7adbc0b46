#include "ops/matmul/packed.h"

#include <cstdlib>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace nonet {

namespace {

struct Copy {
  std::weak_ptr<Storage> source;
  const void* b;
  int64_t n, k, ldb;
  bool transpose;
  const MatmulKernels* kernels;
  Precision precision;
  bool is_bfloat16;
  uint64_t version;
  Array packed;

  bool is_for(const Gemm& g, const MatmulKernels& wanted) const {
    return b == g.b && n == g.n && k == g.k && ldb == g.ldb && transpose == g.transpose_b && kernels == &wanted &&
           precision == g.precision && is_bfloat16 == g.b_is_bfloat16;
  }
};

int64_t default_budget() {
  const char* text = std::getenv("NONET_CACHE_BYTES");
  if (text == nullptr || *text == '\0') return int64_t{1} << 30;
  char* end = nullptr;
  const long long bytes = std::strtoll(text, &end, 10);
  check(*end == '\0' && bytes >= 0, "NONET_CACHE_BYTES: expected a number of bytes of at least 0, got ", text);
  return bytes;
}

struct Cache {
  using Place = std::list<Copy>::iterator;

  std::mutex mutex;
  std::list<Copy> copies;                                 // the most recently used first
  std::unordered_multimap<const void*, Place> by_memory;  // by Copy::b
  int64_t bytes = 0;
  int64_t budget = default_budget();

  Place find(const Gemm& g, const MatmulKernels& kernels, const std::shared_ptr<Storage>& source) {
    for (auto [at, end] = by_memory.equal_range(g.b); at != end; ++at) {
      if (at->second->is_for(g, kernels) && at->second->source.lock() == source) return at->second;
    }
    return copies.end();
  }
  void add(Copy copy) {
    bytes += copy.packed.bytes();
    copies.push_front(std::move(copy));
    by_memory.emplace(copies.front().b, copies.begin());
  }
  Place drop(Place copy) {
    bytes -= copy->packed.bytes();
    for (auto [at, end] = by_memory.equal_range(copy->b); at != end; ++at) {
      if (at->second != copy) continue;
      by_memory.erase(at);
      break;
    }
    return copies.erase(copy);
  }
  void drop_dead() {
    for (auto copy = copies.begin(); copy != copies.end();)
      copy = copy->source.expired() ? drop(copy) : std::next(copy);
  }
  void make_room(int64_t wanted) {
    while (!copies.empty() && bytes + wanted > budget) drop(std::prev(copies.end()));
  }
};

Cache& cache() {
  static Cache* instance = new Cache;  // never destroyed: arrays may outlive static destructors
  return *instance;
}

}  // namespace

Array packed_weight(const Gemm& g, const MatmulKernels& kernels, const Array& weight, int64_t bytes) {
  Storage& storage = *weight.storage();
  if (!storage.guarded() || storage.uncacheable()) return {};
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  if (bytes > c.budget) return {};
  // Read first: a write during packing leaves a copy that is stale from the start.
  const uint64_t version = storage.version();
  Array packed;
  if (const auto copy = c.find(g, kernels, weight.storage()); copy != c.copies.end()) {
    if (copy->version == version) {
      c.copies.splice(c.copies.begin(), c.copies, copy);
      return copy->packed;
    }
    if (copy->packed.storage().use_count() == 1) packed = copy->packed;  // no call under way reads it
    c.drop(copy);
  }
  if (!packed.defined()) {
    c.drop_dead();
    packed = Array(Shape{bytes}, DType::uint8);
  }
  c.make_room(bytes);
  kernels.pack_b(g, packed.data<uint8_t>());
  c.add(
      {weight.storage(), g.b, g.n, g.k, g.ldb, g.transpose_b, &kernels, g.precision, g.b_is_bfloat16, version, packed});
  return packed;
}

int64_t packed_weight_bytes() {
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  c.drop_dead();
  return c.bytes;
}

void set_packed_weight_budget(int64_t bytes) {
  check(bytes >= 0, "set_cache_budget: expected a number of bytes of at least 0, got ", bytes);
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  c.budget = bytes;
  c.make_room(0);
}

int64_t packed_weight_budget() {
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  return c.budget;
}

void drop_packed_weights() {
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  c.by_memory.clear();
  c.copies.clear();
  c.bytes = 0;
}

}  // namespace nonet
