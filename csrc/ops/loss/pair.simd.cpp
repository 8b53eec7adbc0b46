#include "ops/loss/pair.h"

#include "simd/math.h"

namespace nonet::NONET_NS {

namespace {

typedef double D __attribute__((vector_size(8 * NONET_WIDTH)));

// A vector of operands, and what a loss makes of it.
struct In {
  F x, y, a, b;
  F c;
  bool full;
};
struct Out {
  F x{}, y{}, a{};
};

// k v, where nothing times infinity is nothing.
NONET_INLINE F times(F k, F v) {
  return k == 0.f ? F{} : k * v;
}
NONET_INLINE F sign(F x) {
  return x > 0.f ? broadcast(1.f) : (x < 0.f ? broadcast(-1.f) : x);
}
NONET_INLINE F positive(F x) {
  return x > 0.f ? x : (x != x ? x : F{});
}

struct L1 {
  NONET_INLINE F loss(const In& in) { return in.a * abs(in.x - in.y); }
  NONET_INLINE Out gradient(const In& in) {
    const F d = in.a * sign(in.x - in.y);
    return {d, -d, abs(in.x - in.y)};
  }
};

struct Mse {
  NONET_INLINE F loss(const In& in) {
    const F e = in.x - in.y;
    return in.a * e * e;
  }
  NONET_INLINE Out gradient(const In& in) {
    const F e = in.x - in.y;
    const F d = 2.f * in.a * e;
    return {d, -d, e * e};
  }
};

struct SmoothL1 {
  NONET_INLINE F loss(const In& in) {
    const F e = abs(in.x - in.y);
    return e < in.c ? 0.5f * e * e / in.c : e - 0.5f * in.c;
  }
  NONET_INLINE Out gradient(const In& in) {
    const F e = in.x - in.y;
    const F d = abs(e) < in.c ? e / in.c : sign(e);
    return {d, -d, F{}};
  }
};

struct Huber {
  NONET_INLINE F unweighted(const In& in) {
    const F e = abs(in.x - in.y);
    return e <= in.c ? 0.5f * e * e : in.c * (e - 0.5f * in.c);
  }
  NONET_INLINE F loss(const In& in) { return in.a * unweighted(in); }
  NONET_INLINE Out gradient(const In& in) {
    const F e = in.x - in.y;
    const F d = in.a * (abs(e) <= in.c ? e : in.c * sign(e));
    return {d, -d, unweighted(in)};
  }
};

struct KlDiv {
  NONET_INLINE F loss(const In& in) { return times(in.y, log(in.y) - in.x); }
  NONET_INLINE Out gradient(const In& in) { return {-in.y, log(in.y) + 1.f - in.x, F{}}; }
};

struct KlDivLog {
  NONET_INLINE F loss(const In& in) { return times(exp(in.y), in.y - in.x); }
  NONET_INLINE Out gradient(const In& in) {
    const F p = exp(in.y);
    return {-p, times(p, in.y - in.x + 1.f), F{}};
  }
};

struct Bce {
  NONET_INLINE F bounded(F v) { return maximum(v, broadcast(-100.f)); }
  NONET_INLINE F unweighted(const In& in) { return (in.y - 1.f) * bounded(log1p(-in.x)) - in.y * bounded(log(in.x)); }
  NONET_INLINE F loss(const In& in) { return in.a * unweighted(in); }
  NONET_INLINE Out gradient(const In& in) {
    const F slope = maximum((1.f - in.x) * in.x, broadcast(1e-12f));
    return {in.a * (in.x - in.y) / slope, in.a * (bounded(log1p(-in.x)) - bounded(log(in.x))), unweighted(in)};
  }
};

struct BceLogits {
  NONET_INLINE F unweighted(const In& in) {
    const F tail = log1p(exp(-abs(in.x)));
    return times(in.b * in.y, positive(-in.x) + tail) + times(1.f - in.y, positive(in.x) + tail);
  }
  NONET_INLINE F loss(const In& in) { return times(in.a, unweighted(in)); }
  NONET_INLINE Out gradient(const In& in) {
    const F tail = log1p(exp(-abs(in.x)));
    const F dx = (1.f - in.y) * sigmoid(in.x) - in.b * in.y * sigmoid(-in.x);
    const F dy = in.b * (positive(-in.x) + tail) - (positive(in.x) + tail);
    return {in.a * dx, in.a * dy, unweighted(in)};
  }
};

constexpr float log_two_pi = 1.83787707f;

NONET_INLINE F stirling(F y) {
  return y > 1.f ? y * log(y) - y + 0.5f * (log_two_pi + log(y)) : F{};
}
// NaN for y <= 0, where the logarithm has no slope, as in torch.
NONET_INLINE F stirling_slope(F y) {
  return y > 1.f ? log(y) + 0.5f / y : 0.f * log(y);
}

struct Poisson {
  NONET_INLINE F loss(const In& in) {
    const F out = in.x - times(in.y, log(in.x + in.c));
    return in.full ? out + stirling(in.y) : out;
  }
  NONET_INLINE Out gradient(const In& in) {
    const F dy = -log(in.x + in.c);
    return {1.f - in.y / (in.x + in.c), in.full ? dy + stirling_slope(in.y) : dy, F{}};
  }
};

struct PoissonLog {
  NONET_INLINE F loss(const In& in) {
    const F out = exp(in.x) - times(in.y, in.x);
    return in.full ? out + stirling(in.y) : out;
  }
  NONET_INLINE Out gradient(const In& in) {
    return {exp(in.x) - in.y, in.full ? stirling_slope(in.y) - in.x : -in.x, F{}};
  }
};

struct Gaussian {
  NONET_INLINE F loss(const In& in) {
    const F v = maximum(in.a, in.c);
    const F e = in.x - in.y;
    const F out = 0.5f * (log(v) + e * e / v);
    return in.full ? out + 0.5f * log_two_pi : out;
  }
  NONET_INLINE Out gradient(const In& in) {
    const F v = maximum(in.a, in.c);
    const F e = in.x - in.y;
    const F q = e / v;
    return {q, -q, 0.5f * (1.f / v - q * q)};
  }
};

struct SoftMargin {
  NONET_INLINE F loss(const In& in) { return softplus(-in.y * in.x); }
  NONET_INLINE Out gradient(const In& in) {
    const F s = sigmoid(-in.y * in.x);
    return {-in.y * s, -in.x * s, F{}};
  }
};

struct HingeEmbedding {
  NONET_INLINE F loss(const In& in) { return in.y == 1.f ? in.x : (in.y == -1.f ? positive(in.c - in.x) : F{}); }
  NONET_INLINE Out gradient(const In& in) {
    const F apart = in.x <= in.c ? broadcast(-1.f) : F{};
    return {in.y == 1.f ? broadcast(1.f) : (in.y == -1.f ? apart : F{}), F{}, F{}};
  }
};

struct MarginRanking {
  NONET_INLINE F loss(const In& in) { return positive(in.c - in.a * (in.x - in.y)); }
  NONET_INLINE Out gradient(const In& in) {
    const I on = in.c - in.a * (in.x - in.y) >= 0.f;
    const F d = on ? in.a : F{};
    return {-d, d, on ? in.y - in.x : F{}};
  }
};

NONET_INLINE In operands(const PairOperands& p, int64_t i, int64_t lanes) {
  const F one = broadcast(1.f);
  return {load_lanes(p.x + i, lanes),
          load_lanes(p.y + i, lanes),
          p.a == nullptr ? one : load_lanes(p.a + i, lanes),
          p.b == nullptr ? one : load_lanes(p.b + i, lanes),
          broadcast(p.c),
          p.full};
}

template <class Rule>
void forward_rule(const PairOperands& in, float* loss, double* sums, int64_t n) {
  parallel_for(n, pair_block, [&](int64_t begin, int64_t end) {
    D sum{};
    for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
      const F v = Rule{}.loss(operands(in, begin + i, lanes));
      if (loss != nullptr) {
        store_lanes(loss + begin + i, v, lanes);
      } else {
        sum += __builtin_convertvector(lanes == width ? v : keep_lanes(v, lanes, 0.f), D);
      }
    });
    if (loss != nullptr) return;
    double total = 0;
    for (int lane = 0; lane < width; ++lane) total += sum[lane];
    sums[begin / pair_block] = total;
  });
}

template <class Rule>
void backward_rule(const PairOperands& in, const float* dloss, bool uniform, float scale, const PairGradients& out,
                   int64_t n) {
  parallel_for(n, pair_block, [&](int64_t begin, int64_t end) {
    const F whole = broadcast(uniform ? *dloss * scale : 0.f);
    for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
      const int64_t at = begin + i;
      const F g = uniform ? whole : load_lanes(dloss + at, lanes) * scale;
      const Out d = Rule{}.gradient(operands(in, at, lanes));
      if (out.x != nullptr) store_lanes(out.x + at, g * d.x, lanes);
      if (out.y != nullptr) store_lanes(out.y + at, g * d.y, lanes);
      if (out.a != nullptr) store_lanes(out.a + at, g * d.a, lanes);
    });
  });
}

template <class Rule>
struct As {
  using type = Rule;
};

template <class Body>
void with_rule(PairLoss kind, const Body& body) {
  switch (kind) {
    case PairLoss::l1:
      return body(As<L1>{});
    case PairLoss::mse:
      return body(As<Mse>{});
    case PairLoss::smooth_l1:
      return body(As<SmoothL1>{});
    case PairLoss::huber:
      return body(As<Huber>{});
    case PairLoss::kl_div:
      return body(As<KlDiv>{});
    case PairLoss::kl_div_log:
      return body(As<KlDivLog>{});
    case PairLoss::bce:
      return body(As<Bce>{});
    case PairLoss::bce_logits:
      return body(As<BceLogits>{});
    case PairLoss::poisson:
      return body(As<Poisson>{});
    case PairLoss::poisson_log:
      return body(As<PoissonLog>{});
    case PairLoss::gaussian:
      return body(As<Gaussian>{});
    case PairLoss::soft_margin:
      return body(As<SoftMargin>{});
    case PairLoss::hinge_embedding:
      return body(As<HingeEmbedding>{});
    case PairLoss::margin_ranking:
      return body(As<MarginRanking>{});
  }
}

void forward(PairLoss kind, const PairOperands& in, float* loss, double* sums, int64_t n) {
  with_rule(kind, [&](auto rule) { forward_rule<typename decltype(rule)::type>(in, loss, sums, n); });
}

void backward(PairLoss kind, const PairOperands& in, const float* dloss, bool uniform, float scale,
              const PairGradients& out, int64_t n) {
  with_rule(kind, [&](auto rule) { backward_rule<typename decltype(rule)::type>(in, dloss, uniform, scale, out, n); });
}

bool inside(const float* x, int64_t n, float low, float high) {
  int outside = 0;
  parallel_for(n, 4 * pair_block, [&](int64_t begin, int64_t end) {
    I bad{};
    for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
      const F v = load_lanes(x + begin + i, lanes);
      bad |= ~((v >= low) & (v <= high)) & (lane_numbers() < static_cast<int32_t>(lanes));
    });
    for (int lane = 0; lane < width; ++lane) {
      if (bad[lane] != 0) __atomic_store_n(&outside, 1, __ATOMIC_RELAXED);
    }
  });
  return outside == 0;
}

}  // namespace

constinit const PairLossKernels pair_loss_kernels = {forward, backward, inside};

}  // namespace nonet::NONET_NS
