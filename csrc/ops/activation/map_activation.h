// The activations as maps, once for the CPU and for GPUs (see ops/elementwise/map_unary.h).
#pragma once

namespace nonet::NONET_NS {

struct Relu {
  NONET_INLINE F forward(F x, N) { return x < 0.f ? F{} : x; }
  NONET_INLINE F backward(F dy, F y, N) { return y <= 0.f ? F{} : dy; }
};
struct LeakyRelu {
  NONET_INLINE F forward(F x, N c) { return x > 0.f ? x : c.a * x; }
  NONET_INLINE F backward(F dy, F s, N c) { return s > 0.f ? dy : c.a * dy; }
};
struct Elu {
  NONET_INLINE F forward(F x, N k) { return x > 0.f ? k.b * x : k.a * k.b * expm1(k.c * x); }
  NONET_INLINE F backward(F dy, F y, N k) { return y > 0.f ? k.b * dy : dy * k.c * (y + k.a * k.b); }
};

struct Gelu {
  NONET_INLINE F forward(F x, N) { return x * normal(x).below; }
  NONET_INLINE F backward(F dy, F x, N) {
    const auto [below, density] = normal(x);
    return dy * fma(x, density, below);
  }
};
struct GeluTanh {
  // Beyond ±16 the sigmoid has long been 0 or 1; the limit keeps x^3 finite.
  NONET_INLINE F limited(F x) { return minimum(maximum(x, broadcast(-16.f)), broadcast(16.f)); }
  NONET_INLINE F gate(F x) {
    return sigmoid(x * fma(x * x, broadcast(1.59576912f * 0.044715f), broadcast(1.59576912f)));
  }
  NONET_INLINE F forward(F x, N) { return x * gate(limited(x)); }
  NONET_INLINE F backward(F dy, F x, N) {
    const F t = limited(x);
    const F s = gate(t);
    const F slope = fma(t * t, broadcast(1.59576912f * 0.134145f), broadcast(1.59576912f));
    return dy * fma(t * slope, s * (1.f - s), s);
  }
};
struct Silu {
  NONET_INLINE F forward(F x, N) { return x * sigmoid(x); }
  NONET_INLINE F backward(F dy, F x, N) {
    const F s = sigmoid(x);
    return dy * (s * fma(x, 1.f - s, broadcast(1.f)));
  }
};
// tanh(log(1 + e)) = n / (n + 2) with n = e (e + 2).
struct Mish {
  // Beyond it the function is x: the terms that decay are taken there, so that none is a product of huge and tiny.
  NONET_INLINE F limited(F x) { return minimum(x, broadcast(20.f)); }
  NONET_INLINE F forward(F x, N) {
    const F e = exp(limited(x));
    const F n = e * (e + 2.f);
    return x * (n / (n + 2.f));
  }
  NONET_INLINE F backward(F dy, F x, N) {
    const F z = limited(x);
    const F e = exp(z);
    const F n = e * (e + 2.f);
    const F q = 1.f / (n + 2.f);
    const F t = n * q;
    return dy * fma(z * (e / (1.f + e)), 2.f * q * (1.f + t), t);
  }
};
struct Softplus {
  NONET_INLINE F forward(F x, N c) {
    const F v = c.a * x;
    return v > c.b ? x : softplus(v) / c.a;
  }
  NONET_INLINE F backward(F dy, F x, N c) {
    const F v = c.a * x;
    return v > c.b ? dy : dy * sigmoid(v);
  }
};
struct Softsign {
  NONET_INLINE F forward(F x, N) { return x / (1.f + abs(x)); }
  NONET_INLINE F backward(F dy, F x, N) {
    const F d = 1.f + abs(x);
    return dy / (d * d);
  }
};
struct Tanhshrink {
  NONET_INLINE F forward(F x, N) { return x - tanh(x); }
  NONET_INLINE F backward(F dy, F x, N) {
    const F t = tanh(x);
    return dy * (t * t);
  }
};
struct Logsigmoid {
  NONET_INLINE F forward(F x, N) { return -softplus(-x); }
  NONET_INLINE F backward(F dy, F y, N) { return -dy * expm1(y); }
};

struct Hardtanh {
  NONET_INLINE F forward(F x, N c) { return x < c.a ? c.a : (x > c.b ? c.b : x); }
  NONET_INLINE F backward(F dy, F y, N c) { return (y <= c.a) | (y >= c.b) ? F{} : dy; }
};
struct Hardsigmoid {
  NONET_INLINE F limited(F x) {
    const F y = (x + 3.f) * 0.166666667f;
    return y < 0.f ? F{} : (y > 1.f ? broadcast(1.f) : y);
  }
  NONET_INLINE F forward(F x, N) { return limited(x); }
  NONET_INLINE F backward(F dy, F y, N) { return (y <= 0.f) | (y >= 1.f) ? F{} : dy * 0.166666667f; }
};
struct Hardswish {
  NONET_INLINE F forward(F x, N) { return x * Hardsigmoid::limited(x); }
  NONET_INLINE F backward(F dy, F x, N) {
    const F middle = dy * fma(x, broadcast(0.333333333f), broadcast(0.5f));
    return x <= -3.f ? F{} : (x >= 3.f ? dy : middle);
  }
};
struct Hardshrink {
  NONET_INLINE F forward(F x, N c) { return (x >= -c.a) & (x <= c.a) ? F{} : x; }
  NONET_INLINE F backward(F dy, F y, N c) { return (y == 0.f) & (c.a >= 0.f) ? F{} : dy; }
};
struct Softshrink {
  NONET_INLINE F forward(F x, N c) { return x > c.a ? x - c.a : (x < -c.a ? x + c.a : x * 0.f); }
  NONET_INLINE F backward(F dy, F y, N) { return y == 0.f ? F{} : dy; }
};
struct Threshold {
  NONET_INLINE F forward(F x, N c) { return x <= c.a ? c.b : x; }
  NONET_INLINE F backward(F dy, F x, N c) { return x <= c.a ? F{} : dy; }
};

}  // namespace nonet::NONET_NS
