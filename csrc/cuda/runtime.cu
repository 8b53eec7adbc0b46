// The runtime of the CUDA backend: one device, one stream.
#include <cstdio>
#include <cstring>
#include <mutex>

#include "cuda/table.cuh"

namespace nonet {

namespace cuda {

namespace {

bool ok(cudaError_t code) {
  if (code == cudaSuccess) return true;
  cudaGetLastError();  // told once
  note(detail::status(code));
  return false;
}

const char* why_none(cudaError_t code, int driver, int runtime, char (&text)[256]) {
  if (driver == 0) {
    std::snprintf(text, sizeof text, "there is no NVIDIA driver on this machine (cudaGetDeviceCount: %d, %s)", code,
                  cudaGetErrorName(code));
  } else if (code == cudaErrorInsufficientDriver) {
    std::snprintf(text, sizeof text, "the NVIDIA driver is for CUDA %d.%d, this build of nonet needs %d.%d or newer",
                  driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  } else if (code == cudaSuccess || code == cudaErrorNoDevice) {
    std::snprintf(text, sizeof text, "the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)");
  } else {
    std::snprintf(text, sizeof text, "CUDA does not start (cudaGetDeviceCount: %d, %s: %s)", code,
                  cudaGetErrorName(code), cudaGetErrorString(code));
  }
  return text;
}

DeviceInfo look() {
  DeviceInfo out{};
  cudaDriverGetVersion(&out.driver);
  cudaRuntimeGetVersion(&out.runtime);
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (code != cudaSuccess || count == 0) {
    why_none(code, out.driver, out.runtime, out.reason);
    return out;
  }
  cudaDeviceProp properties{};
  if (const cudaError_t problem = cudaGetDeviceProperties(&properties, 0); problem != cudaSuccess) {
    why_none(problem, out.driver, out.runtime, out.reason);
    return out;
  }
  std::snprintf(out.name, sizeof out.name, "%s", properties.name);
  out.capability = 10 * properties.major + properties.minor;
  out.multiprocessors = properties.multiProcessorCount;
  out.tier = out.capability == 90 ? Tier::sm90a : (out.capability >= 80 ? Tier::mma80 : Tier::simt);
  out.available = out.capability >= 75;
  if (!out.available) {
    std::snprintf(out.reason, sizeof out.reason, "%s has compute capability %d.%d, at least 7.5 is needed", out.name,
                  properties.major, properties.minor);
  }
  return out;
}

const DeviceInfo& info() {
  static const DeviceInfo value = look();
  return value;
}

cudaStream_t own_stream() {
  static const cudaStream_t value = [] {
    cudaStream_t stream = nullptr;
    ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
  }();
  return value;
}

Stream stream() {
  return own_stream();
}

// Null without noting anything: the allocator empties its cache and tries again.
void* allocate(int64_t bytes) {
  void* block = nullptr;
  const cudaError_t code = cudaMalloc(&block, static_cast<size_t>(bytes));
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  return ok(code) ? block : nullptr;
}

void release(void* block) {
  ok(cudaFree(block));
}

void memory(int64_t& free, int64_t& total) {
  size_t f = 0;
  size_t t = 0;
  ok(cudaMemGetInfo(&f, &t));
  free = static_cast<int64_t>(f);
  total = static_cast<int64_t>(t);
}

// Copies between the device and memory that is not pinned pass through two pinned buffers: while one is on its way, the
// other is filled or emptied.
class Staging {
 public:
  void to_device(char* to, const char* from, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (!start()) {
      ok(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, own_stream()));
      return;
    }
    for (int64_t at = 0; at < bytes; at += size) {
      Slot& slot = next();
      const int64_t n = bytes - at < size ? bytes - at : size;
      if (!ok(cudaEventSynchronize(slot.event))) return;
      std::memcpy(slot.data, from + at, n);
      ok(cudaMemcpyAsync(to + at, slot.data, n, cudaMemcpyHostToDevice, own_stream()));
      ok(cudaEventRecord(slot.event, own_stream()));
    }
  }

  void to_host(char* to, const char* from, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (!start()) {
      ok(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, own_stream()));
      ok(cudaStreamSynchronize(own_stream()));
      return;
    }
    Slot* before = nullptr;
    for (int64_t at = 0; at < bytes + size; at += size) {
      Slot* slot = nullptr;
      if (at < bytes) {
        slot = &next();
        ok(cudaMemcpyAsync(slot->data, from + at, bytes - at < size ? bytes - at : size, cudaMemcpyDeviceToHost,
                           own_stream()));
        ok(cudaEventRecord(slot->event, own_stream()));
      }
      if (before != nullptr) {
        if (!ok(cudaEventSynchronize(before->event))) return;
        const int64_t begin = at - size;
        std::memcpy(to + begin, before->data, bytes - begin < size ? bytes - begin : size);
      }
      before = slot;
    }
  }

 private:
  static constexpr int64_t size = int64_t{4} << 20;
  struct Slot {
    char* data = nullptr;
    cudaEvent_t event = nullptr;
  };

  bool start() {
    if (started_) return usable_;
    started_ = true;
    usable_ = true;
    for (Slot& slot : slots_) {
      void* data = nullptr;
      usable_ = usable_ && cudaMallocHost(&data, size) == cudaSuccess &&
                cudaEventCreateWithFlags(&slot.event, cudaEventDisableTiming) == cudaSuccess;
      slot.data = static_cast<char*>(data);
    }
    if (!usable_) cudaGetLastError();
    return usable_;
  }

  Slot& next() {
    turn_ ^= 1;
    return slots_[turn_];
  }

  std::mutex mutex_;
  Slot slots_[2];
  int turn_ = 0;
  bool started_ = false;
  bool usable_ = false;
};

Staging& staging() {
  static Staging* instance = new Staging;  // never destroyed: the driver may be gone before static destructors run
  return *instance;
}

void copy(void* to, const void* from, int64_t bytes, Direction direction) {
  switch (direction) {
    case Direction::to_device:
      return staging().to_device(static_cast<char*>(to), static_cast<const char*>(from), bytes);
    case Direction::to_host:
      return staging().to_host(static_cast<char*>(to), static_cast<const char*>(from), bytes);
    default:
      ok(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, own_stream()));
  }
}

void clear(void* to, int64_t bytes) {
  ok(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), own_stream()));
}

void synchronize() {
  ok(cudaStreamSynchronize(own_stream()));
}

const char* status(bool wait) {
  if (wait) synchronize();
  return take_noted();
}

const DeviceTable* tables() {
  return first_table();
}

constexpr Backend backend = {sizeof(Backend), info,        allocate, release, memory, copy,
                             clear,           synchronize, status,   stream,  tables};

}  // namespace

int64_t most_blocks() {
  return int64_t{16} * info().multiprocessors;
}
int multiprocessors() {
  return info().multiprocessors;
}

}  // namespace cuda

const Backend& cuda_backend() {
  return cuda::backend;
}

}  // namespace nonet
