#include "base/device.h"

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "base/check.h"

namespace nonet {

namespace {

constexpr const char* device_names[] = {"cpu", "cuda", "emulator"};
constexpr int devices = 3;
constexpr const char* tier_names[] = {"simt", "mma80", "sm90a"};
constexpr int tiers = 3;

// A launcher is one word of its table.
using Launcher = void (*)();

struct Registry {
  std::mutex mutex;
  const Backend* backends[devices] = {};
  int forced[devices] = {-1, -1, -1};
  std::map<std::tuple<Device, Tier, std::string>, std::vector<Launcher>> tables;
};

Registry& registry() {
  static Registry* instance = new Registry;  // never destroyed, as arrays may outlive static destructors
  return *instance;
}

int parse_tier(const std::string& wanted, Tier best, const char* who) {
  for (int i = 0; i <= static_cast<int>(best); ++i) {
    if (wanted == tier_names[i]) return i;
  }
  fail<ValueError>(who, ": expected simt, mma80 or sm90a, not above this device's ", name(best), ", got ", wanted);
}

bool waits() {
  static const bool value = [] {
    const char* text = std::getenv("NONET_CUDA_SYNC");
    return text != nullptr && *text != '\0' && std::strcmp(text, "0") != 0;
  }();
  return value;
}

}  // namespace

const char* name(Device device) {
  return device_names[static_cast<int>(device)];
}
std::ostream& operator<<(std::ostream& out, Device device) {
  return out << name(device);
}

Device device_from_name(const std::string& name) {
  for (int i = 0; i < devices; ++i) {
    if (name != device_names[i] && name != message(device_names[i], ":0")) continue;
    const auto device = static_cast<Device>(i);
    const std::string reason = why_unavailable(device);
    check<RuntimeError>(reason.empty(), "device: ", device, " is not available: ", reason);
    return device;
  }
  fail<ValueError>("device: expected cpu or cuda, got ", name);
}

std::string why_unavailable(Device device) {
  if (device == Device::cpu) return {};
  const Backend* backend = registry().backends[static_cast<int>(device)];
  if (backend != nullptr) return backend->info().available ? "" : backend->info().reason;
  if (device == Device::cuda) {
    return "nonet was built without CUDA; to build it with CUDA: pip install . -C cmake.define.NONET_CUDA=ON";
  }
  return "nonet._emulator is not imported; it is built for tests, with -DNONET_EMULATOR=ON";
}

void register_backend(Device device, const Backend& backend) {
  check<RuntimeError>(backend.layout == sizeof(Backend), "register_backend: the backend of ", device,
                      " was built from other sources; build it again");
  registry().backends[static_cast<int>(device)] = &backend;
}

const Backend& backend(Device device) {
  const Backend* backend = registry().backends[static_cast<int>(device)];
  check<RuntimeError>(backend != nullptr, "device: ", device, " is not available: ", why_unavailable(device));
  return *backend;
}

Tier tier(Device device) {
  const Tier best = backend(device).info().tier;
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  int& forced = r.forced[static_cast<int>(device)];
  if (forced < 0) {
    const char* wanted = std::getenv("NONET_CUDA_TIER");
    forced =
        wanted != nullptr && *wanted != '\0' ? parse_tier(wanted, best, "NONET_CUDA_TIER") : static_cast<int>(best);
  }
  return static_cast<Tier>(forced);
}

const char* name(Tier tier) {
  return tier_names[static_cast<int>(tier)];
}

void set_tier(Device device, const std::string& name) {
  const int value = parse_tier(name, backend(device).info().tier, "set_tier");
  const std::lock_guard lock(registry().mutex);
  registry().forced[static_cast<int>(device)] = value;
}

void synchronize(Device device) {
  if (device == Device::cpu) return;
  backend(device).synchronize();
  if (const char* problem = failure(device)) fail<RuntimeError>("synchronize: ", device, ": ", problem);
}

const char* failure(Device device) {
  return backend(device).status(waits());
}

const void* device_table(Device device, const char* name, size_t bytes) {
  const Tier best = tier(device);
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  std::vector<Launcher>& merged = r.tables[{device, best, name}];
  if (!merged.empty()) return merged.data();
  merged.resize(bytes / sizeof(Launcher));
  Tier filled[128] = {};
  check<RuntimeError>(merged.size() <= std::size(filled), "internal: the device table ", name, " is too long");
  for (const DeviceTable* table = backend(device).tables(); table != nullptr; table = table->next) {
    if (table->tier > best || std::strcmp(table->name, name) != 0) continue;
    check<RuntimeError>(table->bytes == bytes, name, ": the kernels of ", device,
                        " were built from other sources; build them again");
    const auto* launchers = static_cast<const Launcher*>(table->functions);
    for (size_t i = 0; i < merged.size(); ++i) {
      if (launchers[i] == nullptr || (merged[i] != nullptr && filled[i] > table->tier)) continue;
      merged[i] = launchers[i];
      filled[i] = table->tier;
    }
  }
  return merged.data();
}

}  // namespace nonet
