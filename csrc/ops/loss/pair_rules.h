// The losses of pair.h, once for the CPU and for GPUs: F is a vector of simd/vec.h or a float of cuda/scalar.cuh, one
// of which is included before.
#pragma once

#include "ops/loss/pair.h"

namespace nonet::NONET_NS {

namespace pair {

// Elements of the operands, and what a loss makes of them.
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

template <class Body>
void visit_rule(PairLoss kind, const Body& body) {
  switch (kind) {
    case PairLoss::l1:
      return body(L1{});
    case PairLoss::mse:
      return body(Mse{});
    case PairLoss::smooth_l1:
      return body(SmoothL1{});
    case PairLoss::huber:
      return body(Huber{});
    case PairLoss::kl_div:
      return body(KlDiv{});
    case PairLoss::kl_div_log:
      return body(KlDivLog{});
    case PairLoss::bce:
      return body(Bce{});
    case PairLoss::bce_logits:
      return body(BceLogits{});
    case PairLoss::poisson:
      return body(Poisson{});
    case PairLoss::poisson_log:
      return body(PoissonLog{});
    case PairLoss::gaussian:
      return body(Gaussian{});
    case PairLoss::soft_margin:
      return body(SoftMargin{});
    case PairLoss::hinge_embedding:
      return body(HingeEmbedding{});
    case PairLoss::margin_ranking:
      return body(MarginRanking{});
  }
}

}  // namespace pair

}  // namespace nonet::NONET_NS
