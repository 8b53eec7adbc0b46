// What a cell does with the products of a step of the forward pass, once for the CPU's vectors and for GPU threads: the
// maths is in cells.h, this is where its values come from and go to. Included behind simd/gate.h or cuda/gate.cuh.
#pragma once

#include "ops/recurrent/places.h"
//
#include "ops/recurrent/cells.h"

// A namespace of its own: the other pass has rules of the same names.
namespace nonet::NONET_NS::forward_pass {

// The x-part of a step: sequence i, gate g from first + i row + g gate on.
struct XPart {
  const float* first;
  int64_t row, gate;
};
NONET_INLINE XPart given_part(const RecurrentForward& f, int64_t row) {
  const int64_t size = gates_of(f.cell) * f.hidden;
  return {f.gates + row * size, f.at.stride * size, f.hidden};
}

// Where a thread finds everything at one step. h and next hold the states of all sequences, padded() floats apart.
template <class T>
struct Here {
  const RecurrentForward& f;
  int64_t row;  // of the first sequence
  XPart x;
  float* h;
  float* next;
  int64_t h_row;
  float* c;  // [B, H]
  float* middle;
  int64_t middle_row;
  // With products of pairs: next and middle as they read them, in rows of the same length; else null.
  bfloat16* next_pairs = nullptr;
  bfloat16* middle_pairs = nullptr;

  NONET_MEMBER int64_t row_of(int64_t i) const { return row + i * f.at.stride; }
  NONET_MEMBER F gate(int64_t i, int64_t j, int64_t lanes, int64_t g) const {
    return load_lanes(x.first + i * x.row + g * x.gate + j, lanes);
  }
  template <int n>
  NONET_MEMBER void keep(int64_t i, int64_t j, int64_t lanes, const F (&value)[n], int first = 0) const {
    if (f.kept == nullptr) return;
    T* to = (T*)f.kept + (row_of(i) * kept_of(f.cell) + first) * f.hidden + j;
    NONET_EACH_GATE
    for (int g = 0; g < n; ++g) store_lanes(to + g * f.hidden, value[g], lanes);
  }
  NONET_MEMBER void store_middle(int64_t i, int64_t j, int64_t lanes, F value) const {
    if (middle_pairs != nullptr) {
      store_lanes(middle_pairs + i * middle_row + j, value, lanes);
    } else {
      store_lanes(middle + i * middle_row + j, value, lanes);
    }
    if (f.middle != nullptr) store_lanes((T*)f.middle + row_of(i) * f.hidden + j, value, lanes);
  }
  NONET_MEMBER F state(int64_t i, int64_t j, int64_t lanes) const { return load_lanes(h + i * h_row + j, lanes); }
};

// A rule is a cell's part of a step: `finish` takes the products with h, by hidden unit, of which the first `activated`
// already went through `activate` with the x-part; where there is a second product, `finish` makes its operand and
// `second` takes it.
template <class OneCell, class T>
struct RnnRule {
  static constexpr int gates = 1;
  static constexpr int activated = 1;
  NONET_INLINE F activate(int g, F v) { return OneCell::activate(g, v); }
  NONET_INLINE F finish(const Here<T>&, int64_t, int64_t, int64_t, const F (&h)[1]) { return h[0]; }
};

template <class T>
struct LstmRule {
  static constexpr int gates = 4;
  static constexpr int activated = 4;
  NONET_INLINE F activate(int g, F v) { return LstmCell::activate(g, v); }
  NONET_INLINE F finish(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, const F (&gate)[4]) {
    float* at = s.c + i * s.f.hidden + j;
    F c = load_lanes(at, lanes);
    if (s.f.cells != nullptr) store_lanes((T*)s.f.cells + s.row_of(i) * s.f.hidden + j, c, lanes);
    const F h = LstmCell::finish(gate, c);
    store_lanes(at, c, lanes);
    s.keep(i, j, lanes, gate);
    return h;
  }
};

template <class T>
struct ProjectedRule : LstmRule<T> {
  NONET_INLINE F second(const Here<T>&, int64_t, int64_t, int64_t, const F (&z)[1]) { return z[0]; }
};

template <class T>
struct GruRule {
  static constexpr int gates = 3;
  static constexpr int activated = 2;
  NONET_INLINE F activate(int g, F v) { return GruCell::activate(g, v); }
  NONET_INLINE F finish(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, const F (&z)[3]) {
    F kept[4] = {z[0], z[1], F{}, z[2]};
    if (s.f.bias != nullptr) kept[3] += load_lanes(s.f.bias + j, lanes);
    const F h = GruCell::finish(s.gate(i, j, lanes, 2), s.state(i, j, lanes), kept);
    s.keep(i, j, lanes, kept);
    return h;
  }
};

template <class T>
struct GruBeforeRule {
  static constexpr int gates = 2;
  static constexpr int activated = 2;
  NONET_INLINE F activate(int g, F v) { return GruBeforeCell::activate(g, v); }
  NONET_INLINE F finish(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, const F (&kept)[2]) {
    s.keep(i, j, lanes, kept);
    // u waits where the next h will be.
    store_lanes(s.next + i * s.h_row + j, kept[1], lanes);
    return kept[0] * s.state(i, j, lanes);
  }
  NONET_INLINE F second(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, const F (&z)[1]) {
    F n[1];
    const F u = load_lanes(s.next + i * s.h_row + j, lanes);
    const F h = GruBeforeCell::forward(s.gate(i, j, lanes, 2), z[0], u, s.state(i, j, lanes), n[0]);
    s.keep(i, j, lanes, n, 2);
    return h;
  }
};

template <class Rule>
constexpr bool has_second = requires { &Rule::second; };

template <class T>
NONET_INLINE void finish_state(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F h) {
  if (s.f.before != nullptr) store_lanes((T*)s.f.before + s.row_of(i) * s.f.state + j, s.state(i, j, lanes), lanes);
  store_lanes(s.next + i * s.h_row + j, h, lanes);
  if (s.next_pairs != nullptr) store_lanes(s.next_pairs + i * s.h_row + j, h, lanes);
  store_lanes((T*)s.f.y + s.row_of(i) * s.f.y_row + j, h, lanes);
}

}  // namespace nonet::NONET_NS::forward_pass
