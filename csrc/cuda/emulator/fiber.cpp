#include "cuda/emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <vector>

namespace nonet::emulator::machine {

#if defined(__x86_64__)
asm(R"(
.text
.globl nonet_fiber_switch
.hidden nonet_fiber_switch
.type nonet_fiber_switch, @function
nonet_fiber_switch:
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size nonet_fiber_switch, .-nonet_fiber_switch
)");
static constexpr int saved_words = 6, return_word = 6, frame_words = 8;  // an odd word count aligns the stack at entry
#elif defined(__aarch64__)
asm(R"(
.text
.globl nonet_fiber_switch
.hidden nonet_fiber_switch
.type nonet_fiber_switch, %function
nonet_fiber_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size nonet_fiber_switch, .-nonet_fiber_switch
)");
static constexpr int saved_words = 20, return_word = 11, frame_words = 20;
#else
#error "the emulator switches stacks on x86-64 and aarch64 only"
#endif
static_assert(saved_words <= frame_words);

void* fiber_start(void* top, void (*entry)()) {
  auto* frame = static_cast<uint64_t*>(top) - frame_words;
  for (int i = 0; i < frame_words; ++i) frame[i] = 0;
  frame[return_word] = reinterpret_cast<uint64_t>(entry);
  return frame;
}

static constexpr size_t stack_bytes = 256 << 10, guard_bytes = 1 << 20;  // multiples of every page size
static std::vector<char*> stacks;

void* new_stack() {
  void* low = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (low == MAP_FAILED || mprotect(low, guard_bytes, PROT_NONE) != 0) throw std::bad_alloc();
  stacks.push_back(static_cast<char*>(low));
  // Tops at one place of their pages would share one set of the cache.
  const size_t stagger = stacks.size() * 13 % 64 * 64;
  return stacks.back() + guard_bytes + stack_bytes - stagger;
}

bool in_stack_guard(const void* address) {
  for (const char* low : stacks) {
    if (address >= low && address < low + guard_bytes) return true;
  }
  return false;
}

}  // namespace nonet::emulator::machine
