// ldmatrix, mma.sync and wgmma. Products are summed in float32, exactly rounded products of the operands; the hardware
// rounds its partial sums a little differently (docs/cuda.md).
#include <algorithm>
#include <cstring>
#include <deque>
#include <limits>

#include "cuda/emulator/race.h"
#include "cuda/prim.cuh"

namespace nonet::emulator::machine {

// ---- warps

namespace {
struct LoadMatrix {
  uint32_t* r;
  int n;
  bool transpose;
  const unsigned char* row;
};
struct Mma {
  float* d;
  const uint32_t *a, *b;
};
}  // namespace

void load_matrix(uint32_t* r, int n, bool transpose, const void* row, Site site) {
  LoadMatrix own{r, n, transpose, static_cast<const unsigned char*>(row)};
  if (current->lane < 8 * n) {
    check_aligned(row, 16);
    note(row, 16, Access::read);
  }
  warp_collective(
      "load_matrix", full_warp, &own,
      [](void* const* arguments, uint32_t) {
        const auto lane_of = [&](int lane) { return static_cast<LoadMatrix*>(arguments[lane]); };
        for (int lane = 0; lane < warp_size; ++lane) {
          LoadMatrix* mine = lane_of(lane);
          for (int i = 0; i < mine->n; ++i) {
            uint16_t pair[2];
            for (int j = 0; j < 2; ++j) {
              const int row = mine->transpose ? lane % 4 * 2 + j : lane / 4;
              const int column = mine->transpose ? lane / 4 : lane % 4 * 2 + j;
              std::memcpy(&pair[j], lane_of(8 * i + row)->row + 2 * column, 2);
            }
            std::memcpy(&mine->r[i], pair, 4);
          }
        }
      },
      site);
}

static float bf16_of(uint32_t pair, int which) {
  return bits_as<float>(which ? pair & 0xffff0000u : pair << 16);
}
static float tf32_of(uint32_t bits) {
  return bits_as<float>(bits & ~0x1fffu);  // the hardware does not read the low bits
}

// The rows 0…15 of an operand A in registers (a[4] of each lane).
template <class Registers>
static void unpack_a(float (&out)[16][16], bool tf32, const Registers& registers_of) {
  for (int lane = 0; lane < warp_size; ++lane) {
    const uint32_t* a = registers_of(lane);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + i % 2 * 8;
      if (tf32) {
        out[row][t + i / 2 * 4] = tf32_of(a[i]);
      } else {
        for (int j = 0; j < 2; ++j) out[row][2 * t + j + i / 2 * 8] = bf16_of(a[i], j);
      }
    }
  }
}

template <bool tf32>
static void compute_mma(void* const* arguments, uint32_t) {
  constexpr int depth = tf32 ? 8 : 16;
  const auto lane_of = [&](int lane) { return static_cast<Mma*>(arguments[lane]); };
  float a[16][16], b[16][8];
  unpack_a(a, tf32, [&](int lane) { return lane_of(lane)->a; });
  for (int lane = 0; lane < warp_size; ++lane) {
    const uint32_t* registers = lane_of(lane)->b;
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 2; ++i) {
      if constexpr (tf32) {
        b[t + i * 4][g] = tf32_of(registers[i]);
      } else {
        for (int j = 0; j < 2; ++j) b[2 * t + j + i * 8][g] = bf16_of(registers[i], j);
      }
    }
  }
  for (int lane = 0; lane < warp_size; ++lane) {
    float* d = lane_of(lane)->d;
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < depth; ++k) d[i] += a[g + i / 2 * 8][k] * b[k][2 * t + i % 2];
    }
  }
}

void mma(float* d, const uint32_t* a, const uint32_t* b, bool tf32, Site site) {
  Mma own{d, a, b};
  warp_collective(tf32 ? "mma_tf32" : "mma_bf16", full_warp, &own, tf32 ? compute_mma<true> : compute_mma<false>, site);
}

// ---- warpgroups

namespace {
struct Product {  // one wgmma instruction
  WgmmaForm form;
  uint64_t a, b;
  bool accumulate;
  int tile;
  int arrived = 0;
  std::vector<uint32_t> registers;  // of A, 4 of each thread
  Clock ordered;
  const Block* block;
  bool done = false;
};
struct Tile {  // the accumulators of a warpgroup while products work on them: [64][n]
  int n;
  std::vector<float> values;
  size_t last;  // product, plus one
};
struct Live {
  float* d;
  int tile;
};
struct Member {  // a thread
  size_t issued = 0, waited = 0;
  std::vector<size_t> groups;
  std::vector<Live> live;
  bool fenced = false;
};
struct Group {
  std::deque<Product> products;
  std::vector<Tile> tiles;
  size_t computed = 0;
  std::array<Member, warpgroup_size> members;
  std::vector<Thread*> waiting;
};
}  // namespace

static std::map<int, Group> groups;  // by the first warp's id

void begin_matrix() {
  if (!groups.empty()) groups.clear();
}

static Group& group_of(const Thread& thread) {
  if (now.block_threads % warpgroup_size != 0) fail("wgmma: the block is not made of warpgroups of 128 threads");
  return groups[thread.warp->id - thread.rank / warp_size % 4];
}
static Member& member_of(Group& group, const Thread& thread) {
  return group.members[thread.rank % warpgroup_size];
}

// Row and column of accumulator i of a thread.
static std::pair<int, int> place_of(int member, int i) {
  const int warp = member / warp_size, lane = member % warp_size;
  return {16 * warp + lane / 4 + i / 2 % 2 * 8, i / 4 * 8 + lane % 4 * 2 + i % 2};
}

namespace {
struct Operand {
  uint64_t descriptor;
  bool transpose;  // rows run along M or N
  int rows, depth, bytes;
};
}  // namespace

// body(row, k, address) for runs of 16 bytes: along k, or along the rows if the operand is transposed.
template <class Body>
static void for_chunks(const Operand& operand, const Block& block, const Body& body) {
  const uint64_t bits = operand.descriptor;
  const int start = static_cast<int>(bits & 0x3fff) << 4;
  const int leading = static_cast<int>(bits >> 16 & 0x3fff) << 4, stride = static_cast<int>(bits >> 32 & 0x3fff) << 4;
  static constexpr int widths[] = {16, 128, 64, 32};
  const int mode = static_cast<int>(bits >> 62), width = widths[mode];
  const int lines = width / 16 - 1, per_chunk = 16 / operand.bytes;
  if (mode != 0 && start >> 7 & lines) {
    fail("wgmma: the matrix descriptor starts within a swizzle pattern, at byte " + std::to_string(start) +
         " of shared memory");
  }
  const auto at = [&](int offset) {
    const int address = start + offset;
    return block.shared + (address ^ ((address >> 7 & lines) << 4));
  };
  if (!operand.transpose) {
    for (int row = 0; row < operand.rows; ++row) {
      for (int k = 0; k < operand.depth; k += per_chunk) {
        const int along = mode == 0 ? k / per_chunk * leading : k / per_chunk * 16;
        body(row, k, at(row / 8 * stride + row % 8 * width + along));
      }
    }
    return;
  }
  const int run = width / operand.bytes;  // rows until the next line of shared memory
  for (int k = 0; k < operand.depth; ++k) {
    for (int row = 0; row < operand.rows; row += per_chunk) {
      // Without swizzle the two strides have changed places (table "Strides" of the PTX manual's wgmma chapter).
      const int next_rows = mode == 0 ? stride : leading, next_depth = mode == 0 ? leading : stride;
      body(row, k, at(row / run * next_rows + row % run * operand.bytes + k / 8 * next_depth + k % 8 * width));
    }
  }
}

static std::array<Operand, 2> operands_of(const Product& p) {
  const int depth = p.form.tf32 ? 8 : 16, bytes = p.form.tf32 ? 4 : 2;
  return {Operand{p.a, p.form.transpose_a, 64, depth, bytes}, Operand{p.b, p.form.transpose_b, p.form.n, depth, bytes}};
}

static void note_operands(const Product& p, const Thread& reader, const Clock& ordered) {
  const auto [a, b] = operands_of(p);
  const auto mark = [&](int, int, const unsigned char* address) {
    note_async_read(address, 16, reader, ordered, "wgmma reads");
  };
  if (!p.form.a_in_registers) for_chunks(a, *p.block, mark);
  for_chunks(b, *p.block, mark);
}

static void compute(Group& group, Product& p) {
  const auto [a_operand, b_operand] = operands_of(p);
  const int depth = a_operand.depth, n = p.form.n;
  float a[64][16];
  std::vector<float> b(static_cast<size_t>(depth) * n);  // [depth][n]
  const auto unpack = [&](const Operand& operand, const auto& store) {
    for_chunks(operand, *p.block, [&](int row, int k, const unsigned char* address) {
      for (int i = 0; i < 16 / operand.bytes; ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, address + i * operand.bytes, operand.bytes);
        const float x = p.form.tf32 ? tf32_of(bits) : bits_as<float>(bits << 16);
        operand.transpose ? store(row + i, k, x) : store(row, k + i, x);
      }
    });
  };
  if (p.form.a_in_registers) {
    for (int warp = 0; warp < 4; ++warp) {
      float rows[16][16];
      unpack_a(rows, p.form.tf32, [&](int lane) { return &p.registers[(warp * warp_size + lane) * 4]; });
      std::memcpy(a[16 * warp], rows, sizeof(rows));
    }
  } else {
    unpack(a_operand, [&](int row, int k, float x) { a[row][k] = x; });
  }
  unpack(b_operand, [&](int row, int k, float x) { b[k * n + row] = x; });
  float* d = group.tiles[p.tile].values.data();
  if (!p.accumulate) std::fill_n(d, 64 * n, 0.f);
  for (int row = 0; row < 64; ++row) {
    for (int k = 0; k < depth; ++k) {
      for (int column = 0; column < n; ++column) d[row * n + column] += a[row][k] * b[k * n + column];
    }
  }
  p.done = true;
}

static void compute_until(Group& group, size_t end) {
  for (; group.computed < end; ++group.computed) compute(group, group.products[group.computed]);
}

void wgmma(WgmmaForm form, float* d, uint64_t a, const uint32_t* a_registers, uint64_t b, bool accumulate, Site site) {
  Group& group = group_of(*current);
  Member& member = member_of(group, *current);
  const size_t index = member.issued++;
  const auto live = std::find_if(member.live.begin(), member.live.end(), [&](const Live& l) { return l.d == d; });
  const bool fresh = live == member.live.end();
  if (fresh && !member.fenced) {
    fail("wgmma at " + describe(site) + ": without a wgmma_fence() since its accumulators were last used");
  }
  if (index == group.products.size()) {
    int tile = fresh ? static_cast<int>(group.tiles.size()) : live->tile;
    if (fresh) group.tiles.push_back({form.n, std::vector<float>(64 * form.n), 0});
    group.products.push_back({form, a, b, accumulate, tile, 0, {}, current->warp->clock, current->block, false});
  }
  Product& product = group.products[index];
  if (product.form != form || product.a != a || product.b != b || product.accumulate != accumulate ||
      (!fresh && live->tile != product.tile)) {
    fail("wgmma at " + describe(site) + ": the threads of the warpgroup do not agree on what to multiply");
  }
  Tile& tile = group.tiles[product.tile];
  tile.last = index + 1;
  const int self = current->rank % warpgroup_size;
  if (form.a_in_registers) {
    product.registers.resize(4 * warpgroup_size);
    std::copy_n(a_registers, 4, &product.registers[4 * self]);
  }
  for (int i = 0; i < form.n / 2; ++i) {
    const auto [row, column] = place_of(self, i);
    if (fresh) tile.values[row * form.n + column] = d[i];
    d[i] = std::numeric_limits<float>::quiet_NaN();
  }
  if (fresh) member.live.push_back({d, product.tile});
  if (++product.arrived < warpgroup_size) return;
  note_operands(product, *current, current->warp->clock);
  for (Thread* thread : group.waiting) wake(thread);
  group.waiting.clear();
  now.pending.push_back([&group, index] { compute_until(group, index + 1); });
}

void wgmma_wait(int groups_left, float* const* accumulators, int count, Site site) {
  Group& group = group_of(*current);
  Member& member = member_of(group, *current);
  member.fenced = false;
  const size_t committed = member.groups.size();
  const size_t end = committed > static_cast<size_t>(groups_left) ? member.groups[committed - 1 - groups_left] : 0;
  while (end > 0 && group.products[end - 1].arrived < warpgroup_size) {
    group.waiting.push_back(current);
    wait("wgmma_wait", site);
  }
  compute_until(group, end);
  // Whoever overwrites an operand must be ordered after this wait.
  if (current->lane == 0) {
    for (size_t i = member.waited; i < end; ++i) note_operands(group.products[i], *current, current->warp->clock);
  }
  member.waited = std::max(member.waited, end);
  const int self = current->rank % warpgroup_size;
  for (int j = 0; j < count; ++j) {
    const auto live =
        std::find_if(member.live.begin(), member.live.end(), [&](const Live& l) { return l.d == accumulators[j]; });
    if (live == member.live.end() || group.tiles[live->tile].last > end) continue;
    const Tile& tile = group.tiles[live->tile];
    for (int i = 0; i < tile.n / 2; ++i) {
      const auto [row, column] = place_of(self, i);
      live->d[i] = tile.values[row * tile.n + column];
    }
    member.live.erase(live);
  }
}

}  // namespace nonet::emulator::machine

namespace nonet::emulator {

void wgmma_fence() {
  machine::member_of(machine::group_of(*machine::current), *machine::current).fenced = true;
}
void wgmma_commit() {
  machine::Member& member = machine::member_of(machine::group_of(*machine::current), *machine::current);
  member.groups.push_back(member.issued);
}

}  // namespace nonet::emulator
