// The machine under the emulator: threads as fibres, and who waits for what.
//
// One host thread runs one launch at a time, one cluster of it at a time (all blocks of a cooperative launch). A fibre
// runs until it must wait; then a seeded random choice among those that can run goes on. A collective is computed by
// its last arriver. What the hardware does on its own (copies, matrix products) is a list of pending operations, done
// at a random moment or when nothing else can run: the latest moment that is legal.
//
// Nothing here throws while a kernel runs: fail() notes what went wrong and leaves all fibres where they are.
#pragma once

#include <array>
#include <cstdlib>
#include <functional>
#include <map>
#include <source_location>
#include <string>
#include <vector>

#include "cuda/types.h"

namespace nonet::emulator::machine {

using Site = std::source_location;
using Clock =
    std::vector<uint32_t>;  // per warp of the resident blocks, and one more for asynchronous copies: see race.h

inline constexpr int warp_size = 32, warpgroup_size = 128;
inline constexpr int multiprocessors = 4;  // of the device that is modelled; its other limits are those of sm_90
inline constexpr int max_shared_bytes = 227 << 10;
inline constexpr int max_cluster = 8;

struct Warp;
struct Block;

struct Thread {
  Dim3 index;
  int rank = 0;  // in the block
  int lane = 0;
  Block* block = nullptr;
  Warp* warp = nullptr;
  void* stack = nullptr;  // where it goes on; null before it has started
  bool done = false;
  uint16_t fences = 0;  // of the asynchronous proxy, so far
  bool cluster_arrived = false;
  uint32_t cluster_phase = 0;  // it waits for next
  const char* waits_for = nullptr;
  const void* waits_on = nullptr;
  Site site;
};

struct Collective {
  const char* name;
  uint32_t mask, arrived;
  std::array<void*, warp_size> arguments;
};

struct Warp {
  int id = 0;  // among the resident blocks: its place in clocks
  Thread* threads = nullptr;
  uint32_t lanes = 0;  // a bit for each thread it has
  std::vector<Collective> collectives;
  Clock clock;
};

struct Barrier {
  int expected = 0, arrived = 0;
  Site first;
  std::vector<Thread*> waiting;
  Clock clock;
};

struct Block {
  Dim3 index;
  int rank = 0;  // in the cluster
  int cluster = 0;
  unsigned char* shared = nullptr;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::array<Barrier, 16> barriers;
  int done = 0;
};

struct ClusterBarrier {
  int arrived = 0;
  uint32_t phase = 0;
  std::vector<Thread*> waiting;
  Clock gathered, complete;
};

// The launch that is running. Plain data of one host thread at a time.
struct Machine {
  LaunchConfig config;
  std::string kernel;
  int block_threads = 0, cluster_blocks = 1;
  void (*body)(const void*) = nullptr;
  const void* context = nullptr;

  std::vector<Block> blocks;  // resident
  std::vector<ClusterBarrier> cluster_barriers;
  std::vector<Thread*> ready, polling;
  std::vector<std::function<void()>> pending;
  int unfinished = 0;
  int idle_rounds = 0;  // rounds in which polling threads only polled

  uint64_t random_state = 1;
  uint32_t eagerness = 0;  // of pending operations, out of 256 per scheduling decision
  bool checks_races = [] {
    const char* text = std::getenv("NONET_EMULATOR_RACES");
    return text == nullptr || *text != '0';
  }();
  std::string error;
};

extern Machine now;
extern Thread* current;

// Runs body(context) in every thread. The entry of launch().
Status run(const LaunchConfig& config, const char* kernel, int max_threads, void (*body)(const void*),
           const void* context);

// Every launch draws from this seed (NONET_EMULATOR_SEED at first) and its own number.
void set_seed(uint64_t seed);
uint32_t random_below(uint32_t n);

[[noreturn]] void fail(const std::string& what);  // in the running thread
std::string describe(const Thread& thread);
std::string describe(Site site);

// The running thread stops until wake(); waits_for and waits_on are what a deadlock report says of it.
void wait(const char* waits_for, Site site, const void* waits_on = nullptr);
void wake(Thread* thread);
void poll(const char* waits_for, Site site);  // stops until others have had their turn

// Every lane of mask calls it with its argument; the last one computes. Returns when that is done.
using Compute = void (*)(void* const* arguments, uint32_t mask);
void warp_collective(const char* name, uint32_t mask, void* argument, Compute compute, Site site);

// Arrival at a barrier that `expected` threads reach; those that wait go on when the last one came.
void barrier_arrive(Barrier& barrier, int expected, const char* name, bool waits, Site site);

// ---- memory.cpp: shared memory, device memory between guard pages, faults
inline constexpr size_t shared_window = 256 << 10;  // addresses per resident block
extern unsigned char* shared_arena;
void* allocate(size_t bytes);
void deallocate(void* p);
void prepare_shared(int blocks);
// Which bytes were written behind the end of which buffer; empty if none.
std::string find_overrun();
struct FaultHandler {  // for the length of a launch
  FaultHandler();
  ~FaultHandler();
};

inline uint32_t shared_offset(const void* p) {
  return static_cast<uint32_t>((static_cast<const unsigned char*>(p) - shared_arena) % shared_window);
}

}  // namespace nonet::emulator::machine
