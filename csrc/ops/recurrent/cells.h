// The gate maths of recurrent cells, once for vectors of the CPU and for elements of a GPU (see map_fused.h), for
// single cells and for sequences, forwards and backwards.
//
// x: the input's part of a gate before its activation, with every bias that is added to it; z: the part of the previous
// h, a product with W_hh. A step begins with activate(g, x + z) of gates that are functions of nothing else, and
// `finish` makes h of them: two passes over a few rows, for a vector's way through both is longer than a processor
// looks ahead, and through one it is not. Gradients d… are of the values before the activations. What the forward pass
// leaves in `kept` is what `backward` asks for.
#pragma once

#include "ops/matmul/map_fused.h"

namespace nonet::NONET_NS {

// h = f(x + z), f tanh or relu (Elman, "Finding structure in time", 1990). Kept: h itself.
struct TanhCell {
  NONET_INLINE F activate(int, F v) { return gate_tanh(v); }
  NONET_INLINE F backward(F h, F dh) { return FusedTanh::backward(dh, h); }
};
struct ReluCell {
  NONET_INLINE F activate(int, F v) { return FusedRelu::forward(v); }
  NONET_INLINE F backward(F h, F dh) { return FusedRelu::backward(dh, h); }
};

// c' = f c + i g,  h = o tanh(c'), gates in the order i, f, g, o (Hochreiter & Schmidhuber, "Long short-term memory",
// 1997; Gers et al., "Learning to forget", 2000). Kept: the four gates; c' is made again.
struct LstmCell {
  NONET_INLINE F next(const F (&gate)[4], F c) { return fma(gate[1], c, gate[0] * gate[2]); }

  NONET_INLINE F activate(int g, F v) { return g == 2 ? gate_tanh(v) : gate_sigmoid(v); }
  NONET_INLINE F finish(const F (&gate)[4], F& c) {
    c = next(gate, c);
    return gate[3] * gate_tanh(c);
  }

  // t: tanh(c'). dc: of c', from the step behind; afterwards of c.
  NONET_INLINE void backward(const F (&gate)[4], F c, F t, F dh, F& dc, F (&dz)[4]) {
    const F d = dc + dh * gate[3] * (1.f - t * t);
    dz[0] = d * gate[2] * gate[0] * (1.f - gate[0]);
    dz[1] = d * c * gate[1] * (1.f - gate[1]);
    dz[2] = d * gate[0] * (1.f - gate[2] * gate[2]);
    dz[3] = dh * t * gate[3] * (1.f - gate[3]);
    dc = d * gate[1];
  }
};

// h' = (1 - u) n + u h with the gates r, u and the candidate n (Cho et al., "Learning phrase representations using RNN
// encoder-decoder", 2014).
struct GruGates {
  NONET_INLINE F activate(int, F v) { return gate_sigmoid(v); }  // r and u
  NONET_INLINE F mix(F u, F n, F h) { return fma(u, h - n, n); }
  NONET_INLINE F candidate_gradient(F u, F n, F dh) { return dh * (1.f - u) * (1.f - n * n); }
  NONET_INLINE F update_gradient(F u, F n, F h, F dh) { return dh * (h - n) * u * (1.f - u); }
};

// The reset gate behind the product, as in torch and cuDNN: n = tanh(x_n + r q), q = W_hn h + b_hn.
// Kept: r, u, n, q.
struct GruCell : GruGates {
  NONET_INLINE F finish(F x, F h, F (&kept)[4]) {  // kept: all but n
    kept[2] = gate_tanh(fma(kept[0], kept[3], x));
    return mix(kept[1], kept[2], h);
  }

  // dz: of r and u, of n's x, of q. Returns what reaches h past the products.
  NONET_INLINE F backward(const F (&kept)[4], F h, F dh, F (&dz)[4]) {
    const F r = kept[0];
    const F u = kept[1];
    dz[2] = candidate_gradient(u, kept[2], dh);
    dz[0] = dz[2] * kept[3] * r * (1.f - r);
    dz[1] = update_gradient(u, kept[2], h, dh);
    dz[3] = dz[2] * r;
    return dh * u;
  }
};

// The reset gate ahead of the product, as in Cho et al. and ONNX's default: n = tanh(x_n + W_hn (r h)). In two halves,
// with the product between. Kept: r, u, n.
struct GruBeforeCell : GruGates {
  NONET_INLINE F forward(F x, F z, F u, F h, F& n) {
    n = gate_tanh(x + z);
    return mix(u, n, h);
  }

  // The first half ends with n's gradient; drh, of r h, is its product with W_hn. Both return what reaches h.
  NONET_INLINE F backward(F u, F n, F h, F dh, F& du, F& dn) {
    dn = candidate_gradient(u, n, dh);
    du = update_gradient(u, n, h, dh);
    return dh * u;
  }
  NONET_INLINE F reset_backward(F r, F h, F drh, F& dr) {
    dr = drh * h * r * (1.f - r);
    return drh * r;
  }
};

}  // namespace nonet::NONET_NS
