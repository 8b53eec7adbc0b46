// Devices, and how one that is not the CPU joins: a Backend hands over its runtime and its tables of kernel launchers.
//
// Nothing of a backend is linked by name. `cuda` is compiled into the extension where it was built with CUDA;
// `emulator`, a model of a GPU on the CPU for tests, registers itself when nonet._emulator is imported.
#pragma once

#include <ostream>
#include <string>

#include "base/backend.h"

namespace nonet {

enum class Device : uint8_t { cpu, cuda, emulator };

const char* name(Device device);
std::ostream& operator<<(std::ostream& out, Device device);
// "cpu", "cuda" (also "cuda:0") or "emulator". Errors: ValueError for another name, RuntimeError with the reason for a
// device that this build or machine lacks.
Device device_from_name(const std::string& name);
// Why a device cannot be used here; empty if it can.
std::string why_unavailable(Device device);

// Errors: RuntimeError for a backend that was built from other sources.
void register_backend(Device device, const Backend& backend);
// Errors: RuntimeError with the reason why the device is not available.
const Backend& backend(Device device);

// The tier in use: the best of the device, or a lower one forced by NONET_CUDA_TIER or set_tier().
Tier tier(Device device);
const char* name(Tier tier);
// Errors: ValueError for a name that is unknown or above what the device has.
void set_tier(Device device, const std::string& name);

// Waits for everything under way. Errors: RuntimeError for what went wrong in it.
void synchronize(Device device);
// What failed in this thread since the last call, or null; NONET_CUDA_SYNC=1 waits for the device first.
const char* failure(Device device);

// The launchers of `name` on the device, `bytes` of function pointers: each from the best tier in use that has it,
// null where none has.
const void* device_table(Device device, const char* name, size_t bytes);
template <class Table>
const Table& device_table(Device device) {
  static_assert(sizeof(Table) % sizeof(void*) == 0, "a device table consists of function pointers");
  return *static_cast<const Table*>(device_table(device, Table::name, sizeof(Table)));
}

}  // namespace nonet
