// Order between accesses to shared memory: vector clocks per warp, and a shadow of every word.
//
// A release stores the releasing warp's clock in a synchronisation object, an acquire joins it into the acquiring
// warp's. Two accesses to one word by different warps, one of them a write, must be ordered by these clocks, whatever
// the order in which they happened to run. Copies and matrix products on the side are one more party, the asynchronous
// proxy: what it reads must have been written before a fence_proxy_async() of the writer.
//
// The loads and stores of kernels come here because their files are compiled with -fsanitize=thread, whose callbacks
// race.cpp defines; the sanitizer's own library is never linked. Files compiled without it are still right, only
// unwatched.
#pragma once

#include "cuda/emulator/machine.h"

namespace nonet::emulator::machine {

void begin_clocks();  // the resident blocks start anew
void end_clocks();
void runs(const Thread& thread);  // from now on
void block_ends(const Block& block);
void release(Clock& object);  // by the running thread
// The two halves of a release, for threads that stop in between: the clock of their warp advances once for all lanes.
void publish(Clock& object);
void advance(Warp& warp);
void acquire(Warp& warp, const Clock& object);

enum class Access { read, write, atomic };
// An access to shared memory by the running thread, for primitives that are not instrumented. Other memory is ignored.
void note(const void* p, size_t bytes, Access access);

// The asynchronous proxy reads on behalf of `issuer`, or overwrites; `ordered` is the issuer's clock at that time.
void note_async_read(const void* p, size_t bytes, const Thread& issuer, const Clock& ordered, const char* reader);
// It returns what names the write; `own` is the name of an earlier one that this one completes.
uint32_t note_async_write(const void* p, size_t bytes, const Clock& ordered, const char* writer, uint32_t own = 0);
void release_async(Clock& object);  // what the proxy has written so far

}  // namespace nonet::emulator::machine
