// Switching between stacks: some ten instructions, where swapcontext() makes two system calls.
#pragma once

#include <cstddef>

namespace nonet::emulator::machine {

// Saves the caller's registers on its stack, stores the stack pointer to *from and continues where `to` was saved.
extern "C" void nonet_fiber_switch(void** from, void* to);

// A stack pointer that makes nonet_fiber_switch call entry(), which must never return, on the stack that ends at top.
void* fiber_start(void* top, void (*entry)());

// A stack with an inaccessible page below it; returns its upper end. Kept for the life of the process.
void* new_stack();
bool in_stack_guard(const void* address);

}  // namespace nonet::emulator::machine
