#include <cmath>
#include <limits>

#include "cuda/scalar.cuh"
#include "ops/reduce/fold.cuh"
#include "ops/reduce/moments.cuh"
#include "ops/softmax/online.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

NONET_DEVICE bool same(float x, float p) {
  return x == p || (x != x && p != p);
}

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

template <class T>
struct ProductRule : OneInput<T>, FloatRule {
  NONET_DEVICE float identity() const { return 1.f; }
  template <class Items>
  NONET_DEVICE void take(float& state, Nothing, const Items& items, int k, int64_t) const {
    state *= as_float(items[k]);
  }
  NONET_DEVICE float join(float a, float b) const { return a * b; }
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

void fold(Stream stream, Fold op, DType dtype, const void* x, DType to, void* y, float divisor, const ReducePlan& plan,
          void* parts) {
  const FloatRule rule{{y, to == DType::bfloat16}, divisor};
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const OneInput<T> in{static_cast<const T*>(x)};
    const bool aligned = begins_aligned(x);
    switch (op) {
      case Fold::sum:
        return run_fold(stream, SumRule<T>{in, rule}, plan, aligned, parts);
      case Fold::product:
        return run_fold(stream, ProductRule<T>{in, rule}, plan, aligned, parts);
      default:
        return run_fold(stream, LargestRule<T>{in, rule, op == Fold::maximum ? 1.f : -1.f}, plan, aligned, parts);
    }
  });
}

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

// Any p, looked at with every element.
template <class T>
struct NormRule : OneInput<T> {
  using State = double;
  using Local = Nothing;
  FloatOutput out;
  double p;

  NONET_DEVICE State identity() const { return p == -INFINITY ? INFINITY : 0.; }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  template <class Items>
  NONET_DEVICE void take(State& state, Nothing, const Items& items, int k, int64_t) const {
    const double v = fabsf(as_float(items[k]));
    state = join(p == 1. || fabs(p) == INFINITY ? v : (p == 0. ? (v != 0. ? 1. : 0.) : ::pow(v, p)), state);
  }
  NONET_DEVICE State join(State a, State b) const {
    if (p == INFINITY) return a > b || a != a ? a : b;
    if (p == -INFINITY) return a < b || a != a ? a : b;
    return a + b;
  }
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const {
    const bool rooted = p == 0. || p == 1. || fabs(p) == INFINITY;
    out.put(result, static_cast<float>(rooted ? state : ::pow(state, 1. / p)));
  }
};

void norm(Stream stream, DType dtype, const void* x, void* y, double p, const ReducePlan& plan, void* parts) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const OneInput<T> in{static_cast<const T*>(x)};
    const FloatOutput out{y, dtype == DType::bfloat16};
    if (p == 2.) {
      run_fold(stream, SquaresRule<T>{in, out}, plan, begins_aligned(x), parts);
    } else {
      run_fold(stream, NormRule<T>{in, out, p}, plan, begins_aligned(x), parts);
    }
  });
}

template <class T>
struct TiesRule : OneInput<T> {
  using State = float;
  using Local = float;
  const T* y;
  float* count;
  bool absolute;

  NONET_DEVICE State identity() const { return 0; }
  NONET_DEVICE Local local(int64_t, int64_t result) const { return as_float(y[result]); }
  template <class Items>
  NONET_DEVICE void take(State& state, float y, const Items& items, int k, int64_t) const {
    const float v = as_float(items[k]);
    state += same(absolute ? fabsf(v) : v, y) ? 1.f : 0.f;
  }
  NONET_DEVICE State join(State a, State b) const { return a + b; }
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const { count[result] = state; }
};

void ties(Stream stream, DType dtype, const void* x, const void* y, float* count, bool absolute, const ReducePlan& plan,
          void* parts) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const TiesRule<T> rule{{static_cast<const T*>(x)}, static_cast<const T*>(y), count, absolute};
    run_fold(stream, rule, plan, begins_aligned(x), parts);
  });
}

// ---------------------------------------------------------------- integers and truth
// One kernel per dtype, which looks at the op: nobody's network spends time here.
template <class T>
struct ExactRule : OneInput<T> {
  using State = int64_t;
  using Local = Nothing;
  ExactFold op;
  void* y;

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
  template <class Items>
  NONET_DEVICE void take(State& state, Nothing, const Items& items, int k, int64_t) const {
    state = join(state, term(items[k]));
  }
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
    if (op == ExactFold::all || op == ExactFold::any) {
      static_cast<bool*>(y)[result] = state != 0;
    } else if (op == ExactFold::maximum || op == ExactFold::minimum) {
      if constexpr (std::is_integral_v<T>) static_cast<T*>(y)[result] = static_cast<T>(state);
    } else {
      static_cast<int64_t*>(y)[result] = state;
    }
  }

 private:
  NONET_DEVICE State term(T x) const {
    if constexpr (std::is_integral_v<T>) {
      return op < ExactFold::nonzero ? static_cast<State>(x) : State{x != 0};
    } else {
      return State{as_float(x) != 0.f};
    }
  }
};

// Calls body with the type of an element; bool is 0 or 1 of uint8.
template <class Body>
void visit_elements(DType dtype, const Body& body) {
  visit(dtype == DType::boolean ? DType::uint8 : dtype, [&](auto type) {
    if constexpr (!std::is_same_v<typename decltype(type)::type, bool>) body(type);
  });
}

void exact(Stream stream, ExactFold op, DType dtype, const void* x, void* y, const ReducePlan& plan, void* parts) {
  visit_elements(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_fold(stream, ExactRule<T>{{static_cast<const T*>(x)}, op, y}, plan, begins_aligned(x), parts);
  });
}

// ---------------------------------------------------------------- extremes and where they are
// sign -1: the smallest as the largest of -x, which for integers is ~x.
template <class T>
struct PositionRule : OneInput<T> {
  using Value = std::conditional_t<std::is_integral_v<T>, int64_t, float>;
  struct State {
    Value value;
    int64_t at;
  };
  using Local = Nothing;
  T* values;
  int64_t* positions;
  bool largest;

  NONET_DEVICE State identity() const {
    constexpr int64_t nowhere = std::numeric_limits<int64_t>::max();
    if constexpr (std::is_integral_v<T>) {
      return {std::numeric_limits<int64_t>::min(), nowhere};
    } else {
      return {-INFINITY, nowhere};
    }
  }
  NONET_DEVICE Local local(int64_t, int64_t) const { return {}; }
  template <class Items>
  NONET_DEVICE void take(State& state, Nothing, const Items& items, int k, int64_t j) const {
    state = join(state, {turned(items[k]), j});
  }
  // NaN wins; of equals the first.
  NONET_DEVICE State join(State a, State b) const {
    const bool a_nan = a.value != a.value;
    const bool b_nan = b.value != b.value;
    if (a_nan != b_nan) return a_nan ? a : b;
    if (a_nan || a.value == b.value) return a.at < b.at ? a : b;
    return a.value > b.value ? a : b;
  }
  NONET_DEVICE void finish(State state, int64_t, int64_t result) const {
    if constexpr (std::is_integral_v<T>) {
      values[result] = static_cast<T>(largest ? state.value : ~state.value);
    } else {
      values[result] = from_float<T>(largest ? state.value : -state.value);
    }
    positions[result] = state.at;
  }

 private:
  NONET_DEVICE Value turned(T x) const {
    if constexpr (std::is_integral_v<T>) {
      return largest ? int64_t{x} : ~int64_t{x};
    } else {
      return largest ? as_float(x) : -as_float(x);
    }
  }
};

void extreme(Stream stream, DType dtype, const void* x, void* values, int64_t* positions, bool largest,
             const ReducePlan& plan, void* parts) {
  visit_elements(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const PositionRule<T> rule{{static_cast<const T*>(x)}, static_cast<T*>(values), positions, largest};
    run_fold(stream, rule, plan, begins_aligned(x), parts);
  });
}

}  // namespace

NONET_DEVICE_TABLE(ReduceDevice, simt, {fold, logsumexp, moments, norm, exact, extreme, ties});

}  // namespace nonet::NONET_CUDA_NS
