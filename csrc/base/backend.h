// What a backend consists of: plain structures, since it may come from another extension module.
#pragma once

#include "base/kernel.h"

namespace nonet {

// What kernels may use: any GPU from sm_75 on, mma.sync with bfloat16 (sm_80), wgmma and TMA (sm_90a).
enum class Tier : int { simt, mma80, sm90a };

struct DeviceInfo {
  bool available;
  char reason[256];  // why not
  char name[128];
  int capability;  // 10 * major + minor
  int multiprocessors;
  int driver;  // CUDA version, 1000 * major + 10 * minor; 0: none
  int runtime;
  Tier tier;  // the best it has
};

enum class Direction : int { to_device, to_host, within };

// One tier of a family's launchers, in the list of its backend.
struct DeviceTable {
  const char* name;
  Tier tier;
  const void* functions;
  size_t bytes;
  const DeviceTable* next;
};

// Nothing here throws. A failure is noted for the calling thread, and status() tells it.
struct Backend {
  size_t layout;                // sizeof(Backend), to tell an extension built from other sources
  const DeviceInfo& (*info)();  // looks at the first call
  void* (*allocate)(int64_t bytes);
  void (*release)(void* block);
  void (*memory)(int64_t& free, int64_t& total);
  // In the order of the launches. to_host returns when the bytes are there, to_device when the source may change.
  void (*copy)(void* to, const void* from, int64_t bytes, Direction direction);
  void (*clear)(void* to, int64_t bytes);  // zeros
  void (*synchronize)();
  const char* (*status)(bool wait);  // the first failure since the last call, or null; valid until the next
  Stream (*stream)();
  const DeviceTable* (*tables)();
};

}  // namespace nonet
