// The emulator as a backend. A launch is over when it returns, so there is nothing to wait for.
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/table.cuh"

namespace nonet {

namespace emulator {

namespace {

const DeviceInfo& info() {
  static const DeviceInfo value = [] {
    DeviceInfo out{};
    out.available = true;
    std::snprintf(out.name, sizeof out.name, "emulator of a GPU on the CPU");
    out.capability = 90;
    out.multiprocessors = machine::multiprocessors;
    out.tier = Tier::sm90a;
    return out;
  }();
  return value;
}

// The modelled device has little memory, so that running out of it can be tested.
constexpr int64_t capacity = int64_t{4} << 30;

struct Held {
  std::mutex mutex;
  std::unordered_map<void*, int64_t> sizes;
  int64_t bytes = 0;
};
Held& held() {
  static Held* instance = new Held;  // never destroyed, as arrays may outlive static destructors
  return *instance;
}

void* allocate(int64_t bytes) {
  Held& h = held();
  const std::lock_guard lock(h.mutex);
  if (bytes > capacity - h.bytes) return nullptr;
  try {
    void* block = emulator_allocate(static_cast<size_t>(bytes));
    h.sizes[block] = bytes;
    h.bytes += bytes;
    return block;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void release(void* block) {
  Held& h = held();
  const std::lock_guard lock(h.mutex);
  h.bytes -= h.sizes[block];
  h.sizes.erase(block);
  emulator_free(block);
}

void memory(int64_t& free, int64_t& total) {
  Held& h = held();
  const std::lock_guard lock(h.mutex);
  free = capacity - h.bytes;
  total = capacity;
}

void copy(void* to, const void* from, int64_t bytes, Direction) {
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

void clear(void* to, int64_t bytes) {
  std::memset(to, 0, static_cast<size_t>(bytes));
}

void synchronize() {}

const char* status(bool) {
  return take_noted();
}

Stream stream() {
  return nullptr;
}

// What is left once leave_out() has taken a table away.
std::vector<DeviceTable>& kept() {
  static std::vector<DeviceTable> tables;
  return tables;
}

const DeviceTable* tables() {
  return kept().empty() ? first_table() : kept().data();
}

constexpr Backend backend = {sizeof(Backend), info,        allocate, release, memory, copy,
                             clear,           synchronize, status,   stream,  tables};

}  // namespace

void leave_out(const std::string& name) {
  std::vector<DeviceTable> rest;
  for (const DeviceTable* table = tables(); table != nullptr; table = table->next) {
    if (name != table->name) rest.push_back(*table);
  }
  for (size_t i = 0; i < rest.size(); ++i) rest[i].next = i + 1 < rest.size() ? &rest[i + 1] : nullptr;
  kept() = std::move(rest);
}

int64_t most_blocks() {
  return 2 * machine::multiprocessors;  // few, so that loops over the grid take several turns
}
int multiprocessors() {
  return machine::multiprocessors;
}

}  // namespace emulator

const Backend& emulator_backend() {
  return emulator::backend;
}

}  // namespace nonet
