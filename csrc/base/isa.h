// Instruction sets of this machine and the one in use.
#pragma once

#include <string>

#include "base/kernel.h"

namespace nonet {

Isa detected_isa();
// Whether 16-lane vectors and tiles are emulated: a build for tests (NONET_EMULATE_AVX512) on a machine without them.
bool emulated();
// Errors: ValueError for a name that is unknown or better than this machine's.
void set_isa(const std::string& name);
const char* name(Isa isa);

}  // namespace nonet
