#include "cuda/emulator/race.h"
#include "cuda/prim.cuh"

namespace nonet::emulator {

using machine::current;
using machine::now;

Dim3 thread_index() {
  return current->index;
}
Dim3 block_index() {
  return current->block->index;
}
Dim3 block_size() {
  return now.config.block;
}
Dim3 grid_size() {
  return now.config.grid;
}
int thread_rank() {
  return current->rank;
}
int lane_index() {
  return current->lane;
}
int warp_index() {
  return current->rank / machine::warp_size;
}
unsigned char* shared_bytes() {
  return current->block->shared;
}
uint32_t shared_address(const void* p) {
  return machine::shared_offset(p);
}

// Unlike the hardware, which forgives it, the emulator wants all threads at the same block_sync() of the source.
void block_sync(Site site) {
  machine::Barrier& barrier = current->block->barriers[0];
  if (barrier.arrived > 0 && (barrier.first.line() != site.line() || barrier.first.file_name() != site.file_name())) {
    machine::fail("barrier divergence: some threads wait at block_sync() of " + machine::describe(barrier.first) +
                  ", others at " + machine::describe(site));
  }
  if (current->block->done > 0) {
    machine::fail("barrier divergence: block_sync() at " + machine::describe(site) +
                  " after threads of the block ended");
  }
  machine::barrier_arrive(barrier, now.block_threads, "block_sync", true, site);
}

static void named_barrier(int id, int threads, bool waits, const char* name, Site site) {
  if (id < 1 || id > 15 || threads < 32 || threads % 32 != 0 || threads > now.block_threads) {
    machine::fail(std::string(name) + ": wants an id in 1…15 and a multiple of 32 threads up to the block's, got id " +
                  std::to_string(id) + " and " + std::to_string(threads) + " threads");
  }
  machine::barrier_arrive(current->block->barriers[id], threads, name, waits, site);
}
void barrier_sync(int id, int threads, Site site) {
  named_barrier(id, threads, true, "barrier_sync", site);
}
void barrier_arrive(int id, int threads, Site site) {
  named_barrier(id, threads, false, "barrier_arrive", site);
}

void warp_sync(uint32_t mask, Site site) {
  machine::warp_collective("warp_sync", mask, nullptr, [](void* const*, uint32_t) {}, site);
}

namespace {
struct Vote {
  bool predicate;
  uint32_t result;
};
}  // namespace

static uint32_t vote(const char* name, bool predicate, uint32_t mask, Site site) {
  Vote own{predicate, 0};
  machine::warp_collective(
      name, mask, &own,
      [](void* const* arguments, uint32_t lanes) {
        uint32_t result = 0;
        for (int lane = 0; lane < 32; ++lane) {
          if (lanes >> lane & 1) result |= uint32_t{static_cast<Vote*>(arguments[lane])->predicate} << lane;
        }
        for (int lane = 0; lane < 32; ++lane) {
          if (lanes >> lane & 1) static_cast<Vote*>(arguments[lane])->result = result;
        }
      },
      site);
  return own.result;
}
uint32_t ballot(bool predicate, uint32_t mask, Site site) {
  return vote("ballot", predicate, mask, site);
}
bool all_of_warp(bool predicate, uint32_t mask, Site site) {
  return vote("ballot", !predicate, mask, site) == 0;
}

namespace machine {

namespace {
struct Shuffled {
  uint64_t given, got;
  int source;  // a lane, or -1: its own value
};
}  // namespace

uint64_t shuffle(uint64_t bits, int operand, int width, Shuffle kind, uint32_t mask, Site site) {
  const int lane = current->lane, first = lane & ~(width - 1), last = first + width - 1;
  int source = lane;
  switch (kind) {
    case Shuffle::index:
      source = first + (operand & (width - 1));
      break;
    case Shuffle::up:
      source = lane - operand;
      if (source < first) source = -1;
      break;
    case Shuffle::down:
      source = lane + operand;
      if (source > last) source = -1;
      break;
    case Shuffle::exclusive_or:
      source = lane ^ operand;
      if (source > last) source = -1;
      break;
  }
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    fail("shuffle: width must be a power of two up to 32, got " + std::to_string(width));
  }
  Shuffled own{bits, bits, source};
  static constexpr const char* names[] = {"shuffle", "shuffle_up", "shuffle_down", "shuffle_xor"};
  warp_collective(
      names[static_cast<int>(kind)], mask, &own,
      [](void* const* arguments, uint32_t lanes) {
        for (int i = 0; i < 32; ++i) {
          if (!(lanes >> i & 1)) continue;
          auto* mine = static_cast<Shuffled*>(arguments[i]);
          if (mine->source < 0) continue;
          if (!(lanes >> mine->source & 1)) {
            fail("shuffle: lane " + std::to_string(i) + " reads lane " + std::to_string(mine->source) +
                 ", which does not take part");
          }
          mine->got = static_cast<Shuffled*>(arguments[mine->source])->given;
        }
      },
      site);
  return own.got;
}

void check_aligned(const void* p, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) {
    fail("misaligned: an access of " + std::to_string(bytes) + " bytes at an address that is no multiple of them");
  }
}

void atomic_access(const void* p, size_t bytes) {
  check_aligned(p, bytes);
  note(p, bytes, Access::atomic);
}

}  // namespace machine

uint32_t load_acquire(const uint32_t* p, Site site) {
  machine::poll("load_acquire", site);
  machine::atomic_access(p, 4);
  return *p;
}
void store_release(uint32_t* p, uint32_t value) {
  machine::atomic_access(p, 4);
  *p = value;
}

void emulator_check_races(bool on) {
  now.checks_races = on;
}

}  // namespace nonet::emulator
