// How the products of a convolution are cut into blocks on a device: from the sizes alone, so that results do not
// depend on the device. Arithmetic for the kernels' launchers and for who allocates their scratch. Not for *.simd.cpp.
#pragma once

#include "ops/conv/conv.h"

namespace nonet {

constexpr int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Sizes as in conv.h; pairs are (height, width), padding is above and left. An image of a sequence has height 1.
struct ConvShape {
  int64_t n, c, h, w;
  int64_t o, kh, kw, oh, ow;
  int64_t groups;
  int64_t stride[2], padding[2], dilation[2];

  constexpr int64_t in() const { return c / groups; }  // channels per group
  constexpr int64_t out() const { return o / groups; }
  constexpr bool depthwise() const { return groups > 1 && c == groups && o == groups; }
};

inline constexpr int64_t conv_blocks = 132;  // that a large GPU runs at least

enum class ConvTile { wide, middle, narrow };  // 128 x 128, 128 x 64, 256 x 16 (pixels x channels)

constexpr ConvTile correlation_tile(int64_t pixels, int64_t channels, int64_t groups) {
  if (channels <= 16) return ConvTile::narrow;
  if (channels <= 64) return ConvTile::middle;
  const int64_t blocks = divide_up(pixels, 128) * divide_up(channels, 128) * groups;
  return blocks < conv_blocks ? ConvTile::middle : ConvTile::wide;
}

// dW: channels out x (kernel positions, channels in) of a group.
struct WeightTile {
  int64_t m, n;
};
constexpr WeightTile weight_tile(const ConvShape& s) {
  if (s.depthwise()) return {32, 8};  // channels, kernel positions
  if (s.out() <= 16) return {16, 128};
  const bool small = s.out() <= 64 || s.kh * s.kw * s.in() <= 64;
  return small ? WeightTile{64, 64} : WeightTile{128, 128};
}

// Parts of the pixels that are summed apart: enough for two rounds of blocks, of at least 128 pixels, and no more than
// 64 MB of them.
constexpr int64_t weight_slices(const ConvShape& s) {
  const WeightTile tile = weight_tile(s);
  const int64_t positions = s.kh * s.kw;
  const int64_t blocks = s.depthwise() ? divide_up(s.o, tile.m) * divide_up(positions, tile.n)
                                       : s.groups * divide_up(s.out(), tile.m) * divide_up(positions * s.in(), tile.n);
  const int64_t weights = s.o * positions * s.in();
  int64_t slices = divide_up(2 * conv_blocks, blocks > 0 ? blocks : 1);
  const int64_t by_pixels = s.n * s.oh * s.ow / 128;
  const int64_t by_memory = (int64_t{16} << 20) / (weights > 0 ? weights : 1);
  slices = slices < by_pixels ? slices : by_pixels;
  slices = slices < by_memory ? slices : by_memory;
  return slices > 1 ? slices : 1;
}

}  // namespace nonet
