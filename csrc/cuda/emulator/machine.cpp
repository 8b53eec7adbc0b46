#include "cuda/emulator/machine.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sstream>

#include "cuda/emulator/fiber.h"
#include "cuda/emulator/race.h"
#include "cuda/prim.cuh"

namespace nonet::emulator::machine {

Machine now;
Thread* current = nullptr;

static void* host_stack;
static std::vector<void*> free_fibers;  // each rests in the loop of fiber_main
static std::vector<void*> stack_tops;   // of all fibres
static std::mutex launching;
static uint64_t seed_value = [] {
  const char* text = std::getenv("NONET_EMULATOR_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 0;
}();
static uint64_t launches = 0;

void set_seed(uint64_t seed) {
  const std::lock_guard lock(launching);
  seed_value = seed;
  launches = 0;
}

uint32_t random_below(uint32_t n) {
  uint64_t& s =
      now.random_state;  // xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016)
  s ^= s >> 12;
  s ^= s << 25;
  s ^= s >> 27;
  return static_cast<uint32_t>(((s * 2685821657736338717ull >> 32) * n) >> 32);
}

// ---- reports

static std::string text(Dim3 d) {
  std::ostringstream out;
  out << "(" << d.x << ", " << d.y << ", " << d.z << ")";
  return out.str();
}

std::string describe(const Thread& thread) {
  return "block " + text(thread.block->index) + ", thread " + text(thread.index);
}

std::string describe(Site site) {
  const char* slash = std::strrchr(site.file_name(), '/');
  return std::string(slash ? slash + 1 : site.file_name()) + ":" + std::to_string(site.line());
}

void fail(const std::string& what) {
  if (now.error.empty()) now.error = what + " (" + describe(*current) + ")";
  void* abandoned;
  nonet_fiber_switch(&abandoned, host_stack);
  std::abort();
}

// Threads that wait for the same thing at the same place are one line.
static std::string deadlock_report() {
  std::vector<std::pair<std::string, std::vector<const Thread*>>> groups;
  for (const Block& block : now.blocks) {
    for (const Thread& thread : block.threads) {
      std::string what = "have ended";
      if (!thread.done) {
        what = std::string("wait for ") + thread.waits_for + " at " + describe(thread.site);
        what += describe_wait(thread);
      }
      auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == what; });
      if (group == groups.end()) group = groups.insert(group, {what, {}});
      group->second.push_back(&thread);
    }
  }
  std::string out = "deadlock:";
  for (const auto& [what, threads] : groups) {
    out += "\n  " + std::to_string(threads.size()) + " threads " + what + ", first " + describe(*threads.front());
  }
  return out;
}

// ---- the choice of who runs

static void leave(const std::string& error) {
  now.error = error;
  void* abandoned;
  nonet_fiber_switch(&abandoned, host_stack);
}

static void complete_pending() {
  std::swap(now.pending[random_below(static_cast<uint32_t>(now.pending.size()))], now.pending.back());
  const auto operation = std::move(now.pending.back());
  now.pending.pop_back();
  operation();
}

// The next thread to run; null when all are done. Called on the stack of a fibre.
static Thread* choose() {
  while (!now.pending.empty() && random_below(256) < now.eagerness) complete_pending();
  while (now.ready.empty()) {
    if (!now.pending.empty()) {
      complete_pending();
    } else if (!now.polling.empty()) {
      // Threads that poll see only what others write. Rounds in which nobody did anything else cannot end by
      // themselves.
      if (++now.idle_rounds > 1000) leave(deadlock_report());
      now.ready.swap(now.polling);
    } else {
      if (now.unfinished == 0) return nullptr;
      leave(deadlock_report());
    }
  }
  const size_t pick = random_below(static_cast<uint32_t>(now.ready.size()));
  Thread* thread = now.ready[pick];
  now.ready[pick] = now.ready.back();
  now.ready.pop_back();
  return thread;
}

// A fibre runs one thread after the other and keeps its stack while none of them stops: a kernel that waits for nothing
// is a loop over its threads.
static void fiber_main() {
  for (;;) {
    now.body(now.context);
    current->done = true;
    now.idle_rounds = 0;
    --now.unfinished;
    ++current->block->done;
    thread_ends();
    Thread* next = choose();
    if (next == nullptr) {
      free_fibers.emplace_back();
      nonet_fiber_switch(&free_fibers.back(), host_stack);
      continue;
    }
    current = next;
    runs(*next);
    if (next->stack != nullptr) {
      free_fibers.emplace_back();
      nonet_fiber_switch(&free_fibers.back(), next->stack);
    }
  }
}

static void* idle_fiber() {
  if (free_fibers.empty()) {
    stack_tops.push_back(new_stack());
    return fiber_start(stack_tops.back(), fiber_main);
  }
  void* stack = free_fibers.back();
  free_fibers.pop_back();
  return stack;
}

static void stop() {
  Thread* self = current;
  Thread* next = choose();
  if (next == self) return;
  current = next;
  runs(*next);
  nonet_fiber_switch(&self->stack, next->stack ? next->stack : idle_fiber());
}

void wait(const char* waits_for, Site site, const void* waits_on) {
  current->waits_for = waits_for;
  current->waits_on = waits_on;
  current->site = site;
  stop();
}

void wake(Thread* thread) {
  now.idle_rounds = 0;
  now.ready.push_back(thread);
}

void poll(const char* waits_for, Site site) {
  now.polling.push_back(current);
  wait(waits_for, site);
}

// ---- collectives

void warp_collective(const char* name, uint32_t mask, void* argument, Compute compute, Site site) {
  Warp& warp = *current->warp;
  const uint32_t self = 1u << current->lane;
  if (!(mask & self)) fail(std::string(name) + ": the mask lacks the calling lane " + std::to_string(current->lane));
  mask &= warp.lanes;
  auto found = std::find_if(warp.collectives.begin(), warp.collectives.end(),
                            [&](const Collective& c) { return c.mask == mask && !(c.arrived & self); });
  if (found == warp.collectives.end()) {
    warp.collectives.push_back({name, mask, 0, {}});
    found = warp.collectives.end() - 1;
  }
  if (found->name != name) {
    fail("lanes of a warp diverge: some call " + std::string(found->name) + ", others " + name + " at " +
         describe(site));
  }
  found->arguments[current->lane] = argument;
  found->arrived |= self;
  if (found->arrived != mask) return wait(name, site);
  const Collective whole = *found;
  warp.collectives.erase(found);
  compute(whole.arguments.data(), mask);
  for (int lane = 0; lane < warp_size; ++lane) {
    if ((mask & ~self) >> lane & 1) wake(&warp.threads[lane]);
  }
}

void barrier_arrive(Barrier& barrier, int expected, const char* name, bool waits, Site site) {
  if (barrier.arrived == 0) {
    barrier.expected = expected;
    barrier.first = site;
  } else if (barrier.expected != expected) {
    fail(std::string(name) + ": threads expect " + std::to_string(barrier.expected) + " and " +
         std::to_string(expected) + " arrivals at one barrier");
  }
  waits ? publish(barrier.clock) : release(barrier.clock);
  ++barrier.arrived;
  if (waits) barrier.waiting.push_back(current);
  if (barrier.arrived < expected) {
    if (waits) wait(name, site, &barrier);
    return;
  }
  // Every waiting warp once: those of its lanes that wait are done with what came before.
  const Warp* last = nullptr;
  for (Thread* thread : barrier.waiting) {
    if (thread != current) wake(thread);
    if (thread->warp == last) continue;
    last = thread->warp;
    acquire(*thread->warp, barrier.clock);
    advance(*thread->warp);
  }
  barrier.arrived = 0;
  barrier.waiting.clear();
}

// ---- launches

static std::string check_config(const LaunchConfig& c, int max_threads) {
  std::ostringstream out;
  const auto cluster = static_cast<int64_t>(c.cluster.x) * c.cluster.y * c.cluster.z;
  if (c.grid.x < 1 || c.grid.y < 1 || c.grid.z < 1 || c.grid.y > 65535 || c.grid.z > 65535) {
    out << "grid " << text(c.grid) << " is not within (2147483647, 65535, 65535) blocks";
  } else if (const auto threads = static_cast<int64_t>(c.block.x) * c.block.y * c.block.z;
             c.block.x < 1 || c.block.y < 1 || c.block.z < 1 || c.block.z > 64 || threads > max_threads) {
    out << "block " << text(c.block) << " is not within the " << max_threads << " threads that the kernel declares";
  } else if (c.shared_bytes < 0 || c.shared_bytes > max_shared_bytes) {
    out << c.shared_bytes << " bytes of shared memory, of at most " << max_shared_bytes;
  } else if (cluster < 1 || cluster > max_cluster || c.grid.x % c.cluster.x || c.grid.y % c.cluster.y ||
             c.grid.z % c.cluster.z) {
    out << "clusters of " << text(c.cluster) << " in a grid of " << text(c.grid) << " blocks; at most " << max_cluster
        << " blocks, a divisor of the grid";
  } else if (c.cooperative) {
    const int64_t blocks = static_cast<int64_t>(c.grid.x) * c.grid.y * c.grid.z;
    const int64_t fit = std::min<int64_t>({2048 / threads, 32, (max_shared_bytes + 1024) / (c.shared_bytes + 1024)});
    if (blocks > fit * multiprocessors) {
      out << "cooperative grid of " << blocks << " blocks; " << fit * multiprocessors << " are resident at once";
    }
  }
  return out.str();
}

// Places block `index` (linear) as the resident block `slot`.
static void place(int slot, Dim3 index, int rank, int cluster) {
  Block& block = now.blocks[slot];
  block.index = index;
  block.rank = rank;
  block.cluster = cluster;
  block.shared = shared_arena + slot * shared_window;
  block.done = 0;
  for (Barrier& barrier : block.barriers) barrier.arrived = 0, barrier.waiting.clear(), barrier.clock.clear();
  std::memset(block.shared, 0xff, now.config.shared_bytes);
  const Dim3 size = now.config.block;
  const int warps = (now.block_threads + warp_size - 1) / warp_size;
  block.threads.resize(now.block_threads);
  block.warps.resize(warps);
  for (int w = 0; w < warps; ++w) {
    Warp& warp = block.warps[w];
    warp.id = slot * warps + w;
    warp.threads = &block.threads[w * warp_size];
    const int lanes = std::min(warp_size, now.block_threads - w * warp_size);
    warp.lanes = lanes == warp_size ? ~0u : (1u << lanes) - 1;
    warp.collectives.clear();
  }
  int rank_in_block = 0;
  for (int z = 0; z < size.z; ++z) {
    for (int y = 0; y < size.y; ++y) {
      for (int x = 0; x < size.x; ++x, ++rank_in_block) {
        Thread& thread = block.threads[rank_in_block];
        thread = Thread{};
        thread.index = {x, y, z};
        thread.rank = rank_in_block;
        thread.lane = rank_in_block % warp_size;
        thread.block = &block;
        thread.warp = &block.warps[rank_in_block / warp_size];
        now.ready.push_back(&thread);
      }
    }
  }
}

// Runs the blocks that are placed to their end.
static void run_resident() {
  now.unfinished = static_cast<int>(now.ready.size());
  now.idle_rounds = 0;
  for (ClusterBarrier& barrier : now.cluster_barriers) barrier = {};
  begin_clocks();
  begin_async();
  begin_matrix();
  current = choose();
  runs(*current);
  nonet_fiber_switch(&host_stack, idle_fiber());
}

static void run_clusters() {
  const LaunchConfig& c = now.config;
  const Dim3 count = {c.grid.x / c.cluster.x, c.grid.y / c.cluster.y, c.grid.z / c.cluster.z};
  const int64_t clusters = static_cast<int64_t>(count.x) * count.y * count.z;
  const int resident = c.cooperative ? static_cast<int>(clusters) : 1;
  now.blocks.resize(static_cast<size_t>(resident) * now.cluster_blocks);
  now.cluster_barriers.assign(resident, {});
  prepare_shared(static_cast<int>(now.blocks.size()));
  // Clusters come in an order that no kernel may rely on: from a random one on, in steps of a random prime.
  static constexpr uint32_t primes[] = {1, 2147483647, 1000003, 65537, 104729, 7919};
  uint64_t step = primes[random_below(6)];
  if (clusters % static_cast<int64_t>(step) == 0) step = 1;
  uint64_t next = random_below(static_cast<uint32_t>(std::min<int64_t>(clusters, INT32_MAX)));
  for (int64_t i = 0; i < clusters && now.error.empty(); i += resident) {
    for (int r = 0; r < resident; ++r, next = (next + step) % clusters) {
      const Dim3 at = {static_cast<int>(next % count.x), static_cast<int>(next / count.x % count.y),
                       static_cast<int>(next / count.x / count.y)};
      for (int b = 0; b < now.cluster_blocks; ++b) {
        const Dim3 inner = {b % c.cluster.x, b / c.cluster.x % c.cluster.y, b / c.cluster.x / c.cluster.y};
        place(r * now.cluster_blocks + b,
              {at.x * c.cluster.x + inner.x, at.y * c.cluster.y + inner.y, at.z * c.cluster.z + inner.z}, b, r);
      }
    }
    run_resident();
  }
}

static std::string demangled(const char* name) {
  int status = 0;
  char* plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string out = status == 0 ? plain : name;
  std::free(plain);
  return out;
}

Status run(const LaunchConfig& config, const char* kernel, int max_threads, void (*body)(const void*),
           const void* context) {
  const std::lock_guard lock(launching);
  if (const std::string wrong = check_config(config, max_threads); !wrong.empty()) {
    return {9, "invalid launch of " + demangled(kernel) + ": " + wrong};  // cudaErrorInvalidConfiguration
  }
  now.config = config;
  now.block_threads = config.block.x * config.block.y * config.block.z;
  now.cluster_blocks = config.cluster.x * config.cluster.y * config.cluster.z;
  now.body = body;
  now.context = context;
  now.error.clear();
  now.ready.clear();
  now.polling.clear();
  now.pending.clear();
  now.random_state = (seed_value + 1) * 0x9e3779b97f4a7c15ull + ++launches * 0xd1342543de82ef95ull;
  if (now.random_state == 0) now.random_state = 1;
  for (int i = 0; i < 4; ++i) random_below(2);
  // A third of the launches complete what is pending as late as possible, a third soon, a third at once.
  now.eagerness = std::array{0u, 32u, 256u}[random_below(3)];
  {
    const FaultHandler handler;
    run_clusters();
  }
  end_clocks();
  current = nullptr;
  if (now.error.empty()) now.error = find_overrun();
  if (now.error.empty()) return {};
  // What the fibres were doing is given up; their stacks start anew.
  free_fibers.clear();
  for (void* top : stack_tops) free_fibers.push_back(fiber_start(top, fiber_main));
  return {719, demangled(kernel) + ": " + now.error};  // cudaErrorLaunchFailure
}

}  // namespace nonet::emulator::machine
