// cp.async, TMA and clusters.
#include <algorithm>
#include <cstring>
#include <memory>

#include "cuda/emulator/mbarrier.h"

namespace nonet::emulator {

using machine::current;
using machine::fail;
using machine::MbarrierState;
using machine::now;

namespace machine {

struct Copy {
  unsigned char* shared;
  const unsigned char* global;
  int bytes, valid;
  bool landed;
};
// A TMA or bulk store: what is read from shared memory, and the rest.
struct Store {
  std::function<void(const Clock&, bool)> read;  // marks the shared memory as read, and if it is true copies
  bool done = false;
};
// What a thread has under way. Groups are the lengths of the lists at each commit.
struct Outstanding {
  std::vector<Copy> copies;
  std::vector<size_t> copy_groups;
  std::vector<std::shared_ptr<Store>> stores;
  std::vector<size_t> store_groups;
};
static std::vector<Outstanding> outstanding;
static bool any_outstanding;

void begin_async() {
  if (any_outstanding) outstanding.clear();
  any_outstanding = false;
  begin_mbarriers();
}

static Outstanding& mine() {
  any_outstanding = true;
  const size_t self = static_cast<size_t>(current->warp->id) * warp_size + current->lane;
  if (outstanding.size() <= self) outstanding.resize(self + 1);
  return outstanding[self];
}

static void land(Copy& copy) {
  if (copy.landed) return;
  copy.landed = true;
  std::memcpy(copy.shared, copy.global, copy.valid);
  std::memset(copy.shared + copy.valid, 0, copy.bytes - copy.valid);
}

void copy_async(void* shared, const void* global, int bytes, int valid) {
  check_aligned(shared, bytes);
  if (valid > 0) check_aligned(global, bytes);
  if (valid < 0 || valid > bytes)
    fail("copy_async: " + std::to_string(valid) + " valid bytes of " + std::to_string(bytes));
  note(shared, bytes, Access::write);
  Outstanding& own = mine();
  own.copies.push_back(
      {static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global), bytes, valid, false});
  if (random_below(256) < now.eagerness) {
    land(own.copies.back());
  } else {
    std::memset(shared, 0xff, bytes);
  }
}

void copy_async_wait(int groups) {
  Outstanding& own = mine();
  const size_t committed = own.copy_groups.size();
  if (committed <= static_cast<size_t>(groups)) return;
  const size_t done = own.copy_groups[committed - 1 - groups];
  for (size_t i = 0; i < done; ++i) {
    land(own.copies[i]);
    note(own.copies[i].shared, own.copies[i].bytes, Access::write);  // whoever reads must be ordered after this wait
  }
  own.copies.erase(own.copies.begin(), own.copies.begin() + static_cast<std::ptrdiff_t>(done));
  own.copy_groups.erase(own.copy_groups.begin(), own.copy_groups.end() - groups);
  for (size_t& end : own.copy_groups) end -= done;
}

// ---- tensor maps

struct Map {  // how the emulator uses the bytes of a TensorMap
  uint32_t magic;
  uint8_t element, rank, swizzle;
  uint16_t box[5];
  uint64_t address;
  uint32_t size[5];
  uint64_t stride[5];  // bytes / 16, but the first
};
static_assert(sizeof(Map) <= sizeof(TensorMap));
static constexpr uint32_t map_magic = 0x7e4503a9;

static Map map_of(const TensorMap* map, size_t coordinates, const char* user) {
  Map out;
  std::memcpy(&out, map, sizeof(out));
  if (out.magic != map_magic) fail(std::string(user) + ": that is no encoded tensor map");
  if (out.rank != coordinates) {
    fail(std::string(user) + ": the tensor map has " + std::to_string(out.rank) + " dimensions, got " +
         std::to_string(coordinates) + " coordinates");
  }
  return out;
}

static size_t box_bytes(const Map& map) {
  size_t bytes = element_bytes(static_cast<Element>(map.element));
  for (int i = 0; i < map.rank; ++i) bytes *= map.box[i];
  return bytes;
}

// The place in shared memory of byte `offset` of a box that starts at `start`.
static unsigned char* swizzled(unsigned char* start, size_t offset, int swizzle) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(start) + offset;
  const uintptr_t lines = (1u << swizzle) - 1;  // none, 32, 64, 128 bytes: 0, 1, 3, 7
  return reinterpret_cast<unsigned char*>(address ^ ((address >> 7 & lines) << 4));
}

// body(global or null where the box is outside, shared, bytes) for every element of the box.
template <class Body>
static void for_box(const Map& map, const std::vector<int>& at, unsigned char* shared, const Body& body) {
  const int bytes = element_bytes(static_cast<Element>(map.element));
  const size_t count = box_bytes(map) / bytes;
  for (size_t i = 0; i < count; ++i) {
    size_t rest = i;
    uint64_t address = map.address;
    bool inside = true;
    for (int d = 0; d < map.rank; ++d) {
      const int64_t index = at[d] + static_cast<int64_t>(rest % map.box[d]);
      rest /= map.box[d];
      inside = inside && index >= 0 && index < map.size[d];
      address += static_cast<uint64_t>(index) * map.stride[d];
    }
    body(inside ? reinterpret_cast<unsigned char*>(address) : nullptr, swizzled(shared, i * bytes, map.swizzle), bytes);
  }
}

static float load_element(const unsigned char* p, int bytes) {
  uint32_t bits = 0;
  std::memcpy(&bits, p, bytes);
  return bits_as<float>(bytes == 2 ? bits << 16 : bits);
}
static void store_element(unsigned char* p, float x, int bytes) {
  const uint32_t bits = bytes == 2 ? from_float<bfloat16>(x).bits : bits_as<uint32_t>(x);
  std::memcpy(p, &bits, bytes);
}

// The hardware stops a kernel whose boxes begin elsewhere (an H200 did).
static void check_innermost(const Map& map, int coordinate, const std::string& name) {
  const int bytes = element_bytes(static_cast<Element>(map.element));
  if (coordinate * int64_t{bytes} % 16 == 0) return;
  fail(name + ": the innermost coordinate, " + std::to_string(coordinate) + " values of " + std::to_string(bytes) +
       " bytes, is not a multiple of 16 bytes");
}

// An operation that lands later: at once or when the scheduler says so.
static void start(std::function<void()> operation) {
  now.pending.push_back(std::move(operation));
}

void tma_load(void* shared, const TensorMap* tensor_map, Mbarrier* b, uint32_t blocks, std::initializer_list<int> at,
              Site site) {
  const char* name = blocks ? "tma_load_multicast" : "tma_load";
  const char* does = blocks ? "tma_load_multicast writes" : "tma_load writes";
  const Map map = map_of(tensor_map, at.size(), name);
  check_innermost(map, *at.begin(), name);
  check_aligned(shared, 128);
  if (blocks >> now.cluster_blocks) fail(std::string(name) + ": the mask names blocks that the cluster has not");
  if (blocks == 0) blocks = 1u << current->block->rank;
  const size_t bytes = box_bytes(map);
  struct Target {
    unsigned char* place;
    MbarrierState* state;
    uint32_t write;
  };
  std::vector<Target> targets;
  for (int rank = 0; rank < now.cluster_blocks; ++rank) {
    if (!(blocks >> rank & 1)) continue;
    auto* place = static_cast<unsigned char*>(map_shared(shared, rank));
    MbarrierState& state = mbarrier_at(static_cast<Mbarrier*>(map_shared(b, rank)), name, true, site);
    targets.push_back({place, &state, note_async_write(place, bytes, current->warp->clock, does)});
    std::memset(place, 0xff, bytes);  // from now on undefined until it lands
  }
  start([=, at = std::vector<int>(at), ordered = current->warp->clock] {
    for (const auto& [place, state, write] : targets) {
      note_async_write(place, bytes, ordered, does, write);
      for_box(map, at, place, [&](const unsigned char* global, unsigned char* to, int size) {
        if (global == nullptr) {
          std::memset(to, 0, size);
        } else if (map.element == static_cast<uint8_t>(Element::tf32)) {
          const uint32_t rounded = to_tf32(load_element(global, size));
          std::memcpy(to, &rounded, size);
        } else {
          std::memcpy(to, global, size);
        }
      });
      complete_bytes(*state, static_cast<int64_t>(bytes));
    }
  });
}

// Adds a store to the thread's open group.
static void start_store(std::function<void(const Clock&, bool)> read) {
  auto store = std::make_shared<Store>();
  store->read = std::move(read);
  store->read(current->warp->clock, false);
  mine().stores.push_back(store);
  start([store, ordered = current->warp->clock] {
    if (!store->done) store->read(ordered, true);
    store->done = true;
  });
}

// A store may reach beyond the ends of an array, where it is cut, but not begin ahead of it: an H200 stops it.
static void check_not_ahead(std::initializer_list<int> at, const std::string& name) {
  for (const int coordinate : at) {
    if (coordinate < 0) fail(name + ": a coordinate is " + std::to_string(coordinate) + ", expected none below 0");
  }
}

void tma_store(const TensorMap* tensor_map, const void* shared, bool add, std::initializer_list<int> at, Site) {
  const char* name = add ? "tma_reduce_add" : "tma_store";
  const Map map = map_of(tensor_map, at.size(), name);
  check_innermost(map, *at.begin(), name);
  check_not_ahead(at, name);
  check_aligned(shared, 128);
  auto* from = static_cast<unsigned char*>(const_cast<void*>(shared));
  start_store([=, at = std::vector<int>(at), thread = current](const Clock& ordered, bool copies) {
    note_async_read(from, box_bytes(map), *thread, ordered, add ? "tma_reduce_add reads" : "tma_store reads");
    if (!copies) return;
    for_box(map, at, from, [&](unsigned char* global, const unsigned char* element, int size) {
      if (global == nullptr) return;
      if (add) {
        store_element(global, load_element(global, size) + load_element(element, size), size);
      } else {
        std::memcpy(global, element, size);
      }
    });
  });
}

void bulk_wait(int groups) {
  Outstanding& own = mine();
  const size_t committed = own.store_groups.size();
  if (committed <= static_cast<size_t>(groups)) return;
  const size_t done = own.store_groups[committed - 1 - groups];
  for (size_t i = 0; i < done; ++i) {
    own.stores[i]->read(current->warp->clock,
                        !own.stores[i]->done);  // whoever overwrites must be ordered after this wait
    own.stores[i]->done = true;
  }
  own.stores.erase(own.stores.begin(), own.stores.begin() + static_cast<std::ptrdiff_t>(done));
  own.store_groups.erase(own.store_groups.begin(), own.store_groups.end() - groups);
  for (size_t& end : own.store_groups) end -= done;
}

void thread_ends() {
  if (now.cluster_blocks > 1 && current->block->done == now.block_threads) block_ends(*current->block);
  if (any_outstanding && !mine().stores.empty()) {
    fail("the thread ends before bulk_wait_read<0>(): its block's shared memory may be gone when the store reads it");
  }
}

static void check_bulk(const void* a, const void* b, int bytes, const char* name) {
  check_aligned(a, 16);
  check_aligned(b, 16);
  if (bytes <= 0 || bytes % 16 != 0)
    fail(std::string(name) + ": wants a multiple of 16 bytes, got " + std::to_string(bytes));
}

void* map_shared(void* p, int rank) {
  if (rank < 0 || rank >= now.cluster_blocks) {
    fail("map_shared: wants a rank below " + std::to_string(now.cluster_blocks) + ", got " + std::to_string(rank));
  }
  const size_t first = static_cast<size_t>(current->block->cluster) * now.cluster_blocks;
  return shared_arena + (first + rank) * shared_window + machine::shared_offset(p);
}

}  // namespace machine

void copy_async_commit() {
  machine::Outstanding& own = machine::mine();
  own.copy_groups.push_back(own.copies.size());
}

void copy_async_arrive(Mbarrier* b, Site site) {
  machine::Outstanding& own = machine::mine();
  MbarrierState& state = machine::mbarrier_at(b, "copy_async_arrive", false, site);
  for (machine::Copy& copy : own.copies) {
    machine::land(copy);
    machine::note(copy.shared, copy.bytes, machine::Access::write);
  }
  machine::arrive(state, 1, "copy_async_arrive");
}

void bulk_load(void* shared, const void* global, int bytes, Mbarrier* b, Site site) {
  machine::check_bulk(shared, global, bytes, "bulk_load");
  MbarrierState* state = &machine::mbarrier_at(b, "bulk_load", true, site);
  const uint32_t write = machine::note_async_write(shared, bytes, current->warp->clock, "bulk_load writes");
  std::memset(shared, 0xff, bytes);
  machine::start([=, ordered = current->warp->clock] {
    machine::note_async_write(shared, bytes, ordered, "bulk_load writes", write);
    std::memcpy(shared, global, bytes);
    machine::complete_bytes(*state, bytes);
  });
}
void bulk_store(void* global, const void* shared, int bytes) {
  machine::check_bulk(shared, global, bytes, "bulk_store");
  machine::start_store([=, thread = current](const machine::Clock& ordered, bool copies) {
    machine::note_async_read(shared, bytes, *thread, ordered, "bulk_store reads");
    if (copies) std::memcpy(global, shared, bytes);
  });
}
void bulk_commit() {
  machine::Outstanding& own = machine::mine();
  own.store_groups.push_back(own.stores.size());
}

// ---- clusters

int cluster_rank() {
  return current->block->rank;
}
int cluster_blocks() {
  return now.cluster_blocks;
}
void cluster_arrive(Site site) {
  machine::ClusterBarrier& barrier = now.cluster_barriers[current->block->cluster];
  if (current->cluster_arrived)
    fail("cluster_arrive at " + machine::describe(site) + ": twice without a cluster_wait()");
  current->cluster_arrived = true;
  machine::release(barrier.gathered);
  if (++barrier.arrived < now.cluster_blocks * now.block_threads) return;
  barrier.arrived = 0;
  ++barrier.phase;
  barrier.complete = barrier.gathered;
  for (machine::Thread* thread : barrier.waiting) machine::wake(thread);
  barrier.waiting.clear();
}
void cluster_wait(Site site) {
  machine::ClusterBarrier& barrier = now.cluster_barriers[current->block->cluster];
  if (!current->cluster_arrived) fail("cluster_wait at " + machine::describe(site) + ": without a cluster_arrive()");
  if (current->cluster_phase == barrier.phase) {
    barrier.waiting.push_back(current);
    machine::wait("cluster_wait", site);
  }
  current->cluster_arrived = false;
  ++current->cluster_phase;
  machine::acquire(*current->warp, barrier.complete);
}

Status encode_tensor_map(TensorMap& out, const TensorMapSpec& spec) {
  const auto refuse = [](const std::string& why) { return Status{1, "tensor map: " + why}; };
  machine::Map map{};
  const int bytes = element_bytes(spec.element), span = 16 << static_cast<int>(spec.swizzle);
  if (spec.rank < 1 || spec.rank > 5) return refuse("rank must be 1…5, got " + std::to_string(spec.rank));
  if (reinterpret_cast<uintptr_t>(spec.address) % 16 != 0) return refuse("the address is no multiple of 16 bytes");
  for (int i = 0; i < spec.rank; ++i) {
    const std::string dim = " of dimension " + std::to_string(i);
    if (spec.size[i] < 1 || spec.size[i] > UINT32_MAX) return refuse("size " + std::to_string(spec.size[i]) + dim);
    if (i > 0 && (spec.stride[i] < 1 || spec.stride[i] % 16 != 0 || spec.stride[i] >= int64_t{1} << 40)) {
      return refuse("stride " + std::to_string(spec.stride[i]) + dim + " is no multiple of 16 bytes");
    }
    if (spec.box[i] < 1 || spec.box[i] > 256)
      return refuse("box " + std::to_string(spec.box[i]) + dim + ", at most 256");
    map.box[i] = static_cast<uint16_t>(spec.box[i]);
    map.size[i] = static_cast<uint32_t>(spec.size[i]);
    map.stride[i] = static_cast<uint64_t>(i == 0 ? bytes : spec.stride[i]);
  }
  if (spec.box[0] * bytes % 16 != 0)
    return refuse("a box row of " + std::to_string(spec.box[0] * bytes) + " bytes is no multiple of 16");
  if (spec.swizzle != Swizzle::none && spec.box[0] * bytes > span) {
    return refuse("a box row of " + std::to_string(spec.box[0] * bytes) + " bytes is longer than the swizzle's " +
                  std::to_string(span));
  }
  map.magic = machine::map_magic;
  map.element = static_cast<uint8_t>(spec.element);
  map.rank = static_cast<uint8_t>(spec.rank);
  map.swizzle = static_cast<uint8_t>(spec.swizzle);
  map.address = reinterpret_cast<uint64_t>(spec.address);
  out = {};
  std::memcpy(&out, &map, sizeof(map));
  return {};
}

}  // namespace nonet::emulator
