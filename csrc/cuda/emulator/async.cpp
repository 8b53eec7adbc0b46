#include "cuda/emulator/async.h"

namespace nonet::emulator::machine {
std::string describe_wait(const Thread&) {
  return {};
}
void thread_ends() {}
}  // namespace nonet::emulator::machine
