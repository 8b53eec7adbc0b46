// Every primitive on random inputs: `conformance write FILE` stores what the emulator's model gives, `conformance check
// FILE [NAME]`, compiled by nvcc, compares the GPU with it, or one primitive of it. Exit status 77: no GPU.
#include <cstdlib>
#include <map>

#include "cuda/grid.cuh"
#include "cuda/warp.cuh"
#include "test.h"

namespace nonet::NONET_CUDA_NS {

std::string only;  // the primitive to run, if not all

namespace {

using test::Buffer;

using Words = std::vector<uint32_t>;

struct Result {
  Words words;
  float tolerance;  // of words that are floats; negative: equal bits
};
std::map<std::string, Result> results;
std::string failure;

// Runs the kernel on random words (floats of a normal distribution), collects what it writes to `n` words of output.
template <class Kernel>
void collect(const std::string& name, LaunchConfig config, const Kernel& kernel, int n, float tolerance = -1) {
  if (!only.empty() && name != only) return;
  if (!failure.empty()) return;  // a kernel that is stopped spoils the context
  const Buffer<float> in(test::normal<float>(1 << 16, 17));
  const Buffer<uint32_t> out(Words(static_cast<size_t>(n), 0));
  const Status status = launch(config, kernel, in.data(), out.data());
  results[name] = {out.host(), tolerance};  // waits for the kernel
  if (!status.ok()) failure += name + ": " + status.text + "\n";
#if defined(__CUDACC__)
  if (const cudaError_t code = cudaDeviceSynchronize(); code != cudaSuccess) {
    failure += name + ": " + cudaGetErrorString(code) + "\n";
  }
#endif
}

// ---- SIMT

struct Lanes {
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    const int lane = lane_index();
    const float x = in[thread_rank()];
    uint32_t* row = out + thread_rank() * 16;
    row[0] = bits_as<uint32_t>(shuffle(x, (lane * 7 + 3) % 32));
    row[1] = bits_as<uint32_t>(shuffle(x, lane + 5, 8));
    row[2] = bits_as<uint32_t>(shuffle_up(x, 3));
    row[3] = bits_as<uint32_t>(shuffle_up(x, 3, 16));
    row[4] = bits_as<uint32_t>(shuffle_down(x, 5));
    row[5] = bits_as<uint32_t>(shuffle_down(x, 5, 8));
    row[6] = bits_as<uint32_t>(shuffle_xor(x, 21));
    row[7] = bits_as<uint32_t>(shuffle_xor(x, 4, 8));
    const auto pair = shuffle_xor(static_cast<double>(x), 1);
    row[8] = bits_as<uint32_t>(static_cast<float>(pair));
    row[9] = ballot(x > 0);
    row[10] = any_of_warp(x > 2) + 2 * all_of_warp(x > -2);
    if (lane % 2) row[11] = ballot(x > 0, 0xaaaaaaaau);
    row[12] = from_float<bfloat16>(x * 1e20f).bits;
    row[13] = bits_as<uint32_t>(as_float(from_float<bfloat16>(x)));
    row[14] = multiply_high(bits_as<uint32_t>(x), 0xd2511f53u);
    row[15] = static_cast<uint32_t>(count_bits(bits_as<uint32_t>(x)));
  }
};
struct Index {
  NONET_DEVICE void operator()(const float*, uint32_t* out) const {
    const Dim3 t = thread_index(), b = block_index(), n = block_size(), g = grid_size();
    const int block = (b.z * g.y + b.y) * g.x + b.x;
    uint32_t* row = out + (block * n.x * n.y * n.z + thread_rank()) * 3;
    row[0] = static_cast<uint32_t>(t.x + 100 * t.y + 10000 * t.z);
    row[1] = static_cast<uint32_t>(b.x + 100 * b.y + 10000 * b.z);
    row[2] = static_cast<uint32_t>(lane_index() + 100 * warp_index());
  }
};
struct Atomics {
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    const auto x = static_cast<int>(in[thread_rank()] * 1000);
    atomic_add(reinterpret_cast<int*>(out), x);
    atomic_max(reinterpret_cast<int*>(out + 1), x);
    atomic_min(reinterpret_cast<int*>(out + 2), x);
    atomic_add(reinterpret_cast<uint64_t*>(out + 4), static_cast<uint64_t>(static_cast<int64_t>(x)) << 20);
    uint32_t seen = 0, old;
    while ((old = atomic_compare_exchange(out + 6, seen, seen + 3)) != seen) seen = old;
  }
};
struct FastMath {
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    const float x = in[thread_rank()], y = fabsf(x) + 0.1f;
    const float values[] = {fast_exp(x),        fast_exp2(x), fast_log(y),  fast_divide(x, y),
                            fast_reciprocal(y), rsqrtf(y),    fast_tanh(x), expf(x),
                            tanhf(x),           erff(x),      logf(y),      sqrtf(y)};
    for (int i = 0; i < 12; ++i) out[thread_rank() * 12 + i] = bits_as<uint32_t>(values[i]);
  }
};
struct CopyAsync {
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    auto* s = shared_memory<uint32_t>();
    const int i = thread_rank();
    copy_async<16>(s + 8 * i, in + 4 * i, i % 5 * 4);
    copy_async<4>(s + 8 * i + 4, in + i, i % 2 * 4);
    copy_async<8>(s + 8 * i + 6, in + 2 * i);
    s[8 * i + 5] = 1;
    copy_async_commit();
    copy_async_wait<0>();
    block_sync();
    for (int j = i; j < 8 * 128; j += 128) out[j] = s[j];
  }
};
struct Barriers {  // named barriers and a grid barrier: rotates the values of blocks and warps
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    auto* s = shared_memory<uint32_t>();
    if (warp_index() == 1) {
      s[lane_index()] = bits_as<uint32_t>(in[lane_index()]);
      barrier_arrive(3, 64);
    } else {
      barrier_sync(3, 64);
      out[64 + block_index().x * 32 + lane_index()] = s[31 - lane_index()];
    }
    grid_sync(reinterpret_cast<GridBarrier*>(out));
    if (warp_index() == 1) {
      out[64 + 128 + block_index().x * 32 + lane_index()] = out[64 + (block_index().x + 1) % 4 * 32 + lane_index()];
    }
  }
};

// ---- matrices of a warp

template <int n, bool transpose>
struct LoadMatrix {
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    auto* s = shared_memory<float>();
    for (int i = 0; i < 32; ++i) s[32 * i + lane_index()] = in[32 * i + lane_index()];
    warp_sync();
    uint32_t r[n];
    load_matrix<n, transpose>(r, s + (lane_index() * 37 % 256) * 4);
    for (int i = 0; i < n; ++i) out[lane_index() * n + i] = r[i];
  }
};
template <bool tf32>
struct Mma {
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    const int lane = lane_index();
    float d[4];
    uint32_t a[4], b[2];
    for (int i = 0; i < 4; ++i) {
      d[i] = in[lane * 4 + i];
      const float x = in[1000 + lane * 8 + 2 * i], y = in[1000 + lane * 8 + 2 * i + 1];
      a[i] = tf32 ? bits_as<uint32_t>(x) : pack_bf16(x, y);  // tf32: the low bits are not read
      if (i < 2) b[i] = tf32 ? to_tf32(y) : pack_bf16(y, x);
    }
    if constexpr (tf32) {
      mma_tf32(d, a, b);
    } else {
      mma_bf16(d, a, b);
    }
    for (int i = 0; i < 4; ++i) out[lane * 4 + i] = bits_as<uint32_t>(d[i]);
  }
};
struct RoundTf32 {
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    out[thread_rank()] = to_tf32(in[thread_rank()]);
  }
};

// ---- TMA

enum class Move { load, store, add };
template <int rank, Move move>
struct Tma {
  static constexpr bool stores = move != Move::load;
  static constexpr int box_words = 4096;
  TensorMap map;
  int bytes;  // of a box
  int piece;  // values in 16 bytes: the innermost coordinate is a multiple of them

  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    auto* s = shared_memory<uint32_t>();
    auto* b = shared_memory<Mbarrier>(box_words * 4);
    if (thread_rank() == 0) {
      mbarrier_init(b, 1);
      fence_mbarrier_init();
    }
    if (stores) {
      for (int i = thread_rank(); i < box_words; i += 128) s[i] = bits_as<uint32_t>(in[i + 9]);
      fence_proxy_async();
    }
    block_sync();
    if (thread_rank() == 0) {
      if constexpr (stores) {
        if constexpr (move == Move::add) {
          tma_reduce_add(&map, s, 3 * piece, 5);
        } else if constexpr (rank == 2) {
          tma_store(&map, s, 3 * piece, 3);
        } else {
          tma_store(&map, s, piece, 9, 1);
        }
        bulk_commit();
        bulk_wait<0>();
      } else {
        mbarrier_arrive_expect(b, bytes);
        if constexpr (rank == 2) tma_load(s, &map, b, -piece, 3);
        if constexpr (rank == 3) tma_load(s, &map, b, piece, -2, 1);
        if constexpr (rank == 4) tma_load(s, &map, b, piece, -2, 1, 2);
        mbarrier_wait(b, 0);
      }
    }
    block_sync();
    if (!stores) {
      mbarrier_wait(b, 0);
      for (int i = thread_rank(); i < bytes / 4; i += 128) out[i] = s[i];
    }
  }
};

template <int rank, Move move = Move::load>
void collect_tma(const std::string& name, Element element, Swizzle swizzle, std::vector<int> box) {
  const int item = element_bytes(element);
  const Buffer<float> array(test::normal<float>(1 << 16, 23));
  TensorMapSpec spec{.element = element, .address = array.data(), .rank = rank, .swizzle = swizzle};
  const int sizes[] = {40, 12, 5, 4};
  int64_t stride = item;
  constexpr bool stores = move != Move::load;
  Tma<rank, move> kernel{};
  kernel.bytes = item;
  kernel.piece = 16 / item;
  for (int d = 0; d < rank; ++d) {
    spec.size[d] = sizes[d];
    spec.stride[d] = stride;
    spec.box[d] = box[d];
    stride *= d == 0 ? 48 : sizes[d];
    kernel.bytes *= box[d];
  }
  const Status status = encode_tensor_map(kernel.map, spec);
  if (!status.ok()) {
    failure += name + ": " + status.text + "\n";
    return;
  }
  const LaunchConfig config{.grid = {1}, .block = {128}, .shared_bytes = Tma<rank, move>::box_words * 4 + 8};
  collect(name, config, kernel, stores ? 1 : kernel.bytes / 4);
  if (stores && results.count(name) > 0) {
    const auto values = array.host();
    Words words(values.size());
    std::memcpy(words.data(), values.data(), values.size() * 4);
    results[name] = {words, -1};
  }
}

struct ClusterCopies {  // remote arrivals, distributed shared memory
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    auto* s = shared_memory<uint32_t>();
    auto* b = shared_memory<Mbarrier>(1024);
    const int rank = cluster_rank(), blocks = cluster_blocks();
    s[thread_rank()] = bits_as<uint32_t>(in[block_index().x * 32 + thread_rank()]);
    if (thread_rank() == 0) {
      mbarrier_init(b, blocks);
      fence_mbarrier_init();
    }
    cluster_sync();
    if (thread_rank() < blocks) mbarrier_arrive_remote(b, thread_rank());
    mbarrier_wait(b, 0);
    out[block_index().x * 32 + thread_rank()] =
        map_shared(s, (rank + 1) % blocks)[thread_rank()] + static_cast<uint32_t>(rank);
    cluster_sync();
  }
};

// ---- wgmma: shared memory full of random values, read through descriptors of every kind

template <int n, bool tf32, bool transpose_a, bool transpose_b, bool registers>
struct Wgmma {
  static constexpr int max_threads = 128, words = 16384;
  Swizzle swizzle;
  NONET_DEVICE void operator()(const float* in, uint32_t* out) const {
    auto* s = shared_memory<uint32_t>();
    for (int i = thread_rank(); i < words; i += 128) {
      s[i] = tf32 ? bits_as<uint32_t>(in[i]) : pack_bf16(in[2 * i], in[2 * i + 1]);
    }
    fence_proxy_async();
    block_sync();
    const int width = swizzle == Swizzle::none      ? 16
                      : swizzle == Swizzle::bytes32 ? 32
                      : swizzle == Swizzle::bytes64 ? 64
                                                    : 128;
    // Both strides mean something and no two elements of an operand share a place.
    const uint64_t a_at = matrix_descriptor(s, 2048, 8 * width, swizzle);
    const uint64_t b_at = matrix_descriptor(s + 8192 / 4, 4096, 8 * width, swizzle);
    float d[n / 2];
    for (int i = 0; i < n / 2; ++i) d[i] = in[thread_rank() + i];
    wgmma_fence();
    if constexpr (registers) {
      uint32_t a[4];
      for (int i = 0; i < 4; ++i) a[i] = s[4 * thread_rank() + i];
      tf32 ? wgmma_tf32<n>(d, a, b_at, true) : wgmma_bf16<n, transpose_b>(d, a, b_at, true);
    } else {
      tf32 ? wgmma_tf32<n>(d, a_at, b_at, true) : wgmma_bf16<n, transpose_a, transpose_b>(d, a_at, b_at, true);
    }
    wgmma_commit();
    wgmma_wait<0>(d);
    for (int i = 0; i < n / 2; ++i) out[thread_rank() * (n / 2) + i] = bits_as<uint32_t>(d[i]);
  }
};
template <int n, bool tf32, bool transpose_a = false, bool transpose_b = false, bool registers = false>
void collect_wgmma(const std::string& form) {
  static constexpr const char* names[] = {" unswizzled", " swizzled 32", " swizzled 64", " swizzled 128"};
  for (int i = 0; i < 4; ++i) {
    collect("wgmma " + form + " " + std::to_string(n) + names[i], {.grid = {1}, .block = {128}, .shared_bytes = 65536},
            Wgmma<n, tf32, transpose_a, transpose_b, registers>{static_cast<Swizzle>(i)}, 64 * n, 1e-4f);
  }
}

void collect_simt() {
  collect("lanes", {.grid = {1}, .block = {128}}, Lanes{}, 128 * 16);
  collect("index", {.grid = {2, 3, 2}, .block = {5, 4, 3}}, Index{}, 12 * 60 * 3);
  collect("atomics", {.grid = {1}, .block = {256}}, Atomics{}, 8);
  collect("fast math", {.grid = {1}, .block = {256}}, FastMath{}, 256 * 12, 1e-3f);
  collect("copy_async", {.grid = {1}, .block = {128}, .shared_bytes = 4096}, CopyAsync{}, 1024);
  collect("barriers", {.grid = {4}, .block = {64}, .shared_bytes = 128, .cooperative = true}, Barriers{}, 64 + 256);
  if (results.count("barriers") > 0) results["barriers"].words[0] = 0;  // the grid barrier's counter
}
void collect_warp() {
  const LaunchConfig warp{.grid = {1}, .block = {32}, .shared_bytes = 4096};
  collect("load_matrix 1", warp, LoadMatrix<1, false>{}, 32);
  collect("load_matrix 2", warp, LoadMatrix<2, false>{}, 64);
  collect("load_matrix 4", warp, LoadMatrix<4, false>{}, 128);
  collect("load_matrix 4 transposed", warp, LoadMatrix<4, true>{}, 128);
  collect("mma_bf16", warp, Mma<false>{}, 128, 1e-4f);
  collect("mma_tf32", warp, Mma<true>{}, 128, 1e-4f);
  collect("to_tf32", {.grid = {1}, .block = {256}}, RoundTf32{}, 256);
}
void collect_hopper() {
  collect_tma<2>("tma_load", Element::float32, Swizzle::none, {16, 8});
  collect_tma<2>("tma_load swizzled 32", Element::float32, Swizzle::bytes32, {8, 16});
  collect_tma<2>("tma_load swizzled 64", Element::bfloat16, Swizzle::bytes64, {32, 16});
  collect_tma<2>("tma_load swizzled 128", Element::bfloat16, Swizzle::bytes128, {64, 16});
  collect_tma<2>("tma_load tf32", Element::tf32, Swizzle::bytes128, {32, 16});
  collect_tma<3>("tma_load 3d", Element::float32, Swizzle::bytes128, {32, 4, 3});
  collect_tma<4>("tma_load 4d", Element::bfloat16, Swizzle::bytes128, {64, 4, 3, 2});
  collect_tma<2, Move::store>("tma_store", Element::float32, Swizzle::bytes128, {32, 4});
  collect_tma<2, Move::add>("tma_reduce_add", Element::float32, Swizzle::bytes128, {32, 4});
  collect_tma<3, Move::store>("tma_store 3d", Element::float32, Swizzle::none, {16, 4, 2});
  collect("cluster", {.grid = {8}, .block = {32}, .shared_bytes = 1032, .cluster = {4}}, ClusterCopies{}, 256);
  collect_wgmma<8, false>("bf16");
  collect_wgmma<64, false>("bf16");
  collect_wgmma<256, false>("bf16");
  collect_wgmma<64, false, true, false>("bf16 A transposed");
  collect_wgmma<128, false, false, true>("bf16 B transposed");
  collect_wgmma<128, false, true, true>("bf16 both transposed");
  collect_wgmma<96, false, false, true, true>("bf16 A in registers, B transposed");
  collect_wgmma<64, true>("tf32");
  collect_wgmma<192, true>("tf32");
  collect_wgmma<64, true, false, false, true>("tf32 A in registers");
}

float number(uint32_t word) {
  float x;
  std::memcpy(&x, &word, 4);
  return x;
}

int check(const std::map<std::string, Result>& expected) {
  int failures = 0;
  for (const auto& [name, want] : expected) {
    const auto found = results.find(name);
    if (found == results.end()) continue;  // not on this architecture
    size_t wrong = 0, first = 0;
    double worst = 0;
    for (size_t i = 0; i < want.words.size(); ++i) {
      const uint32_t x = found->second.words[i], y = want.words[i];
      if (x == y) continue;
      const double difference = std::abs(static_cast<double>(number(x)) - number(y));
      const bool close = want.tolerance >= 0 && difference <= want.tolerance * (1 + std::abs(number(y)));
      if (close) worst = std::max(worst, difference);
      if (!close && wrong++ == 0) first = i;
    }
    std::printf("%s %s", wrong ? "DIFFERS" : "agrees", name.c_str());
    if (wrong) {
      std::printf(": %zu of %zu words, first %zu: GPU %08x (%g), model %08x (%g)", wrong, want.words.size(), first,
                  found->second.words[first], number(found->second.words[first]), want.words[first],
                  number(want.words[first]));
    }
    std::printf(want.tolerance >= 0 ? ", within %.3g\n" : "\n", worst);
    failures += wrong > 0;
  }
  std::printf("%zu primitives, %d differ\n", results.size(), failures);
  return failures == 0 ? 0 : 1;
}

void write(FILE* file) {
  for (const auto& [name, result] : results) {
    std::fprintf(file, "%s\n%g %zu\n", name.c_str(), result.tolerance, result.words.size());
    for (const uint32_t word : result.words) std::fprintf(file, "%x\n", word);
  }
}
std::map<std::string, Result> read(FILE* file) {
  std::map<std::string, Result> out;
  char line[256];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    line[std::strcspn(line, "\n")] = 0;
    Result& result = out[line];
    size_t n = 0;
    if (std::fscanf(file, "%g %zu", &result.tolerance, &n) != 2) break;
    result.words.resize(n);
    for (uint32_t& word : result.words) {
      if (std::fscanf(file, "%x", &word) != 1) break;
    }
    std::fgets(line, sizeof(line), file);
  }
  return out;
}

int run(const std::string& mode, const char* path) {
  int capability = 90;
#if defined(__CUDACC__)
  int devices = 0, major = 0, minor = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no GPU\n");
    return 77;
  }
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  capability = 10 * major + minor;
#endif
  collect_simt();
  if (capability >= 80) collect_warp();
  if (capability == 90) collect_hopper();
  std::printf("%s", failure.c_str());
  if (!failure.empty()) return 1;
  FILE* file = std::fopen(path, mode == "write" ? "w" : "r");
  if (file == nullptr) {
    std::printf("cannot open %s\n", path);
    return 1;
  }
  const int status = mode == "write" ? (write(file), 0) : check(read(file));
  std::fclose(file);
  return status;
}

}  // namespace
}  // namespace nonet::NONET_CUDA_NS

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::printf("usage: conformance write|check FILE [NAME]\n");
    return 2;
  }
  if (argc == 4) nonet::NONET_CUDA_NS::only = argv[3];
  return nonet::NONET_CUDA_NS::run(argv[1], argv[2]);
}
