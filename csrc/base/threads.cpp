#include "base/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/kernel.h"

namespace nonet {

namespace {

constexpr int max_threads = 1024;
// Kernels follow each other within microseconds, so a worker spins that long before it sleeps; longer spinning would
// starve a busy machine.
constexpr auto spin_time = std::chrono::microseconds(50);

thread_local bool inside_region = false;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until ready() or the time is up.
template <class Ready>
bool spin_until(const Ready& ready) {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() - start < spin_time);
  return ready();
}

struct Job {
  int64_t blocks = 0;
  BlockFunction function = nullptr;
  void* context = nullptr;
};

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads), places_(threads) {
    sched_getaffinity(0, sizeof allowed_, &allowed_);
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  }

  ~Pool() {
    stop_ = true;
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  int threads() const { return threads_; }

  void run(const Job& job) {
    job_ = job;
    spread();
    pending_.store(threads_ - 1, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    part(0);
    wait();
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  // Where a thread ran in the last region. One of a processor's own cache lines per thread would cost more than it
  // saves: the values are read in every region and change rarely.
  struct Place {
    std::atomic<int> cpu = -1;
    std::atomic<bool> confined = false;  // to fewer processors than the process may use
  };

  void arrive(int index) {
    std::atomic<int>& seen = places_[index].cpu;
    if (const int cpu = sched_getcpu(); cpu != seen.load(std::memory_order_relaxed) && cpu < CPU_SETSIZE)
      seen.store(cpu, std::memory_order_relaxed);
  }

  // Linux may put a thread that is woken behind the one that woke it though other processors are idle, and may take
  // milliseconds to notice; the region would last twice its time. So a worker last seen where another thread of the
  // region is gets confined to the processors that none of them uses, until it sleeps.
  void spread() {
    arrive(0);
    cpu_set_t used;
    CPU_ZERO(&used);
    for (int i = 0; i < threads_; ++i) {
      const int cpu = places_[i].cpu.load(std::memory_order_relaxed);
      if (cpu < 0) continue;
      if (CPU_ISSET(cpu, &used)) confine(i);
      CPU_SET(cpu, &used);
    }
  }

  void confine(int index) {
    cpu_set_t free;
    if (sched_getaffinity(0, sizeof free, &free) != 0) return;
    for (const Place& place : places_)
      if (const int cpu = place.cpu.load(std::memory_order_relaxed); cpu >= 0) CPU_CLR(cpu, &free);
    if (CPU_COUNT(&free) == 0) return;  // more threads than processors
    if (pthread_setaffinity_np(workers_[index - 1].native_handle(), sizeof free, &free) == 0)
      places_[index].confined.store(true, std::memory_order_relaxed);
  }

  void wait() {
    if (spin_until([&] { return pending_.load(std::memory_order_acquire) == 0; })) return;
    for (int left = pending_.load(std::memory_order_acquire); left != 0;
         left = pending_.load(std::memory_order_acquire))
      pending_.wait(left, std::memory_order_acquire);
  }

  // Kernels throw nothing, but an op may find inside a block that an array is not the CPU's.
  void part(int index) {
    inside_region = true;
    const int64_t begin = job_.blocks * index / threads_;
    const int64_t end = job_.blocks * (index + 1) / threads_;
    try {
      for (int64_t block = begin; block < end; ++block) job_.function(job_.context, block);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      error_ = std::current_exception();
    }
    inside_region = false;
  }

  void work(int index) {
    for (uint32_t seen = 0;;) {
      if (!spin_until([&] { return round_.load(std::memory_order_acquire) != seen; })) {
        if (places_[index].confined.exchange(false, std::memory_order_relaxed))
          pthread_setaffinity_np(pthread_self(), sizeof allowed_, &allowed_);
        round_.wait(seen, std::memory_order_acquire);
      }
      if (round_.load(std::memory_order_acquire) == seen) continue;
      ++seen;  // rounds come one at a time: the next starts only after every worker has counted down
      if (stop_) return;
      arrive(index);
      part(index);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
    }
  }

  const int threads_;
  std::vector<Place> places_;
  cpu_set_t allowed_;  // processors
  Job job_;
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::atomic<bool> stop_ = false;
  alignas(64) std::atomic<uint32_t> round_ = 0;
  alignas(64) std::atomic<int> pending_ = 0;
  std::vector<std::thread> workers_;
};

int default_threads() {
  if (const char* text = std::getenv("NONET_NUM_THREADS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    check(*end == '\0' && count >= 1 && count <= max_threads, "NONET_NUM_THREADS: expected an integer from 1 to ",
          max_threads, ", got ", text);
    return static_cast<int>(count);
  }
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) return std::max(1, CPU_COUNT(&cpus));
  return std::max(1u, std::thread::hardware_concurrency());
}

struct State {
  std::mutex mutex;      // held for a whole region: one outer region at a time
  Pool* pool = nullptr;  // started by the first region
  std::atomic<int> threads = default_threads();
};

State& state() {
  // Never destroyed: worker threads may outlive static destructors. A forked child has no workers, so it gets a new
  // state in place (the parent's may be locked, and its pool cannot be joined); the thread count carries over.
  static State* instance = [] {
    pthread_atfork(nullptr, nullptr, [] {
      State& old = state();
      const int threads = old.threads.load();
      new (&old) State;
      old.threads = threads;
      inside_region = false;
    });
    return new State;
  }();
  return *instance;
}

}  // namespace

void* thread_scratch(int64_t bytes) {
  struct Scratch {
    void* data = nullptr;
    int64_t bytes = 0;
    ~Scratch() { std::free(data); }
  };
  static thread_local Scratch scratch;
  if (scratch.bytes < bytes) {
    std::free(scratch.data);
    scratch.bytes = (bytes + 4095) / 4096 * 4096;
    scratch.data = std::aligned_alloc(64, scratch.bytes);
    if (scratch.data == nullptr) std::abort();  // a few hundred KB: nothing would work any more
  }
  return scratch.data;
}

int num_threads() {
  return state().threads;
}

void set_num_threads(int count) {
  check(count >= 1 && count <= max_threads, "set_num_threads: expected an integer from 1 to ", max_threads, ", got ",
        count);
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.threads == count) return;
  delete s.pool;
  s.pool = nullptr;
  s.threads = count;
}

void run_blocks(int64_t blocks, BlockFunction function, void* context) {
  State& s = state();
  if (blocks > 1 && s.threads > 1 && !inside_region) {
    if (const std::unique_lock lock(s.mutex, std::try_to_lock); lock.owns_lock()) {
      if (s.pool == nullptr && s.threads > 1) s.pool = new Pool(s.threads);
      if (s.pool != nullptr) return s.pool->run({blocks, function, context});
    }
  }
  for (int64_t block = 0; block < blocks; ++block) function(context, block);
}

void run_team(int64_t most, TeamFunction function, void* context) {
  State& s = state();
  if (most > 1 && s.threads > 1 && !inside_region) {
    if (const std::unique_lock lock(s.mutex, std::try_to_lock); lock.owns_lock()) {
      if (s.pool == nullptr && s.threads > 1) s.pool = new Pool(s.threads);
      if (s.pool != nullptr) {
        struct Team {
          TeamFunction function;
          void* context;
          int64_t size;
        } team{function, context, std::min<int64_t>(most, s.pool->threads())};
        const auto member = [](void* of, int64_t rank) {
          const Team& t = *static_cast<const Team*>(of);
          t.function(t.context, rank, t.size);
        };
        return s.pool->run({team.size, member, &team});  // no more blocks than threads: one each
      }
    }
  }
  function(context, 0, 1);
}

void wait(Barrier& barrier, int64_t size) {
  constexpr int spins = 4000;  // then others may need the processor that one of the team waits for
  const std::atomic_ref<uint32_t> arrived(barrier.arrived);
  const std::atomic_ref<uint32_t> round(barrier.round);
  const uint32_t now = round.load(std::memory_order_relaxed);
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
    arrived.store(0, std::memory_order_relaxed);
    round.store(now + 1, std::memory_order_release);
    return;
  }
  for (int i = 0; round.load(std::memory_order_acquire) == now; ++i) {
    if (i < spins) {
      pause();
    } else {
      sched_yield();
    }
  }
}

}  // namespace nonet
