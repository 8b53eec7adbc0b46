// Rows of up to 16384 elements, held in registers by groups of threads: one read and one write of memory.
//
//   template <class T, int items>                         // elements of a thread
//   struct Kernel {
//     static constexpr int max_threads = row_threads;
//     NONET_DEVICE void operator()(const T* x, T* y, RowShape shape) const {
//       const RowSlots<T, items> slots(shape);
//       float v[items];
//       slots.load(v, x, 0.f);
//       const float sum = group_reduce(…, shape.width, shared_memory<float>());
//       slots.store(y, v);
//     }
//   };
//   run_rows<T, 32>(stream, rows, n, aligned, [&](auto items, const RowLaunch& go) {
//     go(Kernel<T, decltype(items)::value>{}, x, y);
//   });
#pragma once

#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"

namespace nonet::NONET_CUDA_NS {

constexpr int row_threads = 512;

struct RowShape {
  int64_t rows;
  int n;
  int width;    // threads of a group: a power of two up to 32, or the whole block
  bool packed;  // rows are whole packs, all aligned
};

// Which elements of which row belong to a thread: packs of T, or single ones side by side with those of its neighbours.
template <class T, int items>
struct RowSlots {
  static constexpr int pack = items < pack_size<T>() ? items : pack_size<T>();
  RowShape shape;
  int64_t row;
  int lane;

  NONET_DEVICE explicit RowSlots(const RowShape& shape)
      : shape(shape),
        row((int64_t{block_index().x} * block_size().x + thread_rank()) / shape.width),
        lane(thread_rank() % shape.width) {}

  NONET_DEVICE bool inside() const { return row < shape.rows; }
  NONET_DEVICE bool first() const { return inside() && lane == 0; }
  // The place in the row of the k-th element of this thread; n or more where the row has none.
  NONET_DEVICE int index(int k) const {
    return shape.packed ? (k / pack * shape.width + lane) * pack + k % pack : k * shape.width + lane;
  }

  // v = the row of x, `fill` behind its end. Arrays of other types than T go along.
  template <class X>
  NONET_DEVICE void load(float (&v)[items], const X* x, float fill) const {
    load_shared(v, inside() ? x + row * shape.n : nullptr, fill);
  }
  // v = the same for an array [n] that all rows share; null gives `fill`.
  template <class X>
  NONET_DEVICE void load_shared(float (&v)[items], const X* x, float fill) const {
    if (x == nullptr) {
      NONET_UNROLL
      for (int k = 0; k < items; ++k) v[k] = fill;
    } else if (shape.packed) {
      constexpr int part = parts<X>();
      NONET_UNROLL
      for (int k = 0; k < items; k += part) {
        Pack<X, part> in;
        const bool there = index(k) < shape.n;
        if (there) in = load_pack<part>(x + index(k));
        NONET_UNROLL
        for (int i = 0; i < part; ++i) v[k + i] = there ? as_float(in[i]) : fill;
      }
    } else {
      NONET_UNROLL
      for (int k = 0; k < items; ++k) v[k] = index(k) < shape.n ? as_float(x[index(k)]) : fill;
    }
  }

  template <class Y>
  NONET_DEVICE void store(Y* y, const float (&v)[items]) const {
    if (!inside()) return;
    Y* to = y + row * shape.n;
    if (shape.packed) {
      constexpr int part = parts<Y>();
      NONET_UNROLL
      for (int k = 0; k < items; k += part) {
        Pack<Y, part> out;
        NONET_UNROLL
        for (int i = 0; i < part; ++i) out[i] = from_float<Y>(v[k + i]);
        if (index(k) < shape.n) store_pack(to + index(k), out);
      }
    } else {
      NONET_UNROLL
      for (int k = 0; k < items; ++k) {
        if (index(k) < shape.n) to[index(k)] = from_float<Y>(v[k]);
      }
    }
  }

 private:
  template <class X>
  static constexpr int parts() {  // of a pack: what one instruction moves
    return pack_size<X>() < pack ? pack_size<X>() : pack;
  }
};

struct RowLaunch {
  Stream stream;
  RowShape shape;
  int threads;
  int64_t blocks;
  int shared_bytes = row_threads / 32 * 16;  // 16 for every warp

  // The kernel with args and then the shape.
  template <class Kernel, class... Args>
  void operator()(const Kernel& kernel, const Args&... args) const {
    run(stream, blocks, threads, shared_bytes, kernel, args..., shape);
  }
};

// body(Count<items>, launch) for rows of n up to 4096, 8192, 16384 where `most`, the elements of a thread, is 8,
// 16, 32.
template <class T, int most, class Body>
void run_rows(Stream stream, int64_t rows, int64_t n, bool aligned, const Body& body) {
  const auto with = [&](auto items, int width) {
    int threads = width < 32 ? 32 : width;
    while (width <= 32 && threads < 256 && threads < rows * width) threads *= 2;
    const int64_t groups = threads / width;
    const RowShape shape{rows, static_cast<int>(n), width,
                         aligned && n % RowSlots<T, decltype(items)::value>::pack == 0};
    body(items, RowLaunch{stream, shape, threads, (rows + groups - 1) / groups});
  };
  if (n <= 128) {
    int width = 1;
    while (4 * width < n) width *= 2;
    return with(Count<4>{}, width);
  }
  if (n <= 256) return with(Count<8>{}, 32);
  if constexpr (most == 8) {
    if (n <= 512) return with(Count<8>{}, 64);
  } else {
    if (n <= 512) return with(Count<16>{}, 32);
  }
  if (n <= 1024) return with(Count<8>{}, 128);
  if (n <= 2048) return with(Count<8>{}, 256);
  if constexpr (most == 8) {
    return with(Count<8>{}, 512);
  } else {
    if (n <= 4096) return with(Count<16>{}, 256);
    if (n <= 8192) return with(Count<16>{}, 512);
  }
  if constexpr (most >= 32) with(Count<32>{}, 512);
}

}  // namespace nonet::NONET_CUDA_NS
