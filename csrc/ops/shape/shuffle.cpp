#include "ops/shape/shuffle.h"

#include "array/strided.h"

namespace nonet {

namespace {

// The stored array under a finer shape, its axes in another order, as an array of a logical shape.
Array moved(const Array& x, const Shape& fine, const Shape& order, const Shape& logical) {
  const Array out = read_strided(x, strided(fine).permuted(order));
  if (x.format() == Format::plain) return out.reshape(logical);
  return from_stored(out.reshape({logical[0], logical[2], logical[3], logical[1]}), x.format());
}

void check_image(const Array& x, const char* op) {
  check(x.rank() >= 3, op, ": input must have shape [..., C, H, W], got ", x.shape());
}

Shape with_image(const Shape& shape, int64_t c, int64_t h, int64_t w) {
  const int axis = shape.rank() - 3;
  return shape.with(axis, c).with(axis + 1, h).with(axis + 2, w);
}

}  // namespace

Array pixel_shuffle(const Array& x, int64_t r) {
  check_image(x, "pixel_shuffle");
  check(r > 0, "pixel_shuffle: upscale_factor must be positive, got ", r);
  const int axis = x.rank() - 3;
  const int64_t c = x.dim(axis) / (r * r);
  check(c * r * r == x.dim(axis), "pixel_shuffle: the channels must be a multiple of upscale_factor^2 = ", r * r,
        ", got input of shape ", x.shape());
  const int64_t h = x.dim(axis + 1);
  const int64_t w = x.dim(axis + 2);
  const int64_t n = x.shape().product(0, axis);
  const bool plain = x.format() == Format::plain;
  return moved(x, plain ? Shape{n, c, r, r, h, w} : Shape{n, h, w, c, r, r}, {0, 1, 4, 2, 5, 3},
               with_image(x.shape(), c, h * r, w * r));
}

Array pixel_unshuffle(const Array& x, int64_t r) {
  check_image(x, "pixel_unshuffle");
  check(r > 0, "pixel_unshuffle: downscale_factor must be positive, got ", r);
  const int axis = x.rank() - 3;
  const int64_t c = x.dim(axis);
  const int64_t h = x.dim(axis + 1) / r;
  const int64_t w = x.dim(axis + 2) / r;
  check(h * r == x.dim(axis + 1) && w * r == x.dim(axis + 2),
        "pixel_unshuffle: height and width must be multiples of downscale_factor = ", r, ", got input of shape ",
        x.shape());
  const int64_t n = x.shape().product(0, axis);
  const bool plain = x.format() == Format::plain;
  return moved(x, plain ? Shape{n, c, h, r, w, r} : Shape{n, h, r, w, r, c}, {0, 1, 3, 5, 2, 4},
               with_image(x.shape(), c * r * r, h, w));
}

Array channel_shuffle(const Array& x, int64_t groups) {
  check(x.rank() >= 3, "channel_shuffle: input must have shape [N, C, ...], got ", x.shape());
  check(groups > 0 && x.dim(1) % groups == 0, "channel_shuffle: groups must divide the channels, got ", groups,
        " groups and input of shape ", x.shape());
  const int64_t each = x.dim(1) / groups;
  const int64_t pixels = x.shape().product(2, x.rank());
  if (x.format() == Format::plain) return moved(x, {x.dim(0), groups, each, pixels}, {0, 2, 1, 3}, x.shape());
  return moved(x, {x.dim(0), pixels, groups, each}, {0, 1, 3, 2}, x.shape());
}

}  // namespace nonet
