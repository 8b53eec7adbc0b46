#include <cmath>
#include <limits>

#include "cuda/scalar.cuh"
#include "ops/reduce/fold.cuh"
#include "ops/reduce/moments.cuh"
#include "ops/softmax/online.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

// ---------------------------------------------------------------- folds of floats
struct FloatRule {
  using State = float;
  using Local = Nothing;
  FloatOutput out;
  float divisor;

  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE void finish(float state, int64_t, int64_t result) const { out.put(result, state / divisor); }
};

template <class T>
struct SumRule : OneInput<T>, FloatRule {
  NONET_DEVICE float identity() const { return 0.f; }
  template <class Items>
  NONET_DEVICE void take(float& state, Nothing, const Items& items, int k, int64_t) const {
    state += as_float(items[k]);
  }
  NONET_DEVICE float join(float a, float b) const { return a + b; }
};

// sign -1: the smallest, as the largest of -x.
template <class T>
struct LargestRule : OneInput<T>, FloatRule {
  float sign;
  NONET_DEVICE float identity() const { return -INFINITY; }
  template <class Items>
  NONET_DEVICE void take(float& state, Nothing, const Items& items, int k, int64_t) const {
    state = maximum(as_float(items[k]) * sign, state);
  }
  NONET_DEVICE float join(float a, float b) const { return maximum(a, b); }
  NONET_DEVICE void finish(float state, int64_t, int64_t result) const { out.put(result, state * sign); }
};

// ---------------------------------------------------------------- log-sum-exp, moments, norms
template <class T>
struct LogSumExpRule : OneInput<T>, SoftmaxState::Rule {
  using Local = Nothing;
  FloatOutput out;

  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  template <class Items>
  NONET_DEVICE void take(SoftmaxState& state, Nothing, const Items& items, int k, int64_t) const {
    state.take(as_float(items[k]));
  }
  NONET_DEVICE void finish(SoftmaxState state, int64_t, int64_t result) const {
    out.put(result, state.largest + logf(state.total));
  }
};

void logsumexp(Stream stream, DType dtype, const void* x, void* y, const ReducePlan& plan, void* parts) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const LogSumExpRule<T> rule{{static_cast<const T*>(x)}, {}, {y, dtype == DType::bfloat16}};
    run_fold(stream, rule, plan, begins_aligned(x), parts);
  });
}

template <class T>
struct MomentsRule : OneInput<T>, Distances::Rule {
  using Local = double;
  FloatOutput var;
  FloatOutput mean;
  int64_t n;
  double freedom;
  bool root;

  NONET_DEVICE double local(int64_t first, int64_t) const { return Distances::origin(as_float(this->x[first])); }
  template <class Items>
  NONET_DEVICE void take(Distances& state, double origin, const Items& items, int k, int64_t) const {
    state.take(as_float(items[k]), origin);
  }
  NONET_DEVICE void finish(Distances state, int64_t first, int64_t result) const {
    const double count = static_cast<double>(n);
    const double variance = state.squares_about_mean(count) / freedom;
    var.put(result, static_cast<float>(root ? ::sqrt(variance) : variance));
    mean.put(result, static_cast<float>(state.mean(count, n > 0 ? local(first, result) : 0.)));
  }
};

void moments(Stream stream, DType dtype, const void* x, void* var, void* mean, double freedom, bool root,
             const ReducePlan& plan, void* parts) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const bool bf16 = dtype == DType::bfloat16;
    const MomentsRule<T> rule{{static_cast<const T*>(x)}, {}, {var, bf16}, {mean, bf16}, plan.n, freedom, root};
    run_fold(stream, rule, plan, begins_aligned(x), parts);
  });
}

template <class T>
struct SquaresRule : OneInput<T> {
  using State = double;
  using Local = Nothing;
  FloatOutput out;

  NONET_DEVICE State identity() const { return 0; }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  template <class Items>
  NONET_DEVICE void take(State& state, Nothing, const Items& items, int k, int64_t) const {
    const double v = as_float(items[k]);
    state = ::fma(v, v, state);
  }
  NONET_DEVICE State join(State a, State b) const { return a + b; }
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const {
    out.put(result, static_cast<float>(::sqrt(state)));
  }
};

// ---------------------------------------------------------------- what is less common
// Of any dtype, which is looked at with every element, and one element at a time: small code for many uses.
struct AnyInput {
  static constexpr int pack = 1;
  const void* x;
  DType dtype;

  NONET_DEVICE int head(int64_t) const { return 0; }
  NONET_DEVICE bool floating() const { return dtype == DType::float32 || dtype == DType::bfloat16; }
  NONET_DEVICE float real(int64_t i) const {
    return dtype == DType::bfloat16 ? as_float(static_cast<const bfloat16*>(x)[i]) : static_cast<const float*>(x)[i];
  }
  NONET_DEVICE int64_t integer(int64_t i) const {
    switch (dtype) {
      case DType::int64:
        return static_cast<const int64_t*>(x)[i];
      case DType::int32:
        return static_cast<const int32_t*>(x)[i];
      default:
        return static_cast<const uint8_t*>(x)[i];
    }
  }
};
struct FloatInput : AnyInput {
  template <int>
  NONET_DEVICE float load(int64_t at, int64_t) const {
    return real(at);
  }
};
struct IntegerInput : AnyInput {
  template <int>
  NONET_DEVICE int64_t load(int64_t at, int64_t) const {
    return integer(at);
  }
};

enum class Plain { product, norm_0, norm_1, norm_infinity, norm_minus_infinity };

struct PlainRule : FloatInput {
  using State = double;
  using Local = Nothing;
  FloatOutput out;
  Plain op;
  float divisor;

  NONET_DEVICE State identity() const {
    return op == Plain::product ? 1. : (op == Plain::norm_minus_infinity ? INFINITY : 0.);
  }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE void take(State& state, Nothing, float x, int, int64_t) const {
    const float v = fabsf(x);
    state = join(op == Plain::product ? x : (op == Plain::norm_0 ? (v != 0.f ? 1.f : 0.f) : v), state);
  }
  NONET_DEVICE State join(State a, State b) const {
    switch (op) {
      case Plain::product:
        return a * b;
      case Plain::norm_infinity:
        return a > b || a != a ? a : b;
      case Plain::norm_minus_infinity:
        return a < b || a != a ? a : b;
      default:
        return a + b;
    }
  }
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const {
    out.put(result, static_cast<float>(state) / divisor);
  }
};

struct PowerRule : FloatInput {
  static constexpr int batch = 1;  // powers are long
  using State = double;
  using Local = Nothing;
  FloatOutput out;
  double p;

  NONET_DEVICE State identity() const { return 0; }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE void take(State& state, Nothing, float x, int, int64_t) const {
    state += ::pow(static_cast<double>(fabsf(x)), p);
  }
  NONET_DEVICE State join(State a, State b) const { return a + b; }
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const {
    out.put(result, static_cast<float>(::pow(state, 1. / p)));
  }
};

struct TiesRule : FloatInput {
  using State = float;
  using Local = float;
  FloatInput y;
  float* count;
  bool absolute;

  NONET_DEVICE State identity() const { return 0; }
  NONET_DEVICE Local local(int64_t, int64_t result) const { return y.real(result); }
  NONET_DEVICE void take(State& state, float y, float x, int, int64_t) const {
    const float v = absolute ? fabsf(x) : x;
    state += v == y || (v != v && y != y) ? 1.f : 0.f;
  }
  NONET_DEVICE State join(State a, State b) const { return a + b; }
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const { count[result] = state; }
};

struct ExactRule : AnyInput {
  using State = int64_t;
  using Local = Nothing;
  ExactFold op;
  void* y;

  template <int>
  NONET_DEVICE int64_t load(int64_t at, int64_t) const {
    if (floating()) return real(at) != 0.f;
    const int64_t v = integer(at);
    return op < ExactFold::nonzero ? v : v != 0;
  }
  NONET_DEVICE State identity() const {
    switch (op) {
      case ExactFold::product:
      case ExactFold::all:
        return 1;
      case ExactFold::maximum:
        return std::numeric_limits<int64_t>::min();
      case ExactFold::minimum:
        return std::numeric_limits<int64_t>::max();
      default:
        return 0;
    }
  }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE void take(State& state, Nothing, int64_t x, int, int64_t) const { state = join(state, x); }
  NONET_DEVICE State join(State a, State b) const {
    switch (op) {
      case ExactFold::product:
        return static_cast<State>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
      case ExactFold::maximum:
        return a > b ? a : b;
      case ExactFold::minimum:
        return a < b ? a : b;
      case ExactFold::all:
        return a & b;
      case ExactFold::any:
        return a | b;
      default:
        return static_cast<State>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    }
  }
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const {
    const bool extreme = op == ExactFold::maximum || op == ExactFold::minimum;
    if (op == ExactFold::all || op == ExactFold::any || (extreme && dtype != DType::int64 && dtype != DType::int32)) {
      static_cast<uint8_t*>(y)[result] = static_cast<uint8_t>(state);
    } else if (extreme && dtype == DType::int32) {
      static_cast<int32_t*>(y)[result] = static_cast<int32_t>(state);
    } else {
      static_cast<int64_t*>(y)[result] = state;
    }
  }
};

// NaN wins; of equals the first. The smallest is the largest of -x, which for integers is ~x.
template <class Value>
struct Position {
  Value value;
  int64_t at;
};
template <class Value>
struct PositionRule {
  using State = Position<Value>;
  using Local = Nothing;
  void* values;
  int64_t* positions;
  bool largest;

  NONET_DEVICE State identity() const {
    constexpr int64_t nowhere = std::numeric_limits<int64_t>::max();
    return {std::is_same_v<Value, float> ? static_cast<Value>(-INFINITY) : std::numeric_limits<Value>::min(), nowhere};
  }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  NONET_DEVICE void take(State& state, Nothing, Value x, int, int64_t j) const { state = join(state, {turned(x), j}); }
  NONET_DEVICE State join(State a, State b) const {
    const bool a_nan = a.value != a.value;
    const bool b_nan = b.value != b.value;
    const bool tie = a_nan == b_nan && (a_nan || a.value == b.value);
    const bool first = tie ? a.at < b.at : (a_nan || (!b_nan && a.value > b.value));
    return {first ? a.value : b.value, first ? a.at : b.at};
  }
  NONET_DEVICE Value turned(Value x) const {
    if constexpr (std::is_same_v<Value, float>) {
      return largest ? x : -x;
    } else {
      return largest ? x : ~x;
    }
  }
};
struct FloatPositionRule : FloatInput, PositionRule<float> {
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const {
    FloatOutput{values, dtype == DType::bfloat16}.put(result, turned(state.value));
    positions[result] = state.at;
  }
};
struct IntegerPositionRule : IntegerInput, PositionRule<int64_t> {
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const {
    const int64_t value = turned(state.value);
    positions[result] = state.at;
    if (dtype == DType::int64) {
      static_cast<int64_t*>(values)[result] = value;
    } else if (dtype == DType::int32) {
      static_cast<int32_t*>(values)[result] = static_cast<int32_t>(value);
    } else {
      static_cast<uint8_t*>(values)[result] = static_cast<uint8_t>(value);
    }
  }
};

// ---------------------------------------------------------------- launchers
void fold(Stream stream, Fold op, DType dtype, const void* x, DType to, void* y, float divisor, const ReducePlan& plan,
          void* parts) {
  const FloatOutput out{y, to == DType::bfloat16};
  const bool aligned = begins_aligned(x);
  if (op == Fold::product) {
    return run_fold(stream, PlainRule{{x, dtype}, out, Plain::product, divisor}, plan, aligned, parts);
  }
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const OneInput<T> in{static_cast<const T*>(x)};
    if (op == Fold::sum) return run_fold(stream, SumRule<T>{in, {out, divisor}}, plan, aligned, parts);
    run_fold(stream, LargestRule<T>{in, {out, divisor}, op == Fold::maximum ? 1.f : -1.f}, plan, aligned, parts);
  });
}

void norm(Stream stream, DType dtype, const void* x, void* y, double p, const ReducePlan& plan, void* parts) {
  const FloatOutput out{y, dtype == DType::bfloat16};
  const bool aligned = begins_aligned(x);
  if (p == 2.) {
    return visit_floating(dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      run_fold(stream, SquaresRule<T>{{static_cast<const T*>(x)}, out}, plan, aligned, parts);
    });
  }
  if (std::isinf(p) || p == 0. || p == 1.) {
    const Plain op = p == 0.   ? Plain::norm_0
                     : p == 1. ? Plain::norm_1
                               : (p > 0. ? Plain::norm_infinity : Plain::norm_minus_infinity);
    return run_fold(stream, PlainRule{{x, dtype}, out, op, 1.f}, plan, aligned, parts);
  }
  run_fold(stream, PowerRule{{x, dtype}, out, p}, plan, aligned, parts);
}

void ties(Stream stream, DType dtype, const void* x, const void* y, float* count, bool absolute, const ReducePlan& plan,
          void* parts) {
  run_fold(stream, TiesRule{{x, dtype}, {y, dtype}, count, absolute}, plan, begins_aligned(x), parts);
}

void exact(Stream stream, ExactFold op, DType dtype, const void* x, void* y, const ReducePlan& plan, void* parts) {
  run_fold(stream, ExactRule{{x, dtype}, op, y}, plan, begins_aligned(x), parts);
}

void extreme(Stream stream, DType dtype, const void* x, void* values, int64_t* positions, bool largest,
             const ReducePlan& plan, void* parts) {
  const bool aligned = begins_aligned(x);
  if (is_floating(dtype)) {
    run_fold(stream, FloatPositionRule{{x, dtype}, {values, positions, largest}}, plan, aligned, parts);
  } else {
    run_fold(stream, IntegerPositionRule{{x, dtype}, {values, positions, largest}}, plan, aligned, parts);
  }
}

}  // namespace

NONET_DEVICE_TABLE(ReduceDevice, simt, {fold, logsumexp, moments, norm, exact, extreme, ties});

}  // namespace nonet::NONET_CUDA_NS
