// Shared memory, device memory between guard pages, and what happens at an access outside.

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <sstream>

#include "cuda/emulator/fiber.h"
#include "cuda/emulator/machine.h"

namespace nonet::emulator::machine {

unsigned char* shared_arena = nullptr;

// A buffer ends at an inaccessible page. Its start is aligned for vector loads, so that up to 15 bytes remain behind
// the end: they are NaN, and writing them is found after the launch.
struct Buffer {
  unsigned char* mapping;
  size_t mapped;
  size_t bytes;
};
static constexpr size_t alignment = 16;
// NaN as float and as bfloat16, but none that arithmetic on the NaN of fresh memory gives.
static constexpr unsigned char behind_the_end[] = {0xa5, 0xff, 0xa5, 0xff, 0xa5, 0xff, 0xa5, 0xff, 0xa5,
                                                   0xff, 0xa5, 0xff, 0xa5, 0xff, 0xa5, 0xff, 0xa5};
static std::map<const unsigned char*, Buffer> buffers;
static std::mutex buffers_lock;

static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));

static size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

static unsigned char* map_memory(size_t bytes, int protection) {
  void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return static_cast<unsigned char*>(p);
}

void* allocate(size_t bytes) {
  const size_t padded = round_up(std::max<size_t>(bytes, 1), alignment);
  const size_t inside = round_up(padded, page);
  unsigned char* mapping = map_memory(inside + 2 * page, PROT_NONE);
  if (mprotect(mapping + page, inside, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, inside + 2 * page);
    throw std::bad_alloc();
  }
  unsigned char* p = mapping + page + inside - padded;
  std::memset(mapping + page, 0xff, inside);
  std::memcpy(p + bytes, behind_the_end + bytes % 2, padded - bytes);
  const std::lock_guard lock(buffers_lock);
  buffers[p] = {mapping, inside + 2 * page, bytes};
  return p;
}

void deallocate(void* p) {
  if (p == nullptr) return;
  const std::lock_guard lock(buffers_lock);
  const auto found = buffers.find(static_cast<unsigned char*>(p));
  if (found == buffers.end()) throw std::invalid_argument("emulator_free: the pointer is not one of emulator_allocate");
  munmap(found->second.mapping, found->second.mapped);
  buffers.erase(found);
}

std::string find_overrun() {
  const std::lock_guard lock(buffers_lock);
  for (const auto& [p, buffer] : buffers) {
    const size_t slack = buffer.mapping + buffer.mapped - page - (p + buffer.bytes);
    if (std::memcmp(p + buffer.bytes, behind_the_end + buffer.bytes % 2, std::min(slack, alignment)) != 0) {
      std::memcpy(const_cast<unsigned char*>(p) + buffer.bytes, behind_the_end + buffer.bytes % 2, slack);
      return "out of bounds: writes behind the end of a buffer of " + std::to_string(buffer.bytes) + " bytes";
    }
  }
  return {};
}

void prepare_shared(int) {
  // The most that can be resident: 32 blocks on every multiprocessor.
  if (shared_arena != nullptr) return;
  const size_t bytes = 32 * multiprocessors * shared_window;
  unsigned char* p = map_memory(bytes + shared_window, PROT_READ | PROT_WRITE);
  shared_arena = reinterpret_cast<unsigned char*>(round_up(reinterpret_cast<uintptr_t>(p), shared_window));
}

// ---- faults

static std::string describe_fault(const unsigned char* address, const char* does) {
  std::ostringstream out;
  out << "out of bounds: " << does << " ";
  if (in_stack_guard(address))
    return "stack overflow: the local arrays of a thread and its calls exceed the fibre's stack";
  // The lock is not taken: the thread that holds it cannot be this one, and a launch frees nothing.
  for (const auto& [p, buffer] : buffers) {
    if (address < buffer.mapping || address >= buffer.mapping + buffer.mapped) continue;
    if (address < p) {
      out << p - address << " bytes before the start of a buffer of " << buffer.bytes << " bytes";
    } else {
      out << "at byte " << address - p << " of a buffer of " << buffer.bytes << " bytes";
    }
    return out.str();
  }
  out << "at address " << static_cast<const void*>(address) << ", which is no device memory";
  return out.str();
}

static struct sigaction previous_segv, previous_bus;
static stack_t previous_stack;
static pthread_t launcher;

static void on_fault(int signal, siginfo_t* info, void* context) {
  if (current == nullptr ||
      !pthread_equal(pthread_self(), launcher)) {  // not ours: as if this handler had never been there
    sigaction(signal, signal == SIGSEGV ? &previous_segv : &previous_bus, nullptr);
    return;
  }
  const char* does = "access";
#if defined(__x86_64__)
  does = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & 2 ? "writes" : "reads";
#else
  (void)context;
#endif
  fail(describe_fault(static_cast<const unsigned char*>(info->si_addr), does));
}

FaultHandler::FaultHandler() {
  launcher = pthread_self();
  static unsigned char* stack = map_memory(64 << 10, PROT_READ | PROT_WRITE);
  stack_t own{};
  own.ss_sp = stack;
  own.ss_size = 64 << 10;
  sigaltstack(&own, &previous_stack);
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  // The handler leaves by switching to the host's stack and never returns: the signal must not stay blocked.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, &previous_segv);
  sigaction(SIGBUS, &action, &previous_bus);
}

FaultHandler::~FaultHandler() {
  sigaction(SIGSEGV, &previous_segv, nullptr);
  sigaction(SIGBUS, &previous_bus, nullptr);
  sigaltstack(&previous_stack, nullptr);
}

}  // namespace nonet::emulator::machine
