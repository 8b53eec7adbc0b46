// The binary maps and their partial derivatives, once for the CPU and for GPUs (see map_unary.h).
#pragma once

namespace nonet::NONET_NS {

struct Add {
  NONET_INLINE F apply(F x, F z) { return x + z; }
};
struct Sub {
  NONET_INLINE F apply(F x, F z) { return x - z; }
};
struct Mul {
  NONET_INLINE F apply(F x, F z) { return x * z; }
};
struct Div {
  NONET_INLINE F apply(F x, F z) { return x / z; }
};
struct PowOf {
  NONET_INLINE float apply(float x, float z) { return pow_number(x, z); }
};
struct Pow {
  NONET_INLINE F apply(F x, F z) { return each_lane<PowOf>(x, z); }
};
struct Maximum {
  NONET_INLINE F apply(F x, F z) { return maximum(x, z); }
};
struct Minimum {
  NONET_INLINE F apply(F x, F z) { return minimum(x, z); }
};

struct RemainderOf {
  NONET_INLINE float apply(float x, float z) {
    const float r = fmod_number(x, z);
    return r != 0 && (r < 0) != (z < 0) ? r + z : r;
  }
};
struct Remainder {
  NONET_INLINE F apply(F x, F z) { return each_lane<RemainderOf>(x, z); }
};
// The quotient is taken after the remainder is removed, so that it is whole but for rounding; x / z alone could round
// up to the next whole number.
struct FloorDivideOf {
  NONET_INLINE float apply(float x, float z) {
    if (z == 0) return x / z;
    const float r = fmod_number(x, z);  // finite for an infinite z, unlike the remainder
    const float q = (x - r) / z - (r != 0 && (r < 0) != (z < 0) ? 1.f : 0.f);
    const float whole = floor_number(q);
    return q - whole > 0.5f ? whole + 1 : whole;
  }
};
struct FloorDivide {
  NONET_INLINE F apply(F x, F z) { return each_lane<FloorDivideOf>(x, z); }
};

struct Prelu {
  NONET_INLINE F apply(F x, F z) { return x < 0.f ? z * x : x; }
};
struct Gate {
  NONET_INLINE F apply(F x, F z) { return x * sigmoid(z); }
};

struct Equal {
  NONET_INLINE I apply(F x, F z) { return x == z; }
};
struct NotEqual {
  NONET_INLINE I apply(F x, F z) { return x != z; }
};
struct Less {
  NONET_INLINE I apply(F x, F z) { return x < z; }
};
struct LessEqual {
  NONET_INLINE I apply(F x, F z) { return x <= z; }
};
struct Greater {
  NONET_INLINE I apply(F x, F z) { return x > z; }
};
struct GreaterEqual {
  NONET_INLINE I apply(F x, F z) { return x >= z; }
};
struct And {
  NONET_INLINE I apply(F x, F z) { return (x != 0.f) & (z != 0.f); }
};
struct Or {
  NONET_INLINE I apply(F x, F z) { return (x != 0.f) | (z != 0.f); }
};
struct Xor {
  NONET_INLINE I apply(F x, F z) { return (x != 0.f) ^ (z != 0.f); }
};

struct PowBase {  // z x^(z-1)
  NONET_INLINE F apply(F dy, F x, F z) { return z == 0.f ? F{} : dy * z * each_lane<PowOf>(x, z - 1.f); }
};
struct PowExponent {  // x^z log x; at x = 0 the function is flat for z > 0
  NONET_INLINE F apply(F dy, F x, F z) { return (x == 0.f) & (z >= 0.f) ? F{} : dy * each_lane<PowOf>(x, z) * log(x); }
};
struct DivDivisor {
  NONET_INLINE F apply(F dy, F x, F z) { return -dy * ((x / z) / z); }
};
struct MaximumFirst {
  NONET_INLINE F apply(F dy, F x, F z) { return x == z ? 0.5f * dy : (x < z ? F{} : dy); }
};
struct MinimumFirst {
  NONET_INLINE F apply(F dy, F x, F z) { return x == z ? 0.5f * dy : (x > z ? F{} : dy); }
};
struct PreluInput {
  NONET_INLINE F apply(F dy, F x, F z) { return x > 0.f ? dy : z * dy; }
};
struct PreluSlope {
  NONET_INLINE F apply(F dy, F x, F) { return x > 0.f ? F{} : dy * x; }
};
struct GateGate {
  NONET_INLINE F apply(F dy, F x, F z) {
    const F s = sigmoid(z);
    return dy * x * (s * (1.f - s));
  }
};

}  // namespace nonet::NONET_NS
