#include "cuda/emulator/race.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace nonet::emulator::machine {

// Who, when: in one word. The clock comes first, so that epochs compare as times.
struct Epoch {
  uint64_t bits = 0;
  static constexpr int warp_shift = 25, clock_shift = 36;
  static Epoch of(uint32_t clock, uint32_t warp, uint32_t lane, uint32_t bytes, bool atomic = false,
                  uint32_t fences = 0) {
    return {static_cast<uint64_t>(clock) << clock_shift | static_cast<uint64_t>(warp) << warp_shift | lane << 20 |
            bytes << 16 | static_cast<uint32_t>(atomic) << 15 | (fences & 0x7fff)};
  }
  uint32_t clock() const { return static_cast<uint32_t>(bits >> clock_shift); }
  uint32_t warp() const { return bits >> warp_shift & 0x7ff; }
  uint32_t lane() const { return bits >> 20 & 31; }
  uint32_t bytes() const { return bits >> 16 & 15; }
  bool atomic() const { return bits >> 15 & 1; }
  uint32_t fences() const { return bits & 0x7fff; }
  uint64_t when() const { return bits >> warp_shift; }  // clock and warp
};
struct Cell {
  Epoch write;
  std::array<Epoch, 3> reads;  // some of the last ones
};
static_assert(sizeof(Cell) == 32);

static Cell* shadow;
static uint32_t base_clock = 1, latest_clock = 1;  // where this launch's times start; the latest of any warp
// The asynchronous proxy has a time of its own, kept in the last place of every clock.
static constexpr uint32_t async_warp = 0x7ff;
static uint32_t async_clock = 1;
static uintptr_t watched_begin;
static size_t watched_bytes;  // 0 while no kernel runs
static size_t shared_limit;
// Blocks whose shared memory others read or wrote must not end before that: the last such access by each warp.
static std::map<std::pair<const Block*, uint32_t>, uint32_t> remote_accesses;

// The fast way for reads that are no news: per warp, the time (its low bits) at which it last read each word of its own
// block. Such a read is recorded already, or there are others enough.
static uint16_t* filters;
static constexpr size_t filter_words = shared_window / 4, max_warps = 64 * multiprocessors;
static constexpr size_t shadow_bytes = sizeof(Cell) / 4 * 32 * multiprocessors * shared_window;
static constexpr size_t filter_bytes = sizeof(uint16_t) * filter_words * max_warps;
static uintptr_t own_begin;
static size_t own_bytes;
static uint16_t* own_filter;
static uint64_t own_time;

void runs(const Thread& thread) {
  own_begin = reinterpret_cast<uintptr_t>(thread.block->shared);
  own_filter = filters + thread.warp->id * filter_words;
  own_time = (thread.warp->clock[thread.warp->id] & 0xffff) * 0x0001000100010001ull;
}

template <class Times, size_t bytes>
static inline bool known(const void* p) {
  static_assert(sizeof(Times) * 2 == bytes);
  const size_t offset = reinterpret_cast<uintptr_t>(p) - own_begin;
  if (offset >= own_bytes || offset % bytes != 0) return false;
  if (!now.checks_races) return true;
  Times times;
  __builtin_memcpy(&times, own_filter + offset / 4, sizeof(times));
  const auto time = static_cast<Times>(own_time);
  if (times == time) return true;
  __builtin_memcpy(own_filter + offset / 4, &time, sizeof(times));
  return false;
}

static inline bool ordered_before(Epoch e, const Clock& clock) {
  if (e.warp() == async_warp) return e.clock() <= clock.back();
  return e.clock() < base_clock || e.clock() <= clock[e.warp()];
}

static Thread& thread_of(Epoch e) {
  const size_t warps = now.blocks[0].warps.size();
  return now.blocks[e.warp() / warps].threads[e.warp() % warps * warp_size + e.lane()];
}
static std::string name_of(Epoch e) {
  return e.warp() == async_warp ? "an asynchronous copy" : describe(thread_of(e));
}

static void* zeroed(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return p;
}

void begin_clocks() {
  if (shadow == nullptr) {
    shadow = static_cast<Cell*>(zeroed(shadow_bytes));
    filters = static_cast<uint16_t*>(zeroed(filter_bytes));
  }
  // Everything that happened in earlier blocks is ordered before: no cell needs to be cleared until the clocks run out.
  if (latest_clock > 1u << 27 || async_clock > 1u << 27) {
    madvise(shadow, shadow_bytes, MADV_DONTNEED);  // reads as zero again
    madvise(filters, filter_bytes, MADV_DONTNEED);
    latest_clock = async_clock = 1;
  }
  base_clock = ++latest_clock;
  const size_t warps = now.blocks.size() * now.blocks[0].warps.size();
  for (Block& block : now.blocks) {
    for (Warp& warp : block.warps) {
      warp.clock.assign(warps + 1, base_clock - 1);
      warp.clock[warp.id] = base_clock;
      warp.clock.back() = async_clock;
    }
  }
  remote_accesses.clear();
  watched_begin = reinterpret_cast<uintptr_t>(shared_arena);
  watched_bytes = now.blocks.size() * shared_window;
  shared_limit = static_cast<size_t>(now.config.shared_bytes);
  own_bytes = shared_limit & ~size_t{15};
}

void end_clocks() {
  watched_bytes = own_bytes = 0;
}

static void join(Clock& into, const Clock& from) {
  if (into.size() < from.size()) into.resize(from.size(), 0);
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

void publish(Clock& object) {
  join(object, current->warp->clock);
}

void advance(Warp& warp) {
  latest_clock = std::max(latest_clock, ++warp.clock[warp.id]);
  runs(*current);
}

void release(Clock& object) {
  publish(object);
  advance(*current->warp);
}

void acquire(Warp& warp, const Clock& object) {
  join(warp.clock, object);
}

void release_async(Clock& object) {
  object.resize(current->warp->clock.size(), 0);
  object.back() = std::max(object.back(), async_clock);
}

static std::string place_of(size_t offset) {
  const Block& block = now.blocks[offset / shared_window];
  std::string out = "shared memory at byte " + std::to_string(offset % shared_window);
  if (now.cluster_blocks > 1) out += " of block " + std::to_string(block.rank) + " of its cluster";
  return out;
}

[[gnu::cold, gnu::noinline]] static void report_bounds(size_t offset, size_t bytes, const char* does) {
  if (offset % shared_window + bytes <= shared_limit) {
    fail(std::string(does) + " " + place_of(offset) + ", but that block has ended");
  }
  fail(std::string("out of bounds: ") + does + " " + std::to_string(bytes) + " bytes of " + place_of(offset) + ", of " +
       std::to_string(shared_limit));
}
static inline void check_bounds(size_t offset, size_t bytes, const char* does) {
  if (offset % shared_window + bytes > shared_limit || now.blocks[offset / shared_window].done == now.block_threads)
      [[unlikely]] {
    report_bounds(offset, bytes, does);
  }
}

// body(cell, bytes of its word that are touched)
template <class Body>
static inline void for_cells(size_t offset, size_t bytes, const Body& body) {
  const size_t end = offset + bytes;
  for (size_t word = offset / 4; word * 4 < end; ++word) {
    uint32_t mask = 15;
    if (word * 4 < offset) mask &= 15u << (offset - word * 4);
    if (word * 4 + 4 > end) mask &= 15u >> (word * 4 + 4 - end);
    body(shadow[word], mask);
  }
}

[[gnu::cold, gnu::noinline]] static void report(Epoch other, bool other_wrote, size_t offset, const char* does) {
  fail(std::string("race: ") + does + " " + place_of(offset) + ", which " + name_of(other) +
       (other_wrote ? " writes" : " reads") + " with nothing that orders the two");
}

static inline bool conflict(Epoch e, uint32_t mask, uint32_t warp, const Clock& clock) {
  return (e.bytes() & mask) && e.warp() != warp && !ordered_before(e, clock);
}

// Kept: this warp's last read, in the place of an earlier one or of one that is ordered before; of many unordered ones
// some.
static inline void remember_read(Cell& cell, Epoch mine, const Clock& clock) {
  for (const Epoch e : cell.reads) {
    if (e.when() == mine.when() && (e.bytes() & mine.bytes()) == mine.bytes()) return;
  }
  static uint32_t turn;
  if (++turn % 4 != 0 && cell.reads[0].clock() >= mine.clock() && cell.reads[1].clock() >= mine.clock() &&
      cell.reads[2].clock() >= mine.clock()) {
    return;
  }
  size_t place = turn / 4 % 3;
  for (size_t i = 0; i < 3; ++i) {
    const Epoch e = cell.reads[i];
    if ((e.warp() == mine.warp() && e.bytes() == mine.bytes()) || ordered_before(e, clock)) place = i;
  }
  cell.reads[place] = mine;
}

static inline void read_cell(Cell& cell, uint32_t mask, size_t offset) {
  const uint32_t warp = static_cast<uint32_t>(current->warp->id);
  const Clock& clock = current->warp->clock;
  if (conflict(cell.write, mask, warp, clock)) report(cell.write, true, offset, "reads");
  remember_read(cell, Epoch::of(clock[warp], warp, current->lane, mask), clock);
}
static void read(size_t offset, size_t bytes) {
  for_cells(offset, bytes, [&](Cell& cell, uint32_t mask) { read_cell(cell, mask, offset); });
}
// The most frequent case: a word of the block's own shared memory.
static void read_own_word(size_t offset) {
  offset += own_begin - watched_begin;
  read_cell(shadow[offset / 4], 15, offset);
}

static void write(size_t offset, size_t bytes, bool atomic) {
  const uint32_t warp = static_cast<uint32_t>(current->warp->id);
  const Clock& clock = current->warp->clock;
  for_cells(offset, bytes, [&](Cell& cell, uint32_t mask) {
    if (!(atomic && cell.write.atomic()) && conflict(cell.write, mask, warp, clock)) {
      report(cell.write, true, offset, "writes");
    }
    for (const Epoch e : cell.reads) {
      if (conflict(e, mask, warp, clock)) report(e, false, offset, "writes");
    }
    cell.write = Epoch::of(clock[warp], warp, current->lane, mask, atomic, current->fences);
    cell.reads = {};
  });
}

static void note_remote(size_t offset);

static void access(size_t offset, size_t bytes, Access kind) {
  check_bounds(offset, bytes, kind == Access::read ? "reads" : "writes");
  if (!now.checks_races) return;
  if (now.cluster_blocks > 1) note_remote(offset);
  if (kind == Access::read) {
    read(offset, bytes);
  } else {
    write(offset, bytes, kind == Access::atomic);
  }
}

void note(const void* p, size_t bytes, Access kind) {
  const size_t offset = reinterpret_cast<uintptr_t>(p) - watched_begin;
  if (offset < watched_bytes) [[unlikely]]
    access(offset, bytes, kind);
}

void note_async_read(const void* p, size_t bytes, const Thread& issuer, const Clock& ordered, const char* reader) {
  const size_t offset = reinterpret_cast<uintptr_t>(p) - watched_begin;
  check_bounds(offset, bytes, reader);
  if (!now.checks_races) return;
  const auto warp = static_cast<uint32_t>(issuer.warp->id);
  for_cells(offset, bytes, [&](Cell& cell, uint32_t mask) {
    const Epoch e = cell.write;
    if (conflict(e, mask, warp, ordered)) report(e, true, offset, reader);
    if ((e.bytes() & mask) && e.clock() >= base_clock && e.warp() != async_warp &&
        (thread_of(e).fences & 0x7fff) == e.fences()) {
      fail(std::string(reader) + " " + place_of(offset) + ", which " + name_of(e) +
           " wrote without a fence_proxy_async() after it");
    }
    remember_read(cell, Epoch::of(ordered[warp], warp, issuer.lane, mask), ordered);
  });
}

uint32_t note_async_write(const void* p, size_t bytes, const Clock& ordered, const char* writer, uint32_t own) {
  const size_t offset = reinterpret_cast<uintptr_t>(p) - watched_begin;
  check_bounds(offset, bytes, writer);
  if (!now.checks_races) return 0;
  ++async_clock;
  for_cells(offset, bytes, [&](Cell& cell, uint32_t mask) {
    const Epoch e = cell.write;
    const bool completes = e.warp() == async_warp && e.clock() == own;
    if ((e.bytes() & mask) && !completes && !ordered_before(e, ordered)) report(e, true, offset, writer);
    for (const Epoch read : cell.reads) {
      if ((read.bytes() & mask) && !ordered_before(read, ordered)) report(read, false, offset, writer);
    }
    cell.write = Epoch::of(async_clock, async_warp, 0, mask);
    cell.reads = {};
  });
  return async_clock;
}

static void note_remote(size_t offset) {
  const Block& owner = now.blocks[offset / shared_window];
  if (&owner == current->block) return;
  const auto warp = static_cast<uint32_t>(current->warp->id);
  remote_accesses[{&owner, warp}] = current->warp->clock[warp];
}

void block_ends(const Block& block) {
  for (const auto& [who, clock] : remote_accesses) {
    if (who.first != &block) continue;
    const uint32_t warp = who.second;
    const bool ordered = std::any_of(block.warps.begin(), block.warps.end(),
                                     [&, c = clock](const Warp& w) { return w.clock[warp] >= c; });
    if (!ordered) {
      fail("the block ends with nothing that orders this after the last access to its shared memory from " +
           name_of(Epoch::of(clock, warp, 0, 15)));
    }
  }
}

}  // namespace nonet::emulator::machine

// ---- what -fsanitize=thread calls

using nonet::emulator::machine::Access;
using nonet::emulator::machine::known;
using nonet::emulator::machine::note;
using nonet::emulator::machine::own_begin;
using nonet::emulator::machine::own_bytes;
using nonet::emulator::machine::read_own_word;

#define NONET_ACCESS(name, bytes, kind)                               \
  __attribute__((visibility("hidden"))) void __tsan_##name(void* p) { \
    note(p, bytes, Access::kind);                                     \
  }
#define NONET_ACCESSES(bytes)                       \
  NONET_ACCESS(write##bytes, bytes, write)          \
  NONET_ACCESS(volatile_read##bytes, bytes, read)   \
  NONET_ACCESS(volatile_write##bytes, bytes, write) \
  NONET_ACCESS(unaligned_read##bytes, bytes, read)  \
  NONET_ACCESS(unaligned_write##bytes, bytes, write)
#define NONET_HIDDEN __attribute__((visibility("hidden")))

extern "C" {
NONET_HIDDEN void __tsan_init() {}
NONET_HIDDEN void __tsan_func_entry(void*) {}
NONET_HIDDEN void __tsan_func_exit() {}
NONET_HIDDEN void __tsan_vptr_update(void**, void*) {}
NONET_HIDDEN void __tsan_vptr_read(void**) {}
NONET_ACCESSES(1)
NONET_ACCESSES(2)
NONET_ACCESSES(4)
NONET_ACCESSES(8)
NONET_ACCESSES(16)
NONET_HIDDEN void __tsan_read4(void* p) {
  const size_t offset = reinterpret_cast<uintptr_t>(p) - own_begin;
  if (offset >= own_bytes || offset % 4 != 0) return note(p, 4, Access::read);
  if (!known<uint16_t, 4>(p)) read_own_word(offset);
}
NONET_HIDDEN void __tsan_read8(void* p) {
  if (!known<uint32_t, 8>(p)) note(p, 8, Access::read);
}
NONET_HIDDEN void __tsan_read16(void* p) {
  if (!known<uint64_t, 16>(p)) note(p, 16, Access::read);
}
NONET_ACCESS(read1, 1, read)
NONET_ACCESS(read2, 2, read)
NONET_HIDDEN void __tsan_read_range(void* p, size_t bytes) {
  note(p, bytes, Access::read);
}
NONET_HIDDEN void __tsan_write_range(void* p, size_t bytes) {
  note(p, bytes, Access::write);
}

// Clang's names for what the compilers expand or call.
NONET_HIDDEN void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  note(from, bytes, Access::read);
  note(to, bytes, Access::write);
  return std::memcpy(to, from, bytes);
}
NONET_HIDDEN void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  note(from, bytes, Access::read);
  note(to, bytes, Access::write);
  return std::memmove(to, from, bytes);
}
NONET_HIDDEN void* __tsan_memset(void* to, int value, size_t bytes) {
  note(to, bytes, Access::write);
  return std::memset(to, value, bytes);
}

// Atomic operations of host code in the same files, such as reference counts.
#define NONET_ATOMIC(bits, T)                                                                          \
  NONET_HIDDEN T __tsan_atomic##bits##_load(const volatile T* p, int) {                                \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                       \
  }                                                                                                    \
  NONET_HIDDEN void __tsan_atomic##bits##_store(volatile T* p, T v, int) {                             \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                          \
  }                                                                                                    \
  NONET_HIDDEN T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) {                             \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                \
  }                                                                                                    \
  NONET_HIDDEN T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) {                            \
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                                 \
  }                                                                                                    \
  NONET_HIDDEN T __tsan_atomic##bits##_fetch_sub(volatile T* p, T v, int) {                            \
    return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);                                                 \
  }                                                                                                    \
  NONET_HIDDEN T __tsan_atomic##bits##_fetch_and(volatile T* p, T v, int) {                            \
    return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST);                                                 \
  }                                                                                                    \
  NONET_HIDDEN T __tsan_atomic##bits##_fetch_or(volatile T* p, T v, int) {                             \
    return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);                                                  \
  }                                                                                                    \
  NONET_HIDDEN T __tsan_atomic##bits##_fetch_xor(volatile T* p, T v, int) {                            \
    return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST);                                                 \
  }                                                                                                    \
  NONET_HIDDEN int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* e, T v, int, int) { \
    return __atomic_compare_exchange_n(p, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);            \
  }                                                                                                    \
  NONET_HIDDEN int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* e, T v, int, int) {   \
    return __atomic_compare_exchange_n(p, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);            \
  }
NONET_ATOMIC(8, uint8_t)
NONET_ATOMIC(16, uint16_t)
NONET_ATOMIC(32, uint32_t)
NONET_ATOMIC(64, uint64_t)
NONET_HIDDEN void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
NONET_HIDDEN void __tsan_atomic_signal_fence(int) {}
}
