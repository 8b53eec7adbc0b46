// The overlap of two boxes and its gradient as maps, once for the CPU's vectors and for GPU threads (see
// ops/elementwise/map_unary.h).
#pragma once

#include "ops/boxes/boxes.h"

namespace nonet::NONET_NS {

struct Box {
  F x1, y1, x2, y2;
};

NONET_INLINE F area(const Box& b) {
  return (b.x2 - b.x1) * (b.y2 - b.y1);
}
NONET_INLINE F positive(F x) {
  return x > 0.f ? x : F{};
}

// What all kinds start from.
struct Meeting {
  F w, h;  // of the intersection, 0 if there is none
  F both;  // its area
  F all;   // of the union
  F outer_w, outer_h;

  NONET_INLINE Meeting of(const Box& a, const Box& b) {
    Meeting m;
    m.w = positive(minimum(a.x2, b.x2) - maximum(a.x1, b.x1));
    m.h = positive(minimum(a.y2, b.y2) - maximum(a.y1, b.y1));
    m.both = m.w * m.h;
    m.all = area(a) + area(b) - m.both;
    m.outer_w = maximum(a.x2, b.x2) - minimum(a.x1, b.x1);
    m.outer_h = maximum(a.y2, b.y2) - minimum(a.y1, b.y1);
    return m;
  }
};

// Twice the way from the center of b to that of a.
struct Way {
  F x, y;

  NONET_INLINE Way of(const Box& a, const Box& b) {
    return {(a.x1 + a.x2) - (b.x1 + b.x2), (a.y1 + a.y2) - (b.y1 + b.y2)};
  }
};

template <Overlap kind>
NONET_INLINE F overlap(const Box& a, const Box& b, float e) {
  const Meeting m = Meeting::of(a, b);
  const F iou = m.both / (m.all + e);
  if (kind == Overlap::generalized) {
    const F c = m.outer_w * m.outer_h;
    return iou - (c - m.all) / (c + e);
  }
  if (kind == Overlap::distance) {
    const Way way = Way::of(a, b);
    return iou - 0.25f * (way.x * way.x + way.y * way.y) / (m.outer_w * m.outer_w + m.outer_h * m.outer_h + e);
  }
  return iou;
}

// The share of the first of two operands in the gradient of their maximum.
NONET_INLINE F share(F a, F b) {
  return a > b ? broadcast(1.f) : (a < b ? F{} : broadcast(0.5f));
}

struct BoxPair {
  Box a, b;
};

template <Overlap kind>
NONET_INLINE BoxPair overlap_gradient(const Box& a, const Box& b, float e, F g) {
  const Meeting m = Meeting::of(a, b);
  const F all = m.all + e;
  F d_all = -g * m.both / (all * all);
  F d_outer_w = F{};
  F d_outer_h = F{};
  F d_way_x = F{};  // of both corners of a, and less of both of b
  F d_way_y = F{};
  if (kind == Overlap::generalized) {
    const F c = m.outer_w * m.outer_h + e;
    const F d_c = -g * all / (c * c);
    d_all = d_all + g / c;
    d_outer_w = d_c * m.outer_h;
    d_outer_h = d_c * m.outer_w;
  }
  if (kind == Overlap::distance) {
    const Way way = Way::of(a, b);
    const F c = m.outer_w * m.outer_w + m.outer_h * m.outer_h + e;
    const F d_square = -0.25f * g / c;
    const F d_c = -d_square * (way.x * way.x + way.y * way.y) / c;
    d_way_x = 2.f * d_square * way.x;
    d_way_y = 2.f * d_square * way.y;
    d_outer_w = 2.f * d_c * m.outer_w;
    d_outer_h = 2.f * d_c * m.outer_h;
  }
  // The union is both areas less the intersection.
  const F d_both = m.both > 0.f ? g / all - d_all : F{};
  const F d_w = d_both * m.h;
  const F d_h = d_both * m.w;
  const F x1 = share(a.x1, b.x1);  // inside a's share, outside b's
  const F y1 = share(a.y1, b.y1);
  const F x2 = share(b.x2, a.x2);
  const F y2 = share(b.y2, a.y2);
  const F a_w = d_all * (a.y2 - a.y1);
  const F a_h = d_all * (a.x2 - a.x1);
  const F b_w = d_all * (b.y2 - b.y1);
  const F b_h = d_all * (b.x2 - b.x1);
  const F in_x1 = 1.f - x1;
  const F in_y1 = 1.f - y1;
  const F in_x2 = 1.f - x2;
  const F in_y2 = 1.f - y2;
  BoxPair out;
  out.a.x1 = d_way_x - a_w - d_w * x1 - d_outer_w * in_x1;
  out.a.y1 = d_way_y - a_h - d_h * y1 - d_outer_h * in_y1;
  out.a.x2 = d_way_x + a_w + d_w * x2 + d_outer_w * in_x2;
  out.a.y2 = d_way_y + a_h + d_h * y2 + d_outer_h * in_y2;
  out.b.x1 = -d_way_x - b_w - d_w * in_x1 - d_outer_w * x1;
  out.b.y1 = -d_way_y - b_h - d_h * in_y1 - d_outer_h * y1;
  out.b.x2 = -d_way_x + b_w + d_w * in_x2 + d_outer_w * x2;
  out.b.y2 = -d_way_y + b_h + d_h * in_y2 + d_outer_h * y2;
  return out;
}

}  // namespace nonet::NONET_NS
