// Positions side by side: slices are runs of memory.
#include "ops/norm/incoming.h"
#include "simd/fold.h"
#include "simd/transpose.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 16384;         // elements per task
constexpr int64_t first_elements = 256;  // whose mean is the origin of a part

// What is added up for a part of a slice.
struct Moments {
  float origin;
  float sum;
  float squares;
};
struct GradientSums {
  float dot;  // of dz (x - m)
  float sum;  // of dz
};

// One part: n elements from offset `at`, of run `run`.
struct Part {
  int64_t at;
  int64_t n;
  int64_t run;
};

NONET_INLINE int64_t parts_of_run(const Slices& s) {
  return (s.length + slice_part - 1) / slice_part;
}

// The parts of a run are of equal size, up to a vector.
NONET_INLINE Part part_of(const Slices& s, int64_t slice, int64_t index) {
  const int64_t parts = parts_of_run(s);
  if (parts == 1) return {slice * s.slice_step + index * s.run_step, s.length, index};
  const int64_t run = index / parts;
  const int64_t size = ((s.length + parts - 1) / parts + width - 1) / width * width;
  const int64_t begin = (index - run * parts) * size;
  const int64_t rest = s.length - begin;
  return {slice * s.slice_step + run * s.run_step + begin, rest < size ? (rest > 0 ? rest : 0) : size, run};
}

NONET_INLINE int64_t channel_of(const Slices& s, int64_t slice, int64_t run) {
  return slice % s.groups * s.group_channels + (s.group_channels > 1 ? run : 0);
}

// body(slice, first part, last part) for all parts: slice by slice, or, if they are split, in tasks of any parts.
template <class Body>
void for_parts(const Slices& s, const Body& body) {
  const int64_t parts = slice_parts(s);
  const int64_t size = s.runs * s.length / (parts + (parts == 0 ? 1 : 0));
  parallel_for(s.slices * parts, 1 + grain / (size + 1), [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t slice = begin / parts;
      const int64_t first = begin - slice * parts;
      const int64_t last = first + end - begin < parts ? first + end - begin : parts;
      body(slice, first, last);
      begin += last - first;
    }
  });
}
template <class Body>
void for_slices(const Slices& s, const Body& body) {
  parallel_for(s.slices, 1 + grain / (s.runs * s.length + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

// ---------------------------------------------------------------- forward
// Two sums over lanes at once.
struct Pair {
  float first, second;
};
NONET_INLINE Pair sum2(F a, F b) {
  float out[4];
  sum4(a, b, F{}, F{}, out);
  return {out[0], out[1]};
}

template <class T>
float origin_of(const T* x, int64_t n) {
  if (n >= first_elements) {
    const float total =
        fold_range<Add>(0, first_elements, [&](int64_t i, int64_t lanes) { return load_lanes(x + i, lanes); });
    return total / (float)first_elements;
  }
  // The first eight say enough of a short run, and cost less.
  if (n < 8) return load(x, 1)[0];
  float v[width < 8 ? 8 : width];
  store(v, load_lanes(x, width < 8 ? width : 8));
  if constexpr (width < 8) store(v + width, load(x + width));
  return (((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]))) * 0.125f;
}

template <class T>
Moments part_moments(const T* x, int64_t n) {
  if (n == 0) return {0, 0, 0};
  const float origin = origin_of(x, n);
  const F from = broadcast(origin);
  F s[4] = {};
  F q[4] = {};
  int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const F d = load(x + i + k * width) - from;
      s[k] += d;
      q[k] = fma(d, d, q[k]);
    }
  }
  for (; i < n; i += width) {
    const int64_t lanes = n - i < width ? n - i : width;
    F d = load_lanes(x + i, lanes) - from;
    if (lanes < width) d = keep_lanes(d, lanes, 0.f);
    s[0] += d;
    q[0] = fma(d, d, q[0]);
  }
  const Pair sums = sum2((s[0] + s[1]) + (s[2] + s[3]), (q[0] + q[1]) + (q[2] + q[3]));
  return {origin, sums.first, sums.second};
}

struct Statistics {
  float mean;
  float variance;
};

// Of the parts of a slice together: distances from the first one's origin, in float64.
Statistics join(const Slices& s, const Moments* parts, int64_t slice) {
  const double origin = parts[0].origin;
  double total = 0;
  double squares = 0;
  for (int64_t i = 0; i < slice_parts(s); ++i) {
    const auto n = (double)part_of(s, slice, i).n;
    if (n == 0) continue;
    const double shift = parts[i].origin - origin;
    const double own = parts[i].sum;
    total += n * shift + own;
    squares += parts[i].squares + shift * (2 * own + n * shift);
  }
  const auto n = (double)(s.runs * s.length);
  const double about_mean = squares - total * (total / n);
  return {(float)(origin + total / n), (float)((about_mean < 0 ? 0. : about_mean) / n)};
}

struct Map {
  F mean, scale, shift;
};
NONET_INLINE Map map_of(const SliceNorm& norm, const Slices& s, int64_t slice, int64_t run, float mean, float rstd) {
  const int64_t c = channel_of(s, slice, run);
  const float gamma = norm.gamma != nullptr ? norm.gamma[c] : 1.f;
  return {broadcast(mean), broadcast(gamma * rstd), broadcast(norm.beta != nullptr ? norm.beta[c] : 0.f)};
}

template <class T>
void apply(const T* x, const T* residual, T* y, int64_t n, const Map map, bool relu) {
  for_vectors(n, [=](int64_t i, int64_t lanes) {
    F z = fma(load_lanes(x + i, lanes) - map.mean, map.scale, map.shift);
    if (residual != nullptr) z += load_lanes(residual + i, lanes);
    store_lanes(y + i, relu ? (z < 0.f ? F{} : z) : z, lanes);
  });
}

template <class T>
struct Forward {
  const SliceNorm& norm;
  T* y;
  float* mean;
  float* variance;
  float* rstd;
  float eps;
  bool given;
  const Slices& s;
  Slices joined;  // the same slices without cuts where runs follow each other, for statistics

  static void take(const Forward& f, Moments* parts, int64_t slice, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Part part = part_of(f.joined, slice, i);
      parts[i] = part_moments(static_cast<const T*>(f.norm.x) + part.at, part.n);
    }
  }
  static void finish(const Forward& f, const Moments* parts, int64_t slice) {
    if (!f.given) {
      const Statistics statistics = join(f.joined, parts, slice);
      f.mean[slice] = statistics.mean;
      f.variance[slice] = statistics.variance;
    }
    f.rstd[slice] = (float)(1. / __builtin_sqrt((double)f.variance[slice] + f.eps));
  }
  static void write(const Forward& f, int64_t slice, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Part part = part_of(f.s, slice, i);
      const auto* residual = static_cast<const T*>(f.norm.residual);
      apply(static_cast<const T*>(f.norm.x) + part.at, residual != nullptr ? residual + part.at : nullptr,
            f.y + part.at, part.n, map_of(f.norm, f.s, slice, part.run, f.mean[slice], f.rstd[slice]), f.norm.relu);
    }
  }
  static void run(const Forward& f, Moments* parts) {
    const int64_t count = slice_parts(f.joined);
    if (parts == nullptr) {
      return for_slices(f.s, [&](int64_t slice) {
        auto* own = f.given ? nullptr : static_cast<Moments*>(thread_scratch(count * (int64_t)sizeof(Moments)));
        if (!f.given) take(f, own, slice, 0, count);
        finish(f, own, slice);
        write(f, slice, 0, slice_parts(f.s));
      });
    }
    if (!f.given) {
      for_parts(f.joined, [&](int64_t slice, int64_t first, int64_t last) {
        take(f, parts + slice * count, slice, first, last);
      });
    }
    for (int64_t slice = 0; slice < f.s.slices; ++slice) finish(f, parts + slice * count, slice);
    for_parts(f.s, [&](int64_t slice, int64_t first, int64_t last) { write(f, slice, first, last); });
  }
};

// ---------------------------------------------------------------- backward
template <class T>
struct Backward {
  const SliceNorm& norm;
  const T* dy;
  const float* mean;
  const float* rstd;
  bool given;
  T* dz;
  T* dx;
  float* sums;
  const Slices& s;

  NONET_INLINE Map map(const Backward& b, int64_t slice, int64_t run) {
    return map_of(b.norm, b.s, slice, run, b.mean[slice], b.rstd[slice]);
  }

  static GradientSums part_sums(const T* x, const Incoming<T> in, T* dz, int64_t n, const Map map) {
    F dot[2] = {};
    F total[2] = {};
    const auto vector = [&](int64_t i, int64_t lanes, int k) {
      const F distance = load_lanes(x + i, lanes) - map.mean;
      const F d = Incoming<T>::value(in, i, distance, map.scale, map.shift, lanes);
      if (dz != nullptr) store_lanes(dz + i, d, lanes);
      const F product = lanes == width ? d * distance : keep_lanes(d * distance, lanes, 0.f);  // 0 times inf is NaN
      dot[k] += product;
      total[k] += d;  // 0 in the lanes beyond the part
    };
    int64_t i = 0;
    for (; i + 2 * width <= n; i += 2 * width) {
      vector(i, width, 0);
      vector(i + width, width, 1);
    }
    for (; i < n; i += width) vector(i, n - i < width ? n - i : width, 0);
    const Pair sums = sum2(dot[0] + dot[1], total[0] + total[1]);
    return {sums.first, sums.second};
  }

  static void take(const Backward& b, GradientSums* parts, int64_t slice, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Part part = part_of(b.s, slice, i);
      const auto* y = static_cast<const T*>(b.norm.y);
      const Incoming<T> in{b.dy + part.at, y != nullptr ? y + part.at : nullptr, b.norm.relu};
      parts[i] = part_sums(static_cast<const T*>(b.norm.x) + part.at, in, b.dz != nullptr ? b.dz + part.at : nullptr,
                           part.n, map(b, slice, part.run));
    }
  }
  // The gradients of the slice's channels; returns the means that dx wants, of g (x - m) and of g.
  static GradientSums finish(const Backward& b, const GradientSums* parts, int64_t slice) {
    const int64_t per_run = parts_of_run(b.s);
    const bool one_channel = b.s.group_channels == 1;
    double dots = 0;
    double totals = 0;
    double dot = 0;
    double total = 0;
    for (int64_t run = 0; run < b.s.runs; ++run) {
      for (int64_t i = run * per_run; i < (run + 1) * per_run; ++i) {
        dot += parts[i].dot;
        total += parts[i].sum;
      }
      if (one_channel && run + 1 < b.s.runs) continue;
      const int64_t c = channel_of(b.s, slice, run);
      float* out = b.sums + (slice * b.s.group_channels + (one_channel ? 0 : run)) * 2;
      out[0] = (float)(dot * b.rstd[slice]);
      out[1] = (float)total;
      const double gamma = b.norm.gamma != nullptr ? b.norm.gamma[c] : 1.;
      dots += gamma * dot;
      totals += gamma * total;
      dot = total = 0;
    }
    const auto n = (double)(b.s.runs * b.s.length);
    return {(float)(dots / n), (float)(totals / n)};
  }
  static void write(const Backward& b, int64_t slice, int64_t first, int64_t last, const GradientSums& means) {
    if (b.dx == nullptr) return;
    const double r = b.rstd[slice];
    const F slope = broadcast((float)(-r * r * r * means.dot));
    const F offset = broadcast((float)(-r * means.sum));
    const auto* x = static_cast<const T*>(b.norm.x);
    const Incoming<T> in{b.dz != nullptr ? b.dz : b.dy, static_cast<const T*>(b.norm.y),
                         b.dz == nullptr && b.norm.relu};
    const bool given = b.given;
    T* dx = b.dx;
    for (int64_t k = first; k < last; ++k) {
      const Part part = part_of(b.s, slice, k);
      const Map m = map(b, slice, part.run);
      for_vectors(part.n, [=](int64_t i, int64_t lanes) {
        const int64_t e = part.at + i;
        const F distance = load_lanes(x + e, lanes) - m.mean;
        const F d = Incoming<T>::value(in, e, distance, m.scale, m.shift, lanes);
        store_lanes(dx + e, given ? d * m.scale : fma(d, m.scale, fma(distance, slope, offset)), lanes);
      });
    }
  }
  static void run(const Backward& b, GradientSums* parts) {
    const int64_t count = slice_parts(b.s);
    if (parts == nullptr) {
      return for_slices(b.s, [&](int64_t slice) {
        auto* own = static_cast<GradientSums*>(thread_scratch(count * (int64_t)sizeof(GradientSums)));
        take(b, own, slice, 0, count);
        write(b, slice, 0, count, finish(b, own, slice));
      });
    }
    for_parts(b.s,
              [&](int64_t slice, int64_t first, int64_t last) { take(b, parts + slice * count, slice, first, last); });
    for (int64_t slice = 0; slice < b.s.slices; ++slice) {
      parts[slice * count] = finish(b, parts + slice * count, slice);
    }
    for_parts(b.s,
              [&](int64_t slice, int64_t first, int64_t last) { write(b, slice, first, last, parts[slice * count]); });
  }
};

// ---------------------------------------------------------------- both dtypes
template <class T>
void forward_as(const SliceNorm& norm, void* y, float* mean, float* variance, float* rstd, float eps, bool given,
                const Slices& slices, float* parts) {
  Slices joined = slices;
  if (slices.run_step == slices.length) {
    joined.length *= slices.runs;
    joined.runs = 1;
  }
  const Forward<T> f{norm, static_cast<T*>(y), mean, variance, rstd, eps, given, slices, joined};
  Forward<T>::run(f, reinterpret_cast<Moments*>(parts));
}
void forward(const SliceNorm& norm, void* y, float* mean, float* variance, float* rstd, float eps, bool given,
             const Slices& slices, float* parts) {
  (norm.dtype == DType::bfloat16 ? forward_as<bfloat16> : forward_as<float>)(norm, y, mean, variance, rstd, eps, given,
                                                                             slices, parts);
}

template <class T>
void backward_as(const SliceNorm& norm, const void* dy, const float* mean, const float* rstd, bool given, void* dz,
                 void* dx, float* sums, const Slices& slices, float* parts) {
  const Backward<T> b{
      norm, static_cast<const T*>(dy), mean, rstd, given, static_cast<T*>(dz), static_cast<T*>(dx), sums, slices};
  Backward<T>::run(b, reinterpret_cast<GradientSums*>(parts));
}
void backward(const SliceNorm& norm, const void* dy, const float* mean, const float* rstd, bool given, void* dz,
              void* dx, float* sums, const Slices& slices, float* parts) {
  (norm.dtype == DType::bfloat16 ? backward_as<bfloat16> : backward_as<float>)(norm, dy, mean, rstd, given, dz, dx,
                                                                               sums, slices, parts);
}

}  // namespace

constinit const SliceNormKernels slice_norm_kernels = {forward, backward};

}  // namespace nonet::NONET_NS
