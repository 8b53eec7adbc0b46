#include "ops/optim/optim.h"

#include "simd/math.h"
//
#include "ops/optim/rules.h"

namespace nonet::NONET_NS {

namespace {

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
    move<Rule>(x, load_lanes(g + i, lanes), v, f);
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
  visit_rule(rule, [&](auto chosen) { step_rule<decltype(chosen)>(blocks, count); });
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
