#include "array/storage.h"

#include <cstring>
#include <vector>

#include "array/allocator.h"
#include "base/check.h"

namespace nonet {

Storage::Storage(int64_t bytes, Device device)
    : data_(allocator(device).allocate(bytes)), bytes_(bytes), device_(device) {}

Storage::Storage(void* data, int64_t bytes, bool writable, std::function<void()> release, Device device)
    : data_(data), bytes_(bytes), device_(device), writable_(writable), release_(std::move(release)) {}

Storage::~Storage() {
  if (release_) {
    release_();
  } else {
    allocator(device_).release(data_, bytes_);
  }
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, int64_t bytes) {
  if (bytes == 0) return;
  if (to_device == Device::cpu && from_device == Device::cpu) {
    std::memcpy(to, from, bytes);
  } else if (from_device == Device::cpu) {
    backend(to_device).copy(to, from, bytes, Direction::to_device);
  } else if (to_device == Device::cpu) {
    backend(from_device).copy(to, from, bytes, Direction::to_host);
  } else if (to_device == from_device) {
    backend(to_device).copy(to, from, bytes, Direction::within);
  } else {
    std::vector<char> between(bytes);
    copy_bytes(between.data(), Device::cpu, from, from_device, bytes);
    copy_bytes(to, to_device, between.data(), Device::cpu, bytes);
  }
  for (const Device device : {to_device, from_device}) {
    if (device == Device::cpu) continue;
    if (const char* problem = failure(device)) fail<RuntimeError>("copy: ", device, ": ", problem);
  }
}

}  // namespace nonet
