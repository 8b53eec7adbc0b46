#include "ops/elementwise/integer_maps.h"
#include "ops/elementwise/map.cuh"
#include "ops/elementwise/map_binary.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// An operand inside a kernel: elements of an array, or a number. V is what an element is computed as.
template <class T, class V>
struct Operand {
  const T* data;
  V number;
  bool steps;  // along level 0 of the loops

  template <int n>
  NONET_DEVICE Pack<V, n> read(int64_t offset) const {
    Pack<V, n> out;
    if (steps) {
      const Pack<T, n> in = load_pack<n>(data + offset);
      NONET_UNROLL
      for (int k = 0; k < n; ++k) out[k] = value_of(in[k]);
    } else {
      const V one = data == nullptr ? number : value_of(data[offset]);
      NONET_UNROLL
      for (int k = 0; k < n; ++k) out[k] = one;
    }
    return out;
  }
  template <int n>
  NONET_DEVICE bool aligned() const {
    return !steps || is_aligned<n>(data);
  }

 private:
  NONET_DEVICE static V value_of(T x) {
    if constexpr (std::is_same_v<T, V>) {
      return x;
    } else {
      return as_float(x);
    }
  }
};
template <class T>
using FloatOperand = Operand<T, float>;

template <class T>
FloatOperand<T> float_operand(const DeviceOperand& x, int64_t step) {
  return {static_cast<const T*>(x.data), static_cast<float>(x.value), x.data != nullptr && step == 1};
}
template <class T>
Operand<T, T> plain_operand(const DeviceOperand& x, int64_t step) {
  return {static_cast<const T*>(x.data), static_cast<T>(x.integer), x.data != nullptr && step == 1};
}

// Where the operands' elements of output i lie.
template <int operands>
struct Offsets {
  int64_t at[operands];

  NONET_DEVICE Offsets(const Loops<operands>& loops, int64_t i) {
    for (int k = 0; k < operands; ++k) at[k] = 0;
    for (int level = 0; level < loops.levels; ++level) {
      const bool last = level + 1 == loops.levels;
      const int64_t rest = last ? 0 : quotient(i, loops.size[level]);
      const int64_t index = i - rest * loops.size[level];
      for (int k = 0; k < operands; ++k) at[k] += index * loops.stride[level][k];
      i = rest;
    }
  }
};

// Whether packs of `pack` outputs lie in one run of level 0, at offsets that are multiples of `pack`.
template <int operands>
bool in_packs(const Loops<operands>& loops, int pack) {
  bool ok = loops.levels == 1 || loops.size[0] % pack == 0;
  for (int level = 1; level < loops.levels; ++level) {
    for (int k = 0; k < operands; ++k) ok &= loops.stride[0][k] == 0 || loops.stride[level][k] % pack == 0;
  }
  return ok;
}

template <class Op, class T, class Y>
struct Map {
  static constexpr int pack = pack_size<T, Y>();

  NONET_DEVICE void operator()(FloatOperand<T> x, FloatOperand<T> z, Y* y, int64_t n, const Loops<2>& loops,
                               bool packed) const {
    packed = packed && x.template aligned<pack>() && z.template aligned<pack>() && is_aligned<pack>(y);
    for_packs<pack>(n, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const Offsets<2> from(loops, i);
      const Pack<float, size> a = x.template read<size>(from.at[0]);
      const Pack<float, size> b = z.template read<size>(from.at[1]);
      Pack<Y, size> out;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) {
        if constexpr (std::is_same_v<Y, bool>) {
          out[k] = Op::apply(a[k], b[k]) != 0;
        } else {
          out[k] = from_float<Y>(Op::apply(a[k], b[k]));
        }
      }
      store_pack(y + i, out);
    });
  }
};

template <class Op>
struct PartialMap {
  static constexpr int pack = 4;

  NONET_DEVICE void operator()(const float* dy, FloatOperand<float> x, FloatOperand<float> z, float* d, int64_t n,
                               const Loops<2>& loops, bool packed) const {
    packed = packed && x.aligned<pack>() && z.aligned<pack>() && is_aligned<pack>(dy) && is_aligned<pack>(d);
    for_packs<pack>(n, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const Offsets<2> from(loops, i);
      const Pack<float, size> g = load_pack<size>(dy + i);
      const Pack<float, size> a = x.template read<size>(from.at[0]);
      const Pack<float, size> b = z.template read<size>(from.at[1]);
      Pack<float, size> out;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) out[k] = Op::apply(g[k], a[k], b[k]);
      store_pack(d + i, out);
    });
  }
};

// Calls body with the map of op.
template <class Body>
void visit_arithmetic(Binary op, const Body& body) {
  switch (op) {
    case Binary::add:
      return body(Add{});
    case Binary::sub:
      return body(Sub{});
    case Binary::mul:
      return body(Mul{});
    case Binary::div:
      return body(Div{});
    case Binary::pow:
      return body(Pow{});
    case Binary::maximum:
      return body(Maximum{});
    case Binary::minimum:
      return body(Minimum{});
    case Binary::remainder:
      return body(Remainder{});
    case Binary::floor_divide:
      return body(FloorDivide{});
    case Binary::prelu:
      return body(Prelu{});
    default:
      return body(Gate{});
  }
}
template <class Body>
void visit_comparison(Binary op, const Body& body) {
  switch (op) {
    case Binary::eq:
      return body(Equal{});
    case Binary::ne:
      return body(NotEqual{});
    case Binary::lt:
      return body(Less{});
    case Binary::le:
      return body(LessEqual{});
    case Binary::gt:
      return body(Greater{});
    case Binary::ge:
      return body(GreaterEqual{});
    case Binary::logical_and:
      return body(And{});
    case Binary::logical_or:
      return body(Or{});
    default:
      return body(Xor{});
  }
}
template <class Body>
void visit_partial(Partial partial, const Body& body) {
  switch (partial) {
    case Partial::pow_base:
      return body(PowBase{});
    case Partial::pow_exponent:
      return body(PowExponent{});
    case Partial::div_divisor:
      return body(DivDivisor{});
    case Partial::maximum:
      return body(MaximumFirst{});
    case Partial::minimum:
      return body(MinimumFirst{});
    case Partial::prelu:
      return body(PreluInput{});
    case Partial::prelu_slope:
      return body(PreluSlope{});
    default:
      return body(GateGate{});
  }
}

// Nobody's network spends time in integer arithmetic: one kernel per dtype, which looks at the op.
template <class T, class Y>
struct IntegerMap {
  NONET_DEVICE void operator()(Operand<T, T> x, Operand<T, T> z, Y* y, int64_t n, const Loops<2>& loops,
                               Binary op) const {
    for_grid(n, [&](int64_t i) {
      const Offsets<2> from(loops, i);
      const T a = x.template read<1>(from.at[0])[0];
      const T b = z.template read<1>(from.at[1])[0];
      if constexpr (std::is_same_v<Y, bool>) {
        y[i] = integer_predicate(op, a, b);
      } else {
        y[i] = integer_arithmetic(op, a, b);
      }
    });
  }
};

template <class T>
void run_integers(Stream stream, Binary op, const DeviceOperand& x, const DeviceOperand& z, void* y, int64_t n,
                  const Loops<2>& loops) {
  const auto a = plain_operand<T>(x, loops.stride[0][0]);
  const auto b = plain_operand<T>(z, loops.stride[0][1]);
  if (gives_bool(op)) {
    run_elements(stream, n, IntegerMap<T, bool>{}, a, b, static_cast<bool*>(y), n, loops, op);
  } else {
    run_elements(stream, n, IntegerMap<T, T>{}, a, b, static_cast<T*>(y), n, loops, op);
  }
}

void map(Stream stream, Binary op, DType dtype, DeviceOperand x, DeviceOperand z, void* y, int64_t n,
         const Loops<2>& loops) {
  if (dtype == DType::int64) return run_integers<int64_t>(stream, op, x, z, y, n, loops);
  if (dtype == DType::int32) return run_integers<int32_t>(stream, op, x, z, y, n, loops);
  if (!is_floating(dtype)) return run_integers<uint8_t>(stream, op, x, z, y, n, loops);
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto a = float_operand<T>(x, loops.stride[0][0]);
    const auto b = float_operand<T>(z, loops.stride[0][1]);
    const auto put = [&](auto kernel, auto* out) {
      run_elements(stream, n, kernel, a, b, out, n, loops, in_packs(loops, decltype(kernel)::pack));
    };
    if (gives_bool(op)) {
      visit_comparison(op, [&](auto f) { put(Map<decltype(f), T, bool>{}, static_cast<bool*>(y)); });
    } else {
      visit_arithmetic(op, [&](auto f) { put(Map<decltype(f), T, T>{}, static_cast<T*>(y)); });
    }
  });
}

void partial(Stream stream, Partial partial, const float* dy, DeviceOperand x, DeviceOperand z, float* d, int64_t n,
             const Loops<2>& loops) {
  const auto a = float_operand<float>(x, loops.stride[0][0]);
  const auto b = float_operand<float>(z, loops.stride[0][1]);
  visit_partial(partial, [&](auto f) {
    run_elements(stream, n, PartialMap<decltype(f)>{}, dy, a, b, d, n, loops, in_packs(loops, 4));
  });
}

template <class T>
struct Where {
  NONET_DEVICE void operator()(Operand<uint8_t, uint8_t> c, Operand<T, T> x, Operand<T, T> z, T* y, int64_t n,
                               const Loops<3>& loops) const {
    for_grid(n, [&](int64_t i) {
      const Offsets<3> from(loops, i);
      y[i] = c.template read<1>(from.at[0])[0] != 0 ? x.template read<1>(from.at[1])[0]
                                                    : z.template read<1>(from.at[2])[0];
    });
  }
};

void where(Stream stream, const void* c, DeviceOperand x, DeviceOperand z, void* y, int size, int64_t n,
           const Loops<3>& loops) {
  visit_size(size, [&](auto element) {
    using T = decltype(element);
    DeviceOperand condition;
    condition.data = c;
    run_elements(stream, n, Where<T>{}, plain_operand<uint8_t>(condition, loops.stride[0][0]),
                 plain_operand<T>(x, loops.stride[0][1]), plain_operand<T>(z, loops.stride[0][2]), static_cast<T*>(y),
                 n, loops);
  });
}

}  // namespace

NONET_DEVICE_TABLE(BinaryDevice, simt, {map, partial, where});

}  // namespace nonet::NONET_CUDA_NS
