// Devices as Python sees them; nothing here needs CUDA.
#include "bind.h"

#include "array/allocator.h"

namespace nonet {

namespace {

// A device by name whether or not it is there.
Device known_device(const std::string& name) {
  for (const Device device : {Device::cpu, Device::cuda, Device::emulator}) {
    if (name == nonet::name(device)) return device;
  }
  fail<ValueError>("device: expected cpu, cuda or emulator, got ", name);
}

py::dict device_info(Device device) {
  const DeviceInfo& info = backend(device).info();
  int64_t free = 0;
  int64_t total = 0;
  backend(device).memory(free, total);
  py::dict out;
  out["name"] = info.name;
  out["capability"] = message(info.capability / 10, ".", info.capability % 10);
  out["multiprocessors"] = info.multiprocessors;
  out["driver"] = message(info.driver / 1000, ".", info.driver % 1000 / 10);
  out["runtime"] = message(info.runtime / 1000, ".", info.runtime % 1000 / 10);
  out["tier"] = name(tier(device));
  out["memory_free"] = free;
  out["memory_total"] = total;
  return out;
}

py::dict memory_stats(Device device) {
  const MemoryStats stats = allocator(device).stats();
  py::dict out;
  out["in_use"] = stats.in_use;
  out["cached"] = stats.cached;
  out["peak"] = stats.peak;
  return out;
}

}  // namespace

void bind_device(py::module_& m) {
  m.def(
      "register_backend",
      [](const std::string& device, const py::capsule& backend) {
        register_backend(known_device(device), *static_cast<const Backend*>(backend.get_pointer()));
      },
      py::arg("device"), py::arg("backend"));
  m.def("check_device", [](Device) {}, py::arg("device"), "An error unless the device is there.");
  m.def(
      "why_unavailable", [](const std::string& device) { return why_unavailable(known_device(device)); },
      py::arg("device"), "Why a device cannot be used here; empty if it can.");
  m.def("device_info", &device_info, py::arg("device"));
  m.def("synchronize", &synchronize, py::arg("device"), no_gil());
  m.def(
      "stream", [](Device device) { return reinterpret_cast<uintptr_t>(backend(device).stream()); }, py::arg("device"));
  m.def("tier", [](Device device) { return name(tier(device)); }, py::arg("device"));
  m.def("set_tier", &set_tier, py::arg("device"), py::arg("name"));
  m.def("memory_stats", &memory_stats, py::arg("device") = Device::cpu);
  m.def("reset_peak_memory", [](Device device) { allocator(device).reset_peak(); }, py::arg("device") = Device::cpu);
  m.def("empty_cache", [](Device device) { allocator(device).empty(); }, py::arg("device") = Device::cpu);
}

}  // namespace nonet
