// Barriers in shared memory, as the emulator's other parts see them.
#pragma once

#include "cuda/emulator/race.h"
#include "cuda/prim.cuh"

namespace nonet::emulator::machine {

struct MbarrierState {
  int arrivals = 0;   // that a phase wants
  int pending = 0;    // of them still missing
  int64_t bytes = 0;  // still to come in this phase
  uint32_t phase = 0;
  Thread* initialiser = nullptr;
  uint16_t fences = 0;                           // that the initialiser had made by then
  Clock gathered;                                // what arrivals released in this phase
  Clock complete;                                // and up to the last complete one
  std::vector<std::pair<Thread*, int>> waiting;  // and the parity
};

// The initialised barrier at b; `proxy` asks for a fence between its initialisation and this use.
MbarrierState& mbarrier_at(const Mbarrier* b, const char* user, bool proxy, Site site);
void complete_bytes(MbarrierState& state, int64_t bytes);
void arrive(MbarrierState& state, int count, const char* user);
void begin_mbarriers();

}  // namespace nonet::emulator::machine
