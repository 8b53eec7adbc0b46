#include "ops/loss/cross_entropy.h"

#include "simd/math.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 8192;  // elements per block of positions
constexpr float infinity = __builtin_inff();

NONET_INLINE F load_first(const float* p, int64_t lanes, float other) {
  return lanes == width ? load(p) : keep_lanes(load(p, lanes), lanes, other);
}
// The weights of classes [c, c + lanes).
NONET_INLINE F weights(const ClassTerms& terms, int64_t c, int64_t lanes) {
  return terms.weight == nullptr ? broadcast(1.f) : load_lanes(terms.weight + c, lanes);
}
// b * -lp, where nothing times infinity is nothing.
NONET_INLINE F term(F b, F lp) {
  return b == 0.f ? F{} : -b * lp;
}

struct Softmax {
  float maximum;
  float total;
  float log_total;
};

// Leaves exp(x - maximum) in e unless that is null.
NONET_INLINE Softmax softmax_row(const float* x, float* e, int64_t n) {
  F m = broadcast(-infinity);
  for_vectors(n, [&](int64_t c, int64_t lanes) { m = maximum(load_first(x + c, lanes, -infinity), m); });
  Softmax out;
  out.maximum = maximum(m);
  F total{};
  for_vectors(n, [&](int64_t c, int64_t lanes) {
    const F v = exp(load_lanes(x + c, lanes) - out.maximum);
    if (e != nullptr) store_lanes(e + c, v, lanes);
    total += lanes == width ? v : keep_lanes(v, lanes, 0.f);
  });
  out.total = sum(total);
  out.log_total = log(broadcast(out.total))[0];
  return out;
}

Softmax softmax_of_parts(const PartialSoftmax& partial, int64_t row) {
  const float* largest = partial.largest + row * partial.parts;
  const float* sums = partial.sum + row * partial.parts;
  F m = broadcast(-infinity);
  for_vectors(partial.parts,
              [&](int64_t i, int64_t lanes) { m = maximum(load_first(largest + i, lanes, -infinity), m); });
  Softmax out;
  out.maximum = maximum(m);
  F total{};
  for_vectors(partial.parts, [&](int64_t i, int64_t lanes) {
    const F part = load_first(largest + i, lanes, -infinity);
    total += part == -infinity ? F{} : load_lanes(sums + i, lanes) * exp(part - out.maximum);
  });
  out.total = sum(total);
  out.log_total = log(broadcast(out.total))[0];
  return out;
}

void index_row(const float* x, int64_t t, const ClassTerms& terms, const PartialSoftmax& partial, int64_t row,
               float* loss, float* dx, int64_t n) {
  const bool known = partial.largest != nullptr;
  const Softmax s = known ? softmax_of_parts(partial, row) : softmax_row(x, dx, n);
  const float b = (1.f - terms.smoothing) * (terms.weight == nullptr ? 1.f : terms.weight[t]);
  const float smooth = terms.smoothing / n;
  *loss = b == 0.f ? 0.f : -b * ((x[t] - s.maximum) - s.log_total);
  if (smooth != 0.f) {
    F total{};
    for_vectors(n, [&](int64_t c, int64_t lanes) {
      const F lp = (load_lanes(x + c, lanes) - s.maximum) - s.log_total;
      total += keep_lanes(term(weights(terms, c, lanes), lp), lanes, 0.f);
    });
    *loss += smooth * sum(total);
  }
  if (dx == nullptr) return;
  const F p = broadcast((b + smooth * terms.weight_sum) * terms.scale / s.total);
  const float q = smooth * terms.scale;
  for_vectors(n, [&](int64_t c, int64_t lanes) {
    const F e = known ? exp(load_lanes(x + c, lanes) - s.maximum) : load_lanes(dx + c, lanes);
    F d = e * p;
    if (q != 0.f) d -= q * weights(terms, c, lanes);
    store_lanes(dx + c, d, lanes);
  });
  dx[t] -= b * terms.scale;
}

void clear(float* p, int64_t n) {
  __builtin_memset(p, 0, n * sizeof(float));
}

void index_rows(const float* x, const int64_t* target, int64_t ignore, const ClassTerms& terms,
                const PartialSoftmax& partial, float* loss, float* dx, const ClassAxis& axis) {
  const int64_t n = axis.classes;
  parallel_for(axis.outer, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* d = dx == nullptr ? nullptr : dx + r * n;
      if (target[r] != ignore) {
        index_row(x + r * n, target[r], terms, partial, r, loss + r, d, n);
        continue;
      }
      loss[r] = 0;
      if (d != nullptr) clear(d, n);
    }
  });
}

// What a vector of positions wants: their classes (-1: none), the factors b and whether they count at all.
struct Positions {
  I target;
  F b;
  I counts;
};
NONET_INLINE Positions positions(const int64_t* target, int64_t ignore, const ClassTerms& terms, int64_t lanes) {
  Positions out{I{} - 1, F{}, I{}};
  for (int64_t i = 0; i < lanes; ++i) {
    if (target[i] == ignore) continue;
    out.target[i] = static_cast<int32_t>(target[i]);
    out.b[i] = (1.f - terms.smoothing) * (terms.weight == nullptr ? 1.f : terms.weight[target[i]]);
    out.counts[i] = -1;
  }
  return out;
}

// A vector of positions whose classes are `inner` apart.
void index_column(const float* x, const int64_t* target, int64_t ignore, const ClassTerms& terms, float* loss,
                  float* dx, const ClassAxis& axis, int64_t lanes) {
  const int64_t n = axis.classes;
  const int64_t stride = axis.inner;
  const auto [t, b, counts] = positions(target, ignore, terms, lanes);
  F m = broadcast(-infinity);
  F at_target{};
  for (int64_t c = 0; c < n; ++c) {
    const F v = load_lanes(x + c * stride, lanes);
    m = maximum(v, m);
    at_target = t == static_cast<int32_t>(c) ? v : at_target;
  }
  F total{};
  for (int64_t c = 0; c < n; ++c) {
    const F e = exp(load_lanes(x + c * stride, lanes) - m);
    if (dx != nullptr) store_lanes(dx + c * stride, e, lanes);
    total += e;
  }
  const F log_total = log(total);
  const float smooth = terms.smoothing / n;
  F out = term(b, (at_target - m) - log_total);
  if (smooth != 0.f) {
    for (int64_t c = 0; c < n; ++c) {
      const F w = broadcast(terms.weight == nullptr ? smooth : smooth * terms.weight[c]);
      out += term(w, (load_lanes(x + c * stride, lanes) - m) - log_total);
    }
  }
  store_lanes(loss, counts ? out : F{}, lanes);
  if (dx == nullptr) return;
  const F p = (b + smooth * terms.weight_sum) * terms.scale / total;
  for (int64_t c = 0; c < n; ++c) {
    const F w = broadcast(terms.weight == nullptr ? smooth : smooth * terms.weight[c]);
    const F wanted = terms.scale * (t == static_cast<int32_t>(c) ? b + w : w);
    const F d = fma(load_lanes(dx + c * stride, lanes), p, -wanted);
    store_lanes(dx + c * stride, counts ? d : F{}, lanes);
  }
}

void index(const float* x, const int64_t* target, int64_t ignore, const ClassTerms& terms,
           const PartialSoftmax& partial, float* loss, float* dx, const ClassAxis& axis) {
  if (axis.inner == 1) return index_rows(x, target, ignore, terms, partial, loss, dx, axis);
  const int64_t columns = (axis.inner + width - 1) / width;
  parallel_for(axis.outer * columns, 1 + grain / (width * (axis.classes + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t o = k / columns;
      const int64_t i = k % columns * width;
      const int64_t at = o * axis.inner + i;
      const int64_t first = o * axis.classes * axis.inner + i;
      const int64_t lanes = axis.inner - i < width ? axis.inner - i : width;
      index_column(x + first, target + at, ignore, terms, loss + at, dx == nullptr ? nullptr : dx + first, axis, lanes);
    }
  });
}

void probability_row(const float* x, const float* q, const ClassTerms& terms, float* loss, float* dx, float* dq,
                     int64_t n) {
  const Softmax s = softmax_row(x, dx, n);
  const float keep = 1.f - terms.smoothing;
  const float smooth = terms.smoothing / n;
  const auto factor = [&](int64_t c, int64_t lanes) {
    return weights(terms, c, lanes) * fma(load_lanes(q + c, lanes), broadcast(keep), broadcast(smooth));
  };
  F total{};
  F mass{};
  for_vectors(n, [&](int64_t c, int64_t lanes) {
    const F lp = (load_lanes(x + c, lanes) - s.maximum) - s.log_total;
    const F b = factor(c, lanes);
    total += keep_lanes(term(b, lp), lanes, 0.f);
    mass += keep_lanes(b, lanes, 0.f);
    if (dq != nullptr) store_lanes(dq + c, term(weights(terms, c, lanes) * (keep * terms.scale), lp), lanes);
  });
  *loss = sum(total);
  if (dx == nullptr) return;
  const F p = broadcast(sum(mass) * terms.scale / s.total);
  for_vectors(n, [&](int64_t c, int64_t lanes) {
    store_lanes(dx + c, fma(load_lanes(dx + c, lanes), p, -terms.scale * factor(c, lanes)), lanes);
  });
}

void probability(const float* x, const float* target, const ClassTerms& terms, float* loss, float* dx, float* dq,
                 const ClassAxis& axis) {
  const int64_t n = axis.classes;
  parallel_for(axis.outer, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      probability_row(x + r * n, target + r * n, terms, loss + r, dx == nullptr ? nullptr : dx + r * n,
                      dq == nullptr ? nullptr : dq + r * n, n);
    }
  });
}

void scale(float* d, const float* scale, bool uniform, const ClassAxis& axis) {
  if (uniform) {
    const int64_t all = axis.outer * axis.classes * axis.inner;
    const F s = broadcast(all > 0 ? *scale : 0.f);
    return parallel_for(all, 4 * grain, [&](int64_t begin, int64_t end) {
      for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
        store_lanes(d + begin + i, load_lanes(d + begin + i, lanes) * s, lanes);
      });
    });
  }
  // One scale per row of classes, or one row of scales for every class.
  const bool flat = axis.inner == 1;
  const int64_t rows = flat ? axis.outer : axis.outer * axis.classes;
  const int64_t n = flat ? axis.classes : axis.inner;
  parallel_for(rows, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      float* row = d + k * n;
      const float* s = scale + (flat ? k : k / axis.classes * n);
      for_vectors(n, [&](int64_t i, int64_t lanes) {
        const F factor = flat ? broadcast(*s) : load_lanes(s + i, lanes);
        store_lanes(row + i, load_lanes(row + i, lanes) * factor, lanes);
      });
    }
  });
}

}  // namespace

constinit const CrossEntropyKernels cross_entropy_kernels = {index, probability, scale};

}  // namespace nonet::NONET_NS
