#include "ops/pool/pool.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

NONET_INLINE I load_int(const int32_t* p, int64_t lanes) {
  return as_int(load_lanes(reinterpret_cast<const float*>(p), lanes));
}
NONET_INLINE void store_int(int32_t* p, I v, int64_t lanes) {
  store_lanes(reinterpret_cast<float*>(p), as_float(v), lanes);
}
NONET_INLINE I fill_int(int64_t x) {
  return I{} + (int32_t)x;
}

struct Best {
  F value;
  I index;
};
NONET_INLINE Best no_value(I index) {
  return {broadcast(-__builtin_inff()), index};
}
NONET_INLINE void take(Best& best, F v, I index) {
  const I better = (v > best.value) | (v != v);
  best.value = better ? v : best.value;
  best.index = better ? index : best.index;
}

// ---- max, plain. Each input row is split by column modulo stride into `stride_w` parts with -inf at both ends, so
// that one tap of consecutive windows is consecutive memory.

struct Parts {
  int64_t length;  // of one part
  int64_t row;     // of all parts of one row

  explicit Parts(const PoolGeometry& g)
      : length(g.out_w + (g.kernel_w - 1) * g.step_w / g.stride_w + width), row(length * g.stride_w) {}
};

void split_row(const float* x, float* parts, const PoolGeometry& g, int64_t length) {
  for (int64_t r = 0; r < g.stride_w; ++r) {
    float* part = parts + r * length;
    // part[t] = x[r + t * stride - padding]
    int64_t first = (g.padding_w - r + g.stride_w - 1) / g.stride_w;
    first = first < 0 ? 0 : (first > length ? length : first);
    int64_t last = g.w + g.padding_w - r <= 0 ? 0 : (g.w + g.padding_w - r - 1) / g.stride_w + 1;
    last = last < first ? first : (last > length ? length : last);
    for (int64_t t = 0; t < first; ++t) part[t] = -__builtin_inff();
    const float* from = x + r - g.padding_w;
    if (g.stride_w == 1) {
      __builtin_memcpy(part + first, from + first, (last - first) * sizeof(float));
    } else {
      for (int64_t t = first; t < last; ++t) part[t] = from[t * g.stride_w];
    }
    for (int64_t t = last; t < length; ++t) part[t] = -__builtin_inff();
  }
}

template <bool keep>
void max_row(const float* rows, float* y, int32_t* index, const PoolGeometry& g, const Parts& parts,
             const PoolWindow& window) {
  for_vectors(g.out_w, [&](int64_t o, int64_t lanes) {
    I begin{};
    for (int64_t i = 0; keep && i < lanes; ++i) begin[i] = (int32_t)(window.begin * g.w + g.columns[o + i].begin);
    Best best = no_value(begin);
    const I column = (lane_numbers() + (int32_t)o) * (int32_t)g.stride_w - (int32_t)g.padding_w;
    for (int64_t h = window.begin; h < window.end; h += g.step_h) {
      const float* row = rows + h * parts.row + o;
      for (int64_t k = 0; k < g.kernel_w; ++k) {
        const int64_t tap = k * g.step_w;
        const F v = load(row + tap % g.stride_w * parts.length + tap / g.stride_w);
        if (keep) {
          take(best, v, column + (int32_t)(h * g.w + tap));
        } else {
          best.value = (v > best.value) | (v != v) ? v : best.value;
        }
      }
    }
    store_lanes(y + o, best.value, lanes);
    if (keep) store_int(index + o, best.index, lanes);
  });
}

void max_plain(const float* x, float* y, int32_t* index, int64_t planes, const PoolGeometry& g, float* scratch) {
  const Parts parts(g);
  for (int64_t p = 0; p < planes; ++p) {
    for (int64_t h = 0; h < g.h; ++h) split_row(x + (p * g.h + h) * g.w, scratch + h * parts.row, g, parts.length);
    for (int64_t o = 0; o < g.out_h; ++o) {
      const int64_t at = (p * g.out_h + o) * g.out_w;
      if (index != nullptr) {
        max_row<true>(scratch, y + at, index + at, g, parts, g.rows[o]);
      } else {
        max_row<false>(scratch, y + at, nullptr, g, parts, g.rows[o]);
      }
    }
  }
}

// ---- max, nhwc: one row of outputs, vectors of channels

constexpr int64_t long_pixel = 64;  // channels: memory is read in the order of pixels

template <bool keep>
void max_long(const float* image, float* y, int32_t* index, int64_t c, const PoolGeometry& g, const PoolWindow& r,
              const PoolWindow& q) {
  bool first = true;
  for (int64_t h = r.begin; h < r.end; h += g.step_h) {
    for (int64_t w = q.begin; w < q.end; w += g.step_w) {
      const float* from = image + (h * g.w + w) * c;
      for_vectors(c, [=](int64_t i, int64_t lanes) {
        Best best = no_value(fill_int(r.begin * g.w + q.begin));
        if (!first) best.value = load_lanes(y + i, lanes);
        const F v = load_lanes(from + i, lanes);
        if (keep) {
          if (!first) best.index = load_int(index + i, lanes);
          take(best, v, fill_int(h * g.w + w));
          store_int(index + i, best.index, lanes);
        } else {
          best.value = (v > best.value) | (v != v) ? v : best.value;
        }
        store_lanes(y + i, best.value, lanes);
      });
      first = false;
    }
  }
}

template <bool keep>
void max_pixels(const float* image, float* y, int32_t* index, int64_t c, const PoolGeometry& g, const PoolWindow& r) {
  for (int64_t o = 0; o < g.out_w; ++o) {
    const PoolWindow& q = g.columns[o];
    if (c >= long_pixel && r.begin < r.end && q.begin < q.end) {
      max_long<keep>(image, y + o * c, keep ? index + o * c : nullptr, c, g, r, q);
      continue;
    }
    for_vectors(c, [=](int64_t i, int64_t lanes) {
      Best best = no_value(fill_int(r.begin * g.w + q.begin));
      for (int64_t h = r.begin; h < r.end; h += g.step_h) {
        for (int64_t w = q.begin; w < q.end; w += g.step_w) {
          const F v = load_lanes(image + (h * g.w + w) * c + i, lanes);
          if (keep) {
            take(best, v, fill_int(h * g.w + w));
          } else {
            best.value = (v > best.value) | (v != v) ? v : best.value;
          }
        }
      }
      store_lanes(y + o * c + i, best.value, lanes);
      if (keep) store_int(index + o * c + i, best.index, lanes);
    });
  }
}

void max_nhwc(const float* x, float* y, int32_t* index, int64_t c, const PoolGeometry& g, int64_t row) {
  const float* image = x + row / g.out_h * g.h * g.w * c;
  const PoolWindow& r = g.rows[row % g.out_h];
  const int64_t at = row * g.out_w * c;
  if (index != nullptr) {
    max_pixels<true>(image, y + at, index + at, c, g, r);
  } else {
    max_pixels<false>(image, y + at, nullptr, c, g, r);
  }
}

// ---- average

NONET_INLINE void add_to(float* out, const float* x, int64_t n) {
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    store_lanes(out + i, load_lanes(out + i, lanes) + load_lanes(x + i, lanes), lanes);
  });
}

float sum_of(const float* x, int64_t n) {
  if (n < 2 * width) {
    float total = 0;
    for (int64_t i = 0; i < n; ++i) total += x[i];
    return total;
  }
  F total{};
  for_vectors(n, [&](int64_t i, int64_t lanes) { total += load_lanes(x + i, lanes); });
  return sum(total);
}

void avg_plain(const float* x, float* y, int64_t planes, const PoolGeometry& g, float* scratch) {
  for (int64_t row = 0; row < planes * g.out_h; ++row) {
    const float* plane = x + row / g.out_h * g.h * g.w;
    const PoolWindow& r = g.rows[row % g.out_h];
    for (int64_t i = 0; i < g.w; ++i) scratch[i] = 0;
    for (int64_t h = r.begin; h < r.end; ++h) add_to(scratch, plane + h * g.w, g.w);
    for (int64_t o = 0; o < g.out_w; ++o) {
      const PoolWindow& q = g.columns[o];
      y[row * g.out_w + o] = sum_of(scratch + q.begin, q.end - q.begin) / (r.count * q.count);
    }
  }
}

// dx is overwritten.
void avg_plain_backward(const float* dy, float* dx, int64_t planes, const PoolGeometry& g, float* scratch) {
  for (int64_t i = 0; i < planes * g.h * g.w; ++i) dx[i] = 0;
  for (int64_t row = 0; row < planes * g.out_h; ++row) {
    float* plane = dx + row / g.out_h * g.h * g.w;
    const PoolWindow& r = g.rows[row % g.out_h];
    for (int64_t i = 0; i < g.w; ++i) scratch[i] = 0;
    for (int64_t o = 0; o < g.out_w; ++o) {
      const PoolWindow& q = g.columns[o];
      const float d = dy[row * g.out_w + o] / (r.count * q.count);
      for (int64_t w = q.begin; w < q.end; ++w) scratch[w] += d;
    }
    for (int64_t h = r.begin; h < r.end; ++h) add_to(plane + h * g.w, scratch, g.w);
  }
}

// 1 / count where that is exact, so that a product is the quotient, else 0.
NONET_INLINE float exact_share(float count) {
  const float share = 1.f / count;
  return (as_int(broadcast(share))[0] & 0x7fffff) == 0 ? share : 0.f;
}
NONET_INLINE F divided(F sum, F count, float share) {
  return share != 0.f ? sum * share : sum / count;
}

// One output pixel; the pixels of its window are read one after the other, in the order memory has them.
void avg_long(const float* image, float* y, int64_t c, const PoolGeometry& g, const PoolWindow& r,
              const PoolWindow& q) {
  const F count = broadcast(r.count * q.count);
  const float share = exact_share(r.count * q.count);
  bool first = true;
  for (int64_t h = r.begin; h < r.end; ++h) {
    for (int64_t w = q.begin; w < q.end; ++w) {
      const float* from = image + (h * g.w + w) * c;
      const bool last = h + 1 == r.end && w + 1 == q.end;
      for_vectors(c, [=](int64_t i, int64_t lanes) {
        F total = load_lanes(from + i, lanes);
        if (!first) total += load_lanes(y + i, lanes);
        store_lanes(y + i, last ? divided(total, count, share) : total, lanes);
      });
      first = false;
    }
  }
}

void avg_nhwc(const float* x, float* y, int64_t c, const PoolGeometry& g, int64_t row) {
  const float* image = x + row / g.out_h * g.h * g.w * c;
  const PoolWindow& r = g.rows[row % g.out_h];
  for (int64_t o = 0; o < g.out_w; ++o) {
    const PoolWindow& q = g.columns[o];
    const F count = broadcast(r.count * q.count);
    const float share = exact_share(r.count * q.count);
    if (c >= long_pixel && r.begin < r.end && q.begin < q.end) {
      avg_long(image, y + (row * g.out_w + o) * c, c, g, r, q);
      continue;
    }
    for_vectors(c, [=](int64_t i, int64_t lanes) {
      F total{};
      for (int64_t h = r.begin; h < r.end; ++h) {
        for (int64_t w = q.begin; w < q.end; ++w) total += load_lanes(image + (h * g.w + w) * c + i, lanes);
      }
      store_lanes(y + (row * g.out_w + o) * c + i, divided(total, count, share), lanes);
    });
  }
}

// Channels [begin, end) of rows [from, to) of dx.
void clear_rows(float* dx, int64_t c, int64_t begin, int64_t end, const PoolGeometry& g, int64_t from, int64_t to) {
  for (int64_t pixel = from * g.w; pixel < to * g.w; ++pixel) {
    for_vectors(end - begin, [&](int64_t i, int64_t lanes) { store_lanes(dx + pixel * c + begin + i, F{}, lanes); });
  }
}

// Whether no two windows share an element and none is left out, so that each is written once.
bool tiles(const PoolWindow* windows, int64_t count, int64_t step, int64_t n) {
  int64_t next = 0;
  for (int64_t o = 0; o < count; ++o) {
    if (windows[o].begin != next || step != 1) return false;
    next = windows[o].end;
  }
  return next == n;
}

// body(output pixel, row window, column window, add) over all outputs of an image in order; add: elements of dx hold
// sums. Rows of dx are cleared just before they are reached first, so that they are in cache then.
template <class Body>
NONET_INLINE void for_windows(float* dx, int64_t c, int64_t begin, int64_t end, const PoolGeometry& g,
                              const Body& body) {
  const bool once = tiles(g.rows, g.out_h, g.step_h, g.h) && tiles(g.columns, g.out_w, g.step_w, g.w);
  int64_t cleared = once ? g.h : 0;
  for (int64_t row = 0; row < g.out_h; ++row) {
    const PoolWindow& r = g.rows[row];
    const int64_t reach = r.end > r.begin ? r.end : r.begin + 1;
    if (reach > cleared) {
      clear_rows(dx, c, begin, end, g, cleared, reach);
      cleared = reach;
    }
    for (int64_t o = 0; o < g.out_w; ++o) body(row * g.out_w + o, r, g.columns[o], !once);
  }
  if (cleared < g.h) clear_rows(dx, c, begin, end, g, cleared, g.h);
}

// to (+)= part
NONET_INLINE void put(float* to, F part, bool add, int64_t lanes) {
  store_lanes(to, add ? load_lanes(to, lanes) + part : part, lanes);
}

void max_nhwc_backward(const float* dy, const int32_t* index, float* dx, int64_t c, int64_t begin, int64_t end,
                       const PoolGeometry& g) {
  const int64_t channels = end - begin;
  for_windows(dx, c, begin, end, g, [&](int64_t o, const PoolWindow& r, const PoolWindow& q, bool add) {
    const float* from = dy + o * c + begin;
    const int32_t* places = index + o * c + begin;
    float* to = dx + begin;
    if (r.begin == r.end || q.begin == q.end) {  // in the padding throughout: the index is a position outside of it
      for (int64_t i = 0; i < channels; ++i) to[places[i] * c + i] += from[i];
    } else if (channels <= width) {
      const F d = load_lanes(from, channels);
      const I at = load_int(places, channels);
      for (int64_t h = r.begin; h < r.end; h += g.step_h) {
        for (int64_t w = q.begin; w < q.end; w += g.step_w)
          put(to + (h * g.w + w) * c, at == fill_int(h * g.w + w) ? d : F{}, add, channels);
      }
    } else {  // memory is written in the order of pixels
      for (int64_t h = r.begin; h < r.end; h += g.step_h) {
        for (int64_t w = q.begin; w < q.end; w += g.step_w) {
          float* pixel = to + (h * g.w + w) * c;
          for_vectors(channels, [=](int64_t i, int64_t lanes) {
            const I at = load_int(places + i, lanes);
            put(pixel + i, at == fill_int(h * g.w + w) ? load_lanes(from + i, lanes) : F{}, add, lanes);
          });
        }
      }
    }
  });
}

void avg_nhwc_backward(const float* dy, float* dx, int64_t c, int64_t begin, int64_t end, const PoolGeometry& g) {
  for_windows(dx, c, begin, end, g, [&](int64_t o, const PoolWindow& r, const PoolWindow& q, bool add) {
    const F count = broadcast(r.count * q.count);
    const float share = exact_share(r.count * q.count);
    for (int64_t h = r.begin; h < r.end; ++h) {
      for (int64_t w = q.begin; w < q.end; ++w) {
        float* to = dx + (h * g.w + w) * c + begin;
        for_vectors(end - begin, [=](int64_t i, int64_t lanes) {
          put(to + i, divided(load_lanes(dy + o * c + begin + i, lanes), count, share), add, lanes);
        });
      }
    }
  });
}

}  // namespace

constinit const PoolKernels pool_kernels = {max_plain, max_nhwc,          avg_plain,        avg_plain_backward,
                                            avg_nhwc,  max_nhwc_backward, avg_nhwc_backward};

}  // namespace nonet::NONET_NS
