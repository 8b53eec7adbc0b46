// How a .cu file offers its launchers to the core.
//
//   void map(Stream stream, Unary op, …) { run_elements(stream, n, Map{}, x, y, n); }
//   NONET_DEVICE_TABLE(UnaryDevice, simt, {map, gradient});
//
// enters a family's table (declared in its contract, UnaryDevice::name says under which name) into the list that the
// backend hands over. A table of a higher tier may leave launchers null that a lower one has. Launchers return nothing:
// a launch that failed is noted, and on_device() (array/launch.h) reports it with the op's name and shape.
#pragma once

#include "base/backend.h"
#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

inline const DeviceTable*& first_table() {
  static const DeviceTable* first = nullptr;
  return first;
}

template <class Table>
struct Registered : DeviceTable {
  Registered(Tier tier, const Table& functions)
      : DeviceTable{Table::name, tier, &functions, sizeof(Table), first_table()} {
    first_table() = this;
  }
};

#define NONET_DEVICE_TABLE(Table, tier, ...)                       \
  static constexpr Table Table##_##tier##_functions = __VA_ARGS__; \
  static const Registered<Table> Table##_##tier##_entry(Tier::tier, Table##_##tier##_functions)

// The first failure of this thread that nobody has asked for.
inline thread_local Status noted;
inline void note(const Status& status) {
  if (!status.ok() && noted.ok()) noted = status;
}
// Its text, or null; valid until the next call.
inline const char* take_noted() {
  if (noted.ok()) return nullptr;
  static thread_local std::string text;
  text = noted.text;
  noted = {};
  return text.c_str();
}

// Blocks that fill the device: more than that loop. Of cuda/runtime.cu, emulator/runtime.cpp, as what follows.
int64_t most_blocks();
int multiprocessors();

// Launches `blocks` blocks; nothing for none.
template <class Kernel, class... Args>
void run(Stream stream, int64_t blocks, int threads, int shared_bytes, const Kernel& kernel, const Args&... args) {
  if (blocks <= 0) return;
  LaunchConfig config;
  config.grid.x = static_cast<int>(blocks);
  config.block.x = threads;
  config.shared_bytes = shared_bytes;
  config.stream = stream;
  note(launch(config, kernel, args...));
}

// Threads for n elements of a for_grid() loop.
template <class Kernel, class... Args>
void run_elements(Stream stream, int64_t n, const Kernel& kernel, const Args&... args) {
  constexpr int threads = 256;
  const int64_t blocks = (n + threads - 1) / threads;
  run(stream, blocks < most_blocks() ? blocks : most_blocks(), threads, 0, kernel, args...);
}

}  // namespace nonet::NONET_CUDA_NS
