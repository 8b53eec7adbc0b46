// The rules of the optimizers, once for the CPU and for GPUs: F is a vector of simd/vec.h or a float of
// cuda/scalar.cuh, one of which is included before.
#pragma once

#include "ops/optim/optim.h"

namespace nonet::NONET_NS {

// Rule::step(p, g, s, f) moves elements p of a parameter and their states s by the gradient g.
struct Sgd {
  static constexpr int states = 1;
  NONET_INLINE void step(F& p, F g, F (&s)[3], const OptimFactors& f) {
    if (f.momentum != 0.f) {
      s[0] = f.first ? g : fma(broadcast(f.momentum), s[0], f.fresh * g);
      g = f.option ? fma(broadcast(f.momentum), s[0], g) : s[0];
    }
    p = fma(broadcast(-f.rate), g, p);
  }
};

NONET_INLINE void moments(F g, F (&s)[3], const OptimFactors& f) {
  s[0] = fma(g - s[0], broadcast(f.fresh), s[0]);
  s[1] = fma(broadcast(f.keep_v), s[1], f.fresh_v * g * g);
}

struct Adam {
  static constexpr int states = 3;
  NONET_INLINE void step(F& p, F g, F (&s)[3], const OptimFactors& f) {
    moments(g, s, f);
    if (f.option) s[2] = maximum(s[2], s[1]);
    const F v = f.option ? s[2] : s[1];
    p -= f.rate * s[0] / fma(sqrt(v), broadcast(f.scale_v), broadcast(f.eps));
  }
};

struct RmsProp {
  static constexpr int states = 3;
  NONET_INLINE void step(F& p, F g, F (&s)[3], const OptimFactors& f) {
    s[0] = fma(broadcast(f.keep_v), s[0], f.fresh_v * g * g);
    F v = s[0];
    if (f.option) {
      s[2] = fma(g - s[2], broadcast(f.fresh_v), s[2]);
      v = maximum(v - s[2] * s[2], F{});  // a variance; rounding may take it below zero
    }
    F d = g / (sqrt(v) + f.eps);
    if (f.momentum != 0.f) d = s[1] = fma(broadcast(f.momentum), s[1], d);
    p = fma(broadcast(-f.rate), d, p);
  }
};

struct Adagrad {
  static constexpr int states = 1;
  NONET_INLINE void step(F& p, F g, F (&s)[3], const OptimFactors& f) {
    s[0] = fma(g, g, s[0]);
    p -= f.rate * g / (sqrt(s[0]) + f.eps);
  }
};

struct NAdam {
  static constexpr int states = 2;
  NONET_INLINE void step(F& p, F g, F (&s)[3], const OptimFactors& f) {
    moments(g, s, f);
    const F d = fma(sqrt(s[1]), broadcast(f.scale_v), broadcast(f.eps));
    p -= fma(broadcast(f.rate), s[0], f.rate_g * g) / d;
  }
};

struct RAdam {
  static constexpr int states = 2;
  NONET_INLINE void step(F& p, F g, F (&s)[3], const OptimFactors& f) {
    moments(g, s, f);
    const F d = f.rate * s[0];
    p -= f.option ? d / (sqrt(s[1]) + f.eps) : d;
  }
};

struct Adadelta {
  static constexpr int states = 2;
  NONET_INLINE void step(F& p, F g, F (&s)[3], const OptimFactors& f) {
    s[0] = fma(broadcast(f.keep_v), s[0], f.fresh_v * g * g);
    const F d = sqrt(s[1] + f.eps) / sqrt(s[0] + f.eps) * g;
    s[1] = fma(broadcast(f.keep_v), s[1], f.fresh_v * d * d);
    p = fma(broadcast(-f.rate), d, p);
  }
};

struct Adamax {
  static constexpr int states = 2;
  NONET_INLINE void step(F& p, F g, F (&s)[3], const OptimFactors& f) {
    s[0] = fma(g - s[0], broadcast(f.fresh), s[0]);
    s[1] = maximum(f.keep_v * s[1], abs(g) + f.eps);
    p -= f.rate * s[0] / s[1];
  }
};

// All of a step: f.sign, f.decay and f.keep are every rule's.
template <class Rule>
NONET_INLINE void move(F& p, F g, F (&s)[3], const OptimFactors& f) {
  g = f.sign * g;
  if (f.decay != 0.f) g = fma(broadcast(f.decay), p, g);
  p *= f.keep;
  Rule::step(p, g, s, f);
}

// body(Rule{}).
template <class Body>
static inline void visit_rule(OptimRule rule, const Body& body) {
  switch (rule) {
    case OptimRule::sgd:
      return body(Sgd{});
    case OptimRule::adam:
      return body(Adam{});
    case OptimRule::rmsprop:
      return body(RmsProp{});
    case OptimRule::adagrad:
      return body(Adagrad{});
    case OptimRule::nadam:
      return body(NAdam{});
    case OptimRule::radam:
      return body(RAdam{});
    case OptimRule::adadelta:
      return body(Adadelta{});
    case OptimRule::adamax:
      return body(Adamax{});
  }
}

}  // namespace nonet::NONET_NS
