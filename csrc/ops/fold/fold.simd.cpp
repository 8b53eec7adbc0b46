#include "ops/fold/fold.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 32768;  // floats of y per task

// Positions [begin, end) of one axis whose tap at `first` + position * stride lies in [0, n).
struct Inside {
  int64_t begin, end;
};
Inside inside(int64_t first, int64_t stride, int64_t n, int64_t count) {
  int64_t begin = first < 0 ? (-first + stride - 1) / stride : 0;
  int64_t end = n - first <= 0 ? 0 : (n - first - 1) / stride + 1;
  begin = begin < count ? begin : count;
  end = end < count ? end : count;
  return {begin, end > begin ? end : begin};
}

// A kernel position: the taps of all outputs.
struct Position {
  int64_t y, x;  // in the image, under output (0, 0)
  Inside rows, columns;

  Position(const FoldShape& s, int64_t position)
      : y(position / s.kw * s.dilation[0] - s.padding[0]),
        x(position % s.kw * s.dilation[1] - s.padding[1]),
        rows(inside(y, s.stride[0], s.h, s.oh)),
        columns(inside(x, s.stride[1], s.w, s.ow)) {}
};

void fill_zeros(float* y, int64_t n) {
  __builtin_memset(y, 0, n * sizeof(float));
}

void unfold(const float* x, float* y, const FoldShape& s) {
  const int64_t positions = s.kh * s.kw;
  const int64_t outs = s.oh * s.ow;
  parallel_for(s.planes * positions, 1 + grain / outs, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const Position at(s, row % positions);
      const float* plane = x + row / positions * s.h * s.w;
      float* to = y + row * outs;
      fill_zeros(to, at.rows.begin * s.ow);
      for (int64_t p = at.rows.begin; p < at.rows.end; ++p) {
        float* line = to + p * s.ow;
        const float* from = plane + (at.y + p * s.stride[0]) * s.w;
        const Inside& in = at.columns;
        fill_zeros(line, in.begin);
        if (s.stride[1] == 1) {
          __builtin_memcpy(line + in.begin, from + (at.x + in.begin), (in.end - in.begin) * sizeof(float));
        } else {
          for (int64_t q = in.begin; q < in.end; ++q) line[q] = from[at.x + q * s.stride[1]];
        }
        fill_zeros(line + in.end, s.ow - in.end);
      }
      fill_zeros(to + at.rows.end * s.ow, (s.oh - at.rows.end) * s.ow);
    }
  });
}

void fold(const float* y, float* x, const FoldShape& s) {
  const int64_t positions = s.kh * s.kw;
  const int64_t outs = s.oh * s.ow;
  parallel_for(s.planes, 1 + grain / (positions * outs), [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      float* plane = x + p * s.h * s.w;
      fill_zeros(plane, s.h * s.w);
      for (int64_t position = 0; position < positions; ++position) {
        const Position at(s, position);
        const float* from = y + (p * positions + position) * outs;
        const Inside& in = at.columns;
        for (int64_t r = at.rows.begin; r < at.rows.end; ++r) {
          float* line = plane + (at.y + r * s.stride[0]) * s.w;
          const float* source = from + r * s.ow;
          if (s.stride[1] == 1) {
            float* to = line + (at.x + in.begin);
            for_vectors(in.end - in.begin, [&](int64_t i, int64_t lanes) {
              store_lanes(to + i, load_lanes(to + i, lanes) + load_lanes(source + in.begin + i, lanes), lanes);
            });
          } else {
            for (int64_t q = in.begin; q < in.end; ++q) line[at.x + q * s.stride[1]] += source[q];
          }
        }
      }
    }
  });
}

}  // namespace

constinit const FoldKernels fold_kernels = {unfold, fold};

}  // namespace nonet::NONET_NS
