// What a cell does with the gradient of h at a step of the backward pass, once for the CPU and for GPUs: see
// forward_rules.h.
#pragma once

#include "ops/recurrent/places.h"
//
#include "ops/recurrent/cells.h"

// A namespace of its own: the other pass has rules of the same names.
namespace nonet::NONET_NS::backward_pass {

// Where a thread finds everything at one step. dz holds the gradients that multiply W_hh, for all sequences, padded()
// floats apart: of the step behind, which is read, and of this one.
template <class T>
struct Here {
  const RecurrentBackward& b;
  int64_t row;  // of the first sequence
  const float* dz;
  float* next;
  int64_t dz_row;
  float* past;  // [B, H]: gradients that pass the products by: of c for LSTM, of h for GRU
  float* middle;
  int64_t middle_row;
  // With products of pairs, in the place of next and middle; else null.
  bfloat16* next_pairs = nullptr;
  bfloat16* middle_pairs = nullptr;

  NONET_MEMBER int64_t row_of(int64_t i) const { return row + i * b.at.stride; }
  template <int n>
  NONET_MEMBER void load_kept(int64_t i, int64_t j, int64_t lanes, F (&value)[n]) const {
    const T* from = (const T*)b.kept + row_of(i) * kept_of(b.cell) * b.hidden + j;
    NONET_EACH_GATE
    for (int g = 0; g < n; ++g) value[g] = load_lanes(from + g * b.hidden, lanes);
  }
  NONET_MEMBER F before(int64_t i, int64_t j, int64_t lanes) const {
    return load_lanes((const T*)b.before + row_of(i) * b.state + j, lanes);
  }
  NONET_MEMBER F dy(int64_t i, int64_t j, int64_t lanes) const {
    return b.dy == nullptr ? F{} : load_lanes((const T*)b.dy + row_of(i) * b.dy_row + j, lanes);
  }
  NONET_MEMBER F passed(int64_t i, int64_t j, int64_t lanes) const {
    return load_lanes(past + i * b.hidden + j, lanes);
  }
  NONET_MEMBER void pass(int64_t i, int64_t j, int64_t lanes, F value) const {
    store_lanes(past + i * b.hidden + j, value, lanes);
  }
  // Gate g among those that multiply W_hh, and among all gradients.
  NONET_MEMBER void store_product(int64_t i, int64_t j, int64_t lanes, int64_t g, F value) const {
    if (next_pairs != nullptr) {
      store_lanes(next_pairs + i * dz_row + g * b.hidden + j, value, lanes);
    } else {
      store_lanes(next + i * dz_row + g * b.hidden + j, value, lanes);
    }
  }
  NONET_MEMBER void store_middle(int64_t i, int64_t j, int64_t lanes, F value) const {
    if (middle_pairs != nullptr) {
      store_lanes(middle_pairs + i * middle_row + j, value, lanes);
    } else {
      store_lanes(middle + i * middle_row + j, value, lanes);
    }
  }
  NONET_MEMBER void store_gradient(int64_t i, int64_t j, int64_t lanes, int64_t g, F value) const {
    store_lanes((T*)b.dz + (row_of(i) * gradients_of(b.cell) + g) * b.hidden + j, value, lanes);
  }
};

// A rule is a cell's part of a step: `first` gets the gradient of h, all of it but what a second product adds, and what
// `prepare` made (if `prepares`), which takes long and wants no gradient. `passes`: part of it reaches the h before
// past the products.
struct NothingPrepared {
  static constexpr bool prepares = false;
  template <class T>
  NONET_INLINE F prepare(const Here<T>&, int64_t, int64_t, int64_t) {
    return F{};
  }
};

template <class OneCell, class T>
struct RnnRule : NothingPrepared {
  static constexpr bool passes = false;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh, F) {
    const F h = load_lanes((const T*)s.b.y + s.row_of(i) * s.b.y_row + j, lanes);
    const F dz = OneCell::backward(h, dh);
    s.store_product(i, j, lanes, 0, dz);
    s.store_gradient(i, j, lanes, 0, dz);
  }
};

template <class T>
struct LstmRule {
  static constexpr bool passes = false;
  static constexpr bool prepares = true;
  NONET_INLINE F cell(const Here<T>& s, int64_t i, int64_t j, int64_t lanes) {
    return load_lanes((const T*)s.b.cells + s.row_of(i) * s.b.hidden + j, lanes);
  }
  NONET_INLINE F prepare(const Here<T>& s, int64_t i, int64_t j, int64_t lanes) {
    F gate[4];
    s.load_kept(i, j, lanes, gate);
    return gate_tanh(LstmCell::next(gate, cell(s, i, j, lanes)));
  }
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh, F t) {
    F gate[4];
    F dz[4];
    s.load_kept(i, j, lanes, gate);
    F dc = s.passed(i, j, lanes);
    LstmCell::backward(gate, cell(s, i, j, lanes), t, dh, dc, dz);
    s.pass(i, j, lanes, dc);
    NONET_EACH_GATE
    for (int g = 0; g < 4; ++g) {
      s.store_product(i, j, lanes, g, dz[g]);
      s.store_gradient(i, j, lanes, g, dz[g]);
    }
  }
};

template <class T>
struct ProjectedRule : NothingPrepared {
  static constexpr bool passes = false;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh, F) {
    s.store_middle(i, j, lanes, dh);
    store_lanes((T*)s.b.dstate + s.row_of(i) * s.b.state + j, dh, lanes);
  }
  NONET_INLINE void second(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dm) {
    LstmRule<T>::first(s, i, j, lanes, dm, LstmRule<T>::prepare(s, i, j, lanes));
  }
};

template <class T>
struct GruRule : NothingPrepared {
  static constexpr bool passes = true;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh, F) {
    F kept[4];
    F dz[4];
    s.load_kept(i, j, lanes, kept);
    s.pass(i, j, lanes, GruCell::backward(kept, s.before(i, j, lanes), dh, dz));
    NONET_EACH_GATE
    for (int g = 0; g < 4; ++g) {
      if (g != 2) s.store_product(i, j, lanes, g == 3 ? 2 : g, dz[g]);
      s.store_gradient(i, j, lanes, g, dz[g]);
    }
  }
};

template <class T>
struct GruBeforeRule : NothingPrepared {
  static constexpr bool passes = true;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh, F) {
    F kept[3];
    F du;
    F dn;
    s.load_kept(i, j, lanes, kept);
    s.pass(i, j, lanes, GruBeforeCell::backward(kept[1], kept[2], s.before(i, j, lanes), dh, du, dn));
    s.store_middle(i, j, lanes, dn);
    s.store_product(i, j, lanes, 1, du);
    s.store_gradient(i, j, lanes, 1, du);
    s.store_gradient(i, j, lanes, 2, dn);
  }
  NONET_INLINE void second(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F drh) {
    F kept[1];
    F dr;
    s.load_kept(i, j, lanes, kept);
    const F more = GruBeforeCell::reset_backward(kept[0], s.before(i, j, lanes), drh, dr);
    s.pass(i, j, lanes, s.passed(i, j, lanes) + more);
    s.store_product(i, j, lanes, 0, dr);
    s.store_gradient(i, j, lanes, 0, dr);
  }
};

template <class Rule>
constexpr bool has_second = requires { &Rule::second; };

}  // namespace nonet::NONET_NS::backward_pass
