// The hardware that works beside the threads: see async.cpp and wgmma.cpp.
#pragma once

#include "cuda/emulator/machine.h"

namespace nonet::emulator::machine {

std::string describe_wait(const Thread& thread);  // what more a deadlock report says
void thread_ends();

}  // namespace nonet::emulator::machine
