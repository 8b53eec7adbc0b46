// Rows of up to 16384 elements, held in registers by groups of threads: one read and one write of memory.
//
//   template <class T, int items>                         // elements of a thread
//   struct Kernel {
//     static constexpr int max_threads = 1024;
//     NONET_DEVICE void operator()(const T* x, T* y, RowShape shape) const {
//       const RowSlots<T, items> slots(shape);
//       float v[items];
//       slots.load(v, x, 0.f);
//       const float sum = group_reduce(…, shape.width, shared_memory<float>());
//       slots.store(y, v);
//     }
//   };
//   run_rows<T, 16, 1024>(stream, rows, n, aligned, [&](auto items, const RowLaunch& go) {
//     go(Kernel<T, decltype(items)::value>{}, x, y);
//   });
#pragma once

#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"

namespace nonet::NONET_CUDA_NS {

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
      : shape(shape), row(group_index(shape.width)), lane(group_lane(shape.width)) {}

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
  int shared_bytes = 32 * 16;  // 16 for every warp

  // The kernel with args and then the shape.
  template <class Kernel, class... Args>
  void operator()(const Kernel& kernel, const Args&... args) const {
    run(stream, blocks, threads, shared_bytes, kernel, args..., shape);
  }
};

// body(Count<items>, launch) for rows of n up to items * threads: up to 8 or 16 elements to each of up to 512 or 1024
// threads, the max_threads of the kernel.
template <class T, int items, int threads, class Body>
void run_rows(Stream stream, int64_t rows, int64_t n, bool aligned, const Body& body) {
  const auto with = [&](auto count, int width) {
    int block = width < 32 ? 32 : width;
    while (width <= 32 && block < 256 && block < rows * width) block *= 2;
    const int64_t groups = block / width;
    const RowShape shape{rows, static_cast<int>(n), width,
                         aligned && n % RowSlots<T, decltype(count)::value>::pack == 0};
    body(count, RowLaunch{stream, shape, block, (rows + groups - 1) / groups});
  };
  int width = 1;
  while (4 * width < n && width < 32) width *= 2;
  if (4 * width >= n) return with(Count<4>{}, width);
  if (8 * width >= n) return with(Count<8>{}, width);
  if constexpr (items > 8) {
    if (16 * width >= n) return with(Count<16>{}, width);
  }
  // Blocks; few elements to each thread while there are not many threads.
  width = 64;
  const int few = items > 8 ? 256 : threads;
  while (8 * width < n && width < few) width *= 2;
  if (8 * width >= n) return with(Count<8>{}, width);
  if constexpr (items > 8) {
    while (16 * width < n && width < threads) width *= 2;
    with(Count<16>{}, width);
  }
}

}  // namespace nonet::NONET_CUDA_NS
