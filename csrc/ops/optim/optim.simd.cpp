#include "ops/optim/optim.h"

#include "simd/math.h"

namespace nonet::NONET_NS {

namespace {

// A vector of one parameter's elements: moves p and the states s by the gradient g.
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

template <class Rule, class T>
void step_block(const OptimBlock& block) {
  const OptimRun& run = *block.run;
  const OptimFactors f = run.factors;
  T* p = static_cast<T*>(run.param) + block.begin;
  const T* g = static_cast<const T*>(run.grad) + block.begin;
  float* s[3];
  for (int k = 0; k < Rule::states; ++k) s[k] = run.state[k] == nullptr ? nullptr : run.state[k] + block.begin;
  for_vectors(block.end - block.begin, [&](int64_t i, int64_t lanes) {
    F x = load_lanes(p + i, lanes);
    F v[3] = {};
#pragma GCC unroll 3
    for (int k = 0; k < Rule::states; ++k) {
      if (s[k] != nullptr) v[k] = load_lanes(s[k] + i, lanes);
    }
    F d = f.sign * load_lanes(g + i, lanes);
    if (f.decay != 0.f) d = fma(broadcast(f.decay), x, d);
    x *= f.keep;
    Rule::step(x, d, v, f);
    store_lanes(p + i, x, lanes);
#pragma GCC unroll 3
    for (int k = 0; k < Rule::states; ++k) {
      if (s[k] != nullptr) store_lanes(s[k] + i, v[k], lanes);
    }
  });
}

template <class Rule>
void step_rule(const OptimBlock* blocks, int64_t count) {
  parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      if (blocks[b].run->bf16) {
        step_block<Rule, bfloat16>(blocks[b]);
      } else {
        step_block<Rule, float>(blocks[b]);
      }
    }
  });
}

void step(OptimRule rule, const OptimBlock* blocks, int64_t count) {
  switch (rule) {
    case OptimRule::sgd:
      return step_rule<Sgd>(blocks, count);
    case OptimRule::adam:
      return step_rule<Adam>(blocks, count);
    case OptimRule::rmsprop:
      return step_rule<RmsProp>(blocks, count);
    case OptimRule::adagrad:
      return step_rule<Adagrad>(blocks, count);
    case OptimRule::nadam:
      return step_rule<NAdam>(blocks, count);
    case OptimRule::radam:
      return step_rule<RAdam>(blocks, count);
    case OptimRule::adadelta:
      return step_rule<Adadelta>(blocks, count);
    case OptimRule::adamax:
      return step_rule<Adamax>(blocks, count);
  }
}

typedef double D __attribute__((vector_size(8 * NONET_WIDTH)));

template <class T>
double norm_block(const T* x, int64_t n, double p) {
  D total{};
  F largest{};
  double powers = 0;
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    const F a = abs(load_lanes(x + i, lanes));
    const D d = __builtin_convertvector(a, D);
    if (p == 2.) {
      total += d * d;
    } else if (p == 1.) {
      total += d;
    } else if (p == __builtin_inf()) {
      largest = maximum(a, largest);
    } else {
      for (int64_t lane = 0; lane < lanes; ++lane) powers += __builtin_pow(d[lane], p);
    }
  });
  if (p == __builtin_inf()) return maximum(largest);
  for (int lane = 0; lane < width; ++lane) powers += total[lane];
  return powers;
}

double norm(const void* x, bool bf16, int64_t n, double p) {
  return bf16 ? norm_block(static_cast<const bfloat16*>(x), n, p) : norm_block(static_cast<const float*>(x), n, p);
}

template <class T, class Map>
void map_block(T* x, int64_t n, const Map& map) {
  for_vectors(n, [&](int64_t i, int64_t lanes) { store_lanes(x + i, map(load_lanes(x + i, lanes)), lanes); });
}

void scale(void* x, bool bf16, int64_t n, float factor) {
  const auto map = [&](F v) { return v * factor; };
  bf16 ? map_block(static_cast<bfloat16*>(x), n, map) : map_block(static_cast<float*>(x), n, map);
}

void clamp(void* x, bool bf16, int64_t n, float bound) {
  const auto map = [&](F v) { return maximum(minimum(v, broadcast(bound)), broadcast(-bound)); };
  bf16 ? map_block(static_cast<bfloat16*>(x), n, map) : map_block(static_cast<float*>(x), n, map);
}

}  // namespace

constinit const OptimKernels optim_kernels = {step, norm, scale, clamp};

}  // namespace nonet::NONET_NS
