#include "cuda/emulator/mbarrier.h"

#include <unordered_map>

namespace nonet::emulator {

using machine::current;
using machine::fail;
using machine::MbarrierState;
using machine::now;

namespace machine {

static std::unordered_map<const void*, MbarrierState> mbarriers;

void begin_mbarriers() {
  mbarriers.clear();
}

static std::string place(const Mbarrier* b) {
  return "the barrier at byte " + std::to_string(shared_offset(b)) + " of shared memory";
}

MbarrierState& mbarrier_at(const Mbarrier* b, const char* user, bool proxy, Site site) {
  const auto found = mbarriers.find(b);
  if (found == mbarriers.end()) {
    fail(std::string(user) + " at " + describe(site) + ": " + place(b) + " has not been initialised");
  }
  MbarrierState& state = found->second;
  if (proxy && state.initialiser != nullptr) {
    if (state.initialiser->fences == state.fences) {
      fail(std::string(user) + " at " + describe(site) + ": " + place(b) +
           " was initialised without a fence_mbarrier_init() after it");
    }
    state.initialiser = nullptr;
  }
  return state;
}

static void advance_phase(MbarrierState& state) {
  if (state.pending != 0 || state.bytes != 0) return;
  const int finished = state.phase & 1;
  ++state.phase;
  state.pending = state.arrivals;
  state.complete = state.gathered;
  std::vector<std::pair<Thread*, int>> left;
  for (const auto& waiter : state.waiting) {
    if (waiter.second == finished) {
      wake(waiter.first);
    } else {
      left.push_back(waiter);
    }
  }
  state.waiting.swap(left);
}

void complete_bytes(MbarrierState& state, int64_t bytes) {
  state.bytes -= bytes;
  release_async(state.gathered);
  advance_phase(state);
}

void arrive(MbarrierState& state, int count, const char* user) {
  if (state.pending < count) {
    fail(std::string(user) + ": more than the " + std::to_string(state.arrivals) + " arrivals that a phase wants");
  }
  release(state.gathered);
  state.pending -= count;
  advance_phase(state);
}

static void expect(MbarrierState& state, int bytes, const char* user) {
  state.bytes += bytes;
  if (bytes < 0 || state.bytes > (1 << 20) - 1) {
    fail(std::string(user) + ": " + std::to_string(state.bytes) + " bytes in one phase, of at most 1048575");
  }
}

std::string describe_wait(const Thread& thread) {
  const auto found = mbarriers.find(thread.waits_on);
  if (found == mbarriers.end()) return {};
  const MbarrierState& state = found->second;
  return " (" + place(static_cast<const Mbarrier*>(thread.waits_on)) + ": phase " + std::to_string(state.phase) + ", " +
         std::to_string(state.pending) + " of " + std::to_string(state.arrivals) + " arrivals and " +
         std::to_string(state.bytes) + " bytes missing)";
}

}  // namespace machine

void mbarrier_init(Mbarrier* b, int arrivals, Site site) {
  machine::check_aligned(b, 8);
  machine::note(b, 8, machine::Access::write);
  MbarrierState& state = machine::mbarriers[b];
  if (!state.waiting.empty()) fail("mbarrier_init at " + machine::describe(site) + ": threads wait for that barrier");
  if (arrivals < 1 || arrivals >= 1 << 20)
    fail("mbarrier_init: wants 1…1048575 arrivals, got " + std::to_string(arrivals));
  state = {};
  state.arrivals = state.pending = arrivals;
  state.initialiser = current;
  state.fences = current->fences;
}

// A fence between the proxies too: it makes the initialised barrier known to the asynchronous one. What else the thread
// has written is not part of that, which the emulator does not tell apart.
void fence_mbarrier_init() {
  ++current->fences;
}
void fence_proxy_async() {
  ++current->fences;
}

static MbarrierState& used(const Mbarrier* b, const char* user, Site site) {
  machine::note(b, 8, machine::Access::atomic);
  return machine::mbarrier_at(b, user, false, site);
}

void mbarrier_arrive(Mbarrier* b, Site site) {
  machine::arrive(used(b, "mbarrier_arrive", site), 1, "mbarrier_arrive");
}
void mbarrier_expect(Mbarrier* b, int bytes, Site site) {
  machine::expect(used(b, "mbarrier_expect", site), bytes, "mbarrier_expect");
}
void mbarrier_arrive_expect(Mbarrier* b, int bytes, Site site) {
  MbarrierState& state = used(b, "mbarrier_arrive_expect", site);
  machine::expect(state, bytes, "mbarrier_arrive_expect");
  machine::arrive(state, 1, "mbarrier_arrive_expect");
}
void mbarrier_arrive_remote(Mbarrier* b, int rank, Site site) {
  const Mbarrier* remote = map_shared(b, rank);
  machine::note(remote, 8, machine::Access::atomic);
  machine::arrive(machine::mbarrier_at(remote, "mbarrier_arrive_remote", rank != cluster_rank(), site), 1,
                  "mbarrier_arrive_remote");
}

static bool is_complete(const MbarrierState& state, int parity) {
  return static_cast<int>(state.phase & 1) != (parity & 1);
}

bool mbarrier_test(Mbarrier* b, int parity, Site site) {
  const MbarrierState& state = used(b, "mbarrier_test", site);
  if (!is_complete(state, parity)) {
    machine::poll("mbarrier_test", site);
    return false;
  }
  machine::acquire(*current->warp, state.complete);
  return true;
}
void mbarrier_wait(Mbarrier* b, int parity, Site site) {
  MbarrierState& state = used(b, "mbarrier_wait", site);
  if (!is_complete(state, parity)) {
    state.waiting.emplace_back(current, parity & 1);
    machine::wait("mbarrier_wait", site, b);
  }
  machine::acquire(*current->warp, state.complete);
}

}  // namespace nonet::emulator
