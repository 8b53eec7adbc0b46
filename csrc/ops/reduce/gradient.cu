#include <cmath>

#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/reduce/reduce.h"

namespace nonet::NONET_CUDA_NS {

namespace {

template <class T>
struct Saved {
  const T* dy;
  const T* y;
  const T* mean;
  const float* ties;
  double number;
};

// A rule computes what all elements of a result share, and from it and x an element of dx. pack: of x and dx, 1 for
// what is not common.
template <class T>
struct SumRule {
  static constexpr int pack = pack_size<T>();
  static constexpr bool reads_x = false;
  NONET_DEVICE float shared(const Saved<T>& s, int64_t result) const {
    return as_float(s.dy[result]) * static_cast<float>(s.number);
  }
  NONET_DEVICE float element(float d, float) const { return d; }
};

struct Slope {
  float at;
  float d;
};

template <class T>
struct ExtremeRule {
  static constexpr int pack = 1;
  static constexpr bool reads_x = true;
  NONET_DEVICE Slope shared(const Saved<T>& s, int64_t result) const {
    return {as_float(s.y[result]), as_float(s.dy[result]) / s.ties[result]};
  }
  NONET_DEVICE float element(Slope s, float x) const { return x == s.at || (x != x && s.at != s.at) ? s.d : 0.f; }
};

template <class T>
struct LogSumExpRule {
  static constexpr int pack = 4;
  static constexpr bool reads_x = true;
  // Where all of x is -inf, so is y: the gradient there is 0, not exp(-inf + inf).
  NONET_DEVICE Slope shared(const Saved<T>& s, int64_t result) const {
    const float y = as_float(s.y[result]);
    return {y == -INFINITY ? 0.f : y, as_float(s.dy[result])};
  }
  NONET_DEVICE float element(Slope s, float x) const { return expf(x - s.at) * s.d; }
};

template <class T>
struct VarianceRule {
  static constexpr int pack = 4;
  static constexpr bool reads_x = true;
  bool root;
  NONET_DEVICE Slope shared(const Saved<T>& s, int64_t result) const {
    const float freedom = static_cast<float>(s.number);
    const float g = as_float(s.dy[result]);
    const float y = root ? as_float(s.y[result]) : 1.f;
    return {as_float(s.mean[result]), root ? (y == 0.f ? 0.f : g / (y * freedom)) : 2.f * g / freedom};
  }
  NONET_DEVICE float element(Slope s, float x) const { return (x - s.at) * s.d; }
};

template <class T>
struct EuclideanRule {
  static constexpr int pack = 4;
  static constexpr bool reads_x = true;
  NONET_DEVICE Slope shared(const Saved<T>& s, int64_t result) const {
    return {as_float(s.y[result]), as_float(s.dy[result])};
  }
  NONET_DEVICE float element(Slope s, float x) const { return s.at == 0.f ? 0.f * s.d : x / s.at * s.d; }
};

struct NormSlope {
  float norm;
  float d;
  float ties;
  float p;
};

template <class T>
struct NormRule {
  static constexpr int pack = 1;
  static constexpr bool reads_x = true;
  NONET_DEVICE NormSlope shared(const Saved<T>& s, int64_t result) const {
    return {as_float(s.y[result]), as_float(s.dy[result]), s.ties != nullptr ? s.ties[result] : 0.f,
            static_cast<float>(s.number)};
  }
  NONET_DEVICE float element(const NormSlope& s, float x) const {
    const float sign = x > 0.f ? 1.f : (x < 0.f ? -1.f : x);  // of NaN: NaN
    float slope = 0.f;
    if (fabsf(s.p) == INFINITY) {
      slope = fabsf(x) == s.norm || x != x ? sign / s.ties : 0.f;
    } else if (s.p == 1.f) {
      slope = sign;
    } else if (s.p != 0.f && x != 0.f && s.norm != 0.f) {
      slope = sign * powf(fabsf(x) / s.norm, s.p - 1.f);
    }
    return slope * s.d;
  }
};

// A pack lies in one row (inner = 1) or beside each other in several columns.
template <class Rule, class T>
struct Gradient {
  Rule rule;

  NONET_DEVICE void operator()(const Saved<T>& saved, const T* x, T* dx, int64_t outer, int64_t n,
                               int64_t inner) const {
    constexpr int pack = Rule::pack;
    const bool packed = (inner == 1 ? n : inner) % pack == 0 && is_aligned<pack>(dx) && is_aligned<pack>(x);
    for_long_packs<pack>(outer * n * inner, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      Pack<T, size> v{};
      if constexpr (Rule::reads_x) v = load_pack<size>(x + i);
      const int64_t row = quotient(i, inner);
      const int64_t result = quotient(row, n) * inner + i - row * inner;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) {
        const auto shared = rule.shared(saved, inner == 1 ? result : result + k);
        v[k] = from_float<T>(rule.element(shared, as_float(v[k])));
      }
      store_pack(dx + i, v);
    });
  }
};

template <class T, class Body>
void visit_rule(ReduceGradient rule, double number, const Body& body) {
  switch (rule) {
    case ReduceGradient::sum:
      return body(SumRule<T>{});
    case ReduceGradient::extreme:
      return body(ExtremeRule<T>{});
    case ReduceGradient::logsumexp:
      return body(LogSumExpRule<T>{});
    case ReduceGradient::norm:
      return number == 2. ? body(EuclideanRule<T>{}) : body(NormRule<T>{});
    default:
      return body(VarianceRule<T>{rule == ReduceGradient::deviation});
  }
}

void run_gradient(Stream stream, ReduceGradient rule, DType dtype, const void* dy, const void* x, const void* y,
                  const void* mean, const float* ties, double number, void* dx, int64_t outer, int64_t n,
                  int64_t inner) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const Saved<T> saved{static_cast<const T*>(dy), static_cast<const T*>(y), static_cast<const T*>(mean), ties,
                         number};
    visit_rule<T>(rule, number, [&](auto chosen) {
      const Gradient<decltype(chosen), T> kernel{chosen};
      constexpr int pack = decltype(chosen)::pack;
      run_elements(stream, (outer * n * inner + pack - 1) / pack, kernel, saved, static_cast<const T*>(x),
                   static_cast<T*>(dx), outer, n, inner);
    });
  });
}

}  // namespace

NONET_DEVICE_TABLE(ReduceGradientDevice, simt, {run_gradient});

}  // namespace nonet::NONET_CUDA_NS
