#include "ops/boxes/boxes.h"

#include "simd/vec.h"
// The maps are written in its vocabulary.
#include "ops/boxes/map_overlap.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 4096;  // pairs per task

template <class Body>
void visit(Overlap kind, const Body& body) {
  switch (kind) {
    case Overlap::generalized:
      return body.template run<Overlap::generalized>();
    case Overlap::distance:
      return body.template run<Overlap::distance>();
    default:
      return body.template run<Overlap::iou>();
  }
}

NONET_INLINE Box load_boxes(const BoxRows& b, int64_t i, int64_t lanes) {
  const float* p = b.data + i;
  return {load_lanes(p, lanes), load_lanes(p + b.row, lanes), load_lanes(p + 2 * b.row, lanes),
          load_lanes(p + 3 * b.row, lanes)};
}
NONET_INLINE Box same_box(const BoxRows& b, int64_t i) {
  const float* p = b.data + i;
  return {broadcast(p[0]), broadcast(p[b.row]), broadcast(p[2 * b.row]), broadcast(p[3 * b.row])};
}
NONET_INLINE void store_boxes(const Box& b, float* p, int64_t row, int64_t lanes) {
  store_lanes(p, b.x1, lanes);
  store_lanes(p + row, b.y1, lanes);
  store_lanes(p + 2 * row, b.x2, lanes);
  store_lanes(p + 3 * row, b.y2, lanes);
}
NONET_INLINE void add(Box& sum, const Box& b, int64_t lanes) {
  sum.x1 += keep_lanes(b.x1, lanes, 0.f);  // lanes beyond the last box hold 0 / 0
  sum.y1 += keep_lanes(b.y1, lanes, 0.f);
  sum.x2 += keep_lanes(b.x2, lanes, 0.f);
  sum.y2 += keep_lanes(b.y2, lanes, 0.f);
}

struct Arguments {
  float e;
  BoxRows a, b;
  const float* dy;
  float* y;
  float* da;
  float* db;
  int64_t n, m;
};

struct Pairs : Arguments {
  template <Overlap kind>
  void run() const {
    parallel_for(n, grain, [&](int64_t begin, int64_t end) {
      for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
        i += begin;
        store_lanes(y + i, overlap<kind>(load_boxes(a, i, lanes), load_boxes(b, i, lanes), e), lanes);
      });
    });
  }
};

struct PairsBackward : Arguments {
  template <Overlap kind>
  void run() const {
    parallel_for(n, grain, [&](int64_t begin, int64_t end) {
      for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
        i += begin;
        const BoxPair d =
            overlap_gradient<kind>(load_boxes(a, i, lanes), load_boxes(b, i, lanes), e, load_lanes(dy + i, lanes));
        store_boxes(d.a, da + i, n, lanes);
        store_boxes(d.b, db + i, n, lanes);
      });
    });
  }
};

struct Matrix : Arguments {
  template <Overlap kind>
  void run() const {
    parallel_for(n, 1 + grain / (m + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Box own = same_box(a, i);
        for_vectors(m, [&](int64_t j, int64_t lanes) {
          store_lanes(y + i * m + j, overlap<kind>(own, load_boxes(b, j, lanes), e), lanes);
        });
      }
    });
  }
};

// Every gradient is a sum over one side: rows of dy for a, columns for b.
struct MatrixBackward : Arguments {
  template <Overlap kind>
  void run() const {
    parallel_for(n, 1 + grain / (m + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Box own = same_box(a, i);
        Box total{};
        for_vectors(m, [&](int64_t j, int64_t lanes) {
          const F g = load_lanes(dy + i * m + j, lanes);
          add(total, overlap_gradient<kind>(own, load_boxes(b, j, lanes), e, g).a, lanes);
        });
        da[i] = sum(total.x1);
        da[i + n] = sum(total.y1);
        da[i + 2 * n] = sum(total.x2);
        da[i + 3 * n] = sum(total.y2);
      }
    });
    const int64_t vectors = (m + width - 1) / width;
    parallel_for(vectors, 1 + grain / (n * width + 1), [&](int64_t begin, int64_t end) {
      for (int64_t v = begin; v < end; ++v) {
        const int64_t j = v * width;
        const int64_t lanes = m - j < width ? m - j : width;
        const Box own = load_boxes(b, j, lanes);
        Box total{};
        for (int64_t i = 0; i < n; ++i) {
          const F g = load_lanes(dy + i * m + j, lanes);
          add(total, overlap_gradient<kind>(same_box(a, i), own, e, g).b, lanes);
        }
        store_boxes(total, db + j, m, lanes);
      }
    });
  }
};

void pairs(Overlap kind, float e, BoxRows a, BoxRows b, float* y, int64_t n) {
  visit(kind, Pairs{{e, a, b, nullptr, y, nullptr, nullptr, n, n}});
}
void pairs_backward(Overlap kind, float e, BoxRows a, BoxRows b, const float* dy, float* da, float* db, int64_t n) {
  visit(kind, PairsBackward{{e, a, b, dy, nullptr, da, db, n, n}});
}
void matrix(Overlap kind, float e, BoxRows a, BoxRows b, float* y, int64_t n, int64_t m) {
  visit(kind, Matrix{{e, a, b, nullptr, y, nullptr, nullptr, n, m}});
}
void matrix_backward(Overlap kind, float e, BoxRows a, BoxRows b, const float* dy, float* da, float* db, int64_t n,
                     int64_t m) {
  visit(kind, MatrixBackward{{e, a, b, dy, nullptr, da, db, n, m}});
}

// One thread: every box waits for those before it.
void nms(BoxRows boxes, const int32_t* classes, float threshold, int32_t* kept, int64_t n) {
  for (int64_t i = 0; i < n; ++i) kept[i] = 1;
  for (int64_t i = 0; i < n; ++i) {
    if (kept[i] == 0) continue;
    const Box own = same_box(boxes, i);
    const I own_class = classes == nullptr ? I{} : I{} + classes[i];
    for_vectors(n - i - 1, [&](int64_t j, int64_t lanes) {
      j += i + 1;
      const F iou = overlap<Overlap::iou>(own, load_boxes(boxes, j, lanes), 0.f);
      I gone = iou > threshold;
      if (classes != nullptr) gone &= as_int(load_lanes((const float*)(classes + j), lanes)) == own_class;
      const I before = as_int(load_lanes((const float*)(kept + j), lanes));
      store_lanes((float*)(kept + j), as_float(before & ~gone), lanes);
    });
  }
}

}  // namespace

constinit const BoxKernels box_kernels = {pairs, pairs_backward, matrix, matrix_backward, nms};

}  // namespace nonet::NONET_NS
