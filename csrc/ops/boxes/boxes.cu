#include "cuda/elements.cuh"
#include "cuda/scalar.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
// In the vocabulary of scalar.cuh.
#include "ops/boxes/map_overlap.h"

namespace nonet::NONET_CUDA_NS {

namespace {

NONET_DEVICE Box box_at(const float* boxes, int64_t i) {  // of any alignment
  const float* p = boxes + 4 * i;
  return {p[0], p[1], p[2], p[3]};
}
NONET_DEVICE void store_box(float* boxes, int64_t i, const Box& b) {
  float* p = boxes + 4 * i;
  p[0] = b.x1;
  p[1] = b.y1;
  p[2] = b.x2;
  p[3] = b.y2;
}

template <class Body>
void visit(Overlap kind, const Body& body) {
  switch (kind) {
    case Overlap::generalized:
      return body(std::integral_constant<Overlap, Overlap::generalized>{});
    case Overlap::distance:
      return body(std::integral_constant<Overlap, Overlap::distance>{});
    default:
      return body(std::integral_constant<Overlap, Overlap::iou>{});
  }
}

// ---------------------------------------------------------------- overlap
template <Overlap kind>
struct Pairs {
  NONET_DEVICE void operator()(float e, const float* a, const float* b, float* y, int64_t n) const {
    for_grid(n, [&](int64_t i) { y[i] = overlap<kind>(box_at(a, i), box_at(b, i), e); });
  }
};

template <Overlap kind>
struct Matrix {
  NONET_DEVICE void operator()(float e, const float* a, const float* b, float* y, int64_t n, int64_t m) const {
    for_grid(n * m, [&](int64_t at) {
      const int64_t i = quotient(at, m);
      y[at] = overlap<kind>(box_at(a, i), box_at(b, at - i * m), e);
    });
  }
};

template <Overlap kind>
struct PairGradients {
  NONET_DEVICE void operator()(float e, const float* a, const float* b, const float* dy, float* da, float* db,
                               int64_t n) const {
    for_grid(n, [&](int64_t i) {
      const BoxPair d = overlap_gradient<kind>(box_at(a, i), box_at(b, i), e, dy[i]);
      store_box(da, i, d.a);
      store_box(db, i, d.b);
    });
  }
};

// A warp per box of one side sums over the other: element (i, j) of dy is at i row + j column.
template <Overlap kind, bool first>
struct SideGradient {
  NONET_DEVICE void operator()(float e, const float* own, const float* others, const float* dy, float* d, int64_t n,
                               int64_t m, int64_t row, int64_t column) const {
    const int64_t i = int64_t{block_index().x} * (block_size().x / 32) + warp_index();
    if (i >= n) return;
    const Box box = box_at(own, i);
    Box total = {};
    for (int64_t j = lane_index(); j < m; j += 32) {
      const Box other = box_at(others, j);
      const F g = dy[i * row + j * column];
      const BoxPair both = first ? overlap_gradient<kind>(box, other, e, g) : overlap_gradient<kind>(other, box, e, g);
      const Box& part = first ? both.a : both.b;
      total.x1 += part.x1;
      total.y1 += part.y1;
      total.x2 += part.x2;
      total.y2 += part.y2;
    }
    total = {warp_sum(total.x1), warp_sum(total.y1), warp_sum(total.x2), warp_sum(total.y2)};
    if (lane_index() == 0) store_box(d, i, total);
  }
};

void pairs(Stream stream, Overlap kind, float e, const float* a, const float* b, float* y, int64_t n) {
  visit(kind, [&](auto k) { run_elements(stream, n, Pairs<decltype(k)::value>{}, e, a, b, y, n); });
}

void pairs_backward(Stream stream, Overlap kind, float e, const float* a, const float* b, const float* dy, float* da,
                    float* db, int64_t n) {
  visit(kind, [&](auto k) { run_elements(stream, n, PairGradients<decltype(k)::value>{}, e, a, b, dy, da, db, n); });
}

void matrix(Stream stream, Overlap kind, float e, const float* a, const float* b, float* y, int64_t n, int64_t m) {
  visit(kind, [&](auto k) { run_elements(stream, n * m, Matrix<decltype(k)::value>{}, e, a, b, y, n, m); });
}

void matrix_backward(Stream stream, Overlap kind, float e, const float* a, const float* b, const float* dy, float* da,
                     float* db, int64_t n, int64_t m) {
  constexpr int warps = 8;
  visit(kind, [&](auto k) {
    constexpr Overlap of = decltype(k)::value;
    run(stream, (n + warps - 1) / warps, warps * 32, 0, SideGradient<of, true>{}, e, a, b, dy, da, n, m, m, int64_t{1});
    run(stream, (m + warps - 1) / warps, warps * 32, 0, SideGradient<of, false>{}, e, b, a, dy, db, m, n, int64_t{1},
        m);
  });
}

// ---------------------------------------------------------------- suppression
// masks[i, w] has bit j where box i, if it is kept, drops box 64 w + j behind it.
struct Masks {
  NONET_DEVICE void operator()(const float* boxes, const int32_t* classes, float threshold, uint64_t* masks, int64_t n,
                               int64_t words) const {
    for_grid(n * words, [&](int64_t at) {
      const int64_t i = quotient(at, words);
      const int64_t first = (at - i * words) * 64;
      const Box own = box_at(boxes, i);
      uint64_t mask = 0;
      for (int64_t j = first > i ? first : i + 1; j < first + 64 && j < n; ++j) {
        if (classes != nullptr && classes[j] != classes[i]) continue;
        if (overlap<Overlap::iou>(own, box_at(boxes, j), 0.f) > threshold) mask |= uint64_t{1} << (j - first);
      }
      masks[at] = mask;
    });
  }
};

// One block: every box waits for those before it. Shared memory: what has been dropped.
struct Keep {
  NONET_DEVICE void operator()(const uint64_t* masks, int32_t* kept, int64_t n, int64_t words) const {
    auto* dropped = shared_memory<uint64_t>();
    const int threads = block_size().x;
    for (int64_t w = thread_rank(); w < words; w += threads) dropped[w] = 0;
    block_sync();
    for (int64_t i = 0; i < n; ++i) {
      const bool keep = (dropped[i / 64] >> (i % 64) & 1) == 0;
      if (thread_rank() == 0) kept[i] = keep ? 1 : 0;
      if (!keep) continue;
      block_sync();
      for (int64_t w = i / 64 + thread_rank(); w < words; w += threads) dropped[w] |= masks[i * words + w];
      block_sync();
    }
  }
};

void nms(Stream stream, const float* boxes, const int32_t* classes, float threshold, int32_t* kept, uint64_t* masks,
         int64_t n) {
  const int64_t words = (n + 63) / 64;
  run_elements(stream, n * words, Masks{}, boxes, classes, threshold, masks, n, words);
  run(stream, 1, 256, static_cast<int>(words * static_cast<int64_t>(sizeof(uint64_t))), Keep{},
      static_cast<const uint64_t*>(masks), kept, n, words);
}

}  // namespace

NONET_DEVICE_TABLE(BoxDevice, simt, {pairs, pairs_backward, matrix, matrix_backward, nms});

}  // namespace nonet::NONET_CUDA_NS
