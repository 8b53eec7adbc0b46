// Normalisation of images per channel: batch normalisation (Ioffe & Szegedy, "Batch normalization", 2015), instance
// normalisation (Ulyanov, Vedaldi & Lempitsky, 2016) and group normalisation (Wu & He, 2018).
//
// x: [N, C, S], S the positions of an image. A slice is what shares a mean and a variance: a channel of all images
// (batch), a group of channels of one image (group), a channel of one image (instance).
//
//   m = mean(slice), v = mean((x - m)^2), r = 1 / sqrt(v + eps), or m and v are given
//   h = (x - m) r, z = h gamma_c + beta_c [+ residual], y = z, or max(z, 0)
//
//   dz = dy, or 0 where z <= 0; the residual's gradient is dz;  g = dz gamma_c
//   dx = r (g - mean(g) - h mean(g h)), means over the slice; with given m and v:  dx = r g
//   dgamma_c = sum of dz h,  dbeta_c = sum of dz
//
// float32 or bfloat16 in memory, float32 arithmetic. Saved for the backward pass: x, m, r, and y where z cannot be
// had from x. Statistics are taken in one reading: a part of at most some thousand elements is summed as distances,
// and their squares, from an origin that is the mean of its first elements. The origin is at most sqrt(n / k)
// deviations from the mean of a part of n, the first k of which it comes from, so the variance loses no more than the
// digits of n / k. Parts are joined in float64, in their order: the number of threads does not matter.
#pragma once

#include "base/kernel.h"

namespace nonet {

// ---------------------------------------------------------------- positions side by side: [N, C, S]
// Slice i has `runs` runs of `length` elements: run j begins at i * slice_step + j * run_step, and its gamma and beta
// are those of channel i % groups * group_channels + (group_channels > 1 ? j : 0).
struct Slices {
  int64_t slices, runs, length;
  int64_t slice_step, run_step;
  int64_t groups, group_channels;
};

constexpr int64_t slice_part = 4096;  // elements of a run that are summed together
// How many parts a slice has.
constexpr int64_t slice_parts(const Slices& s) {
  return s.runs * ((s.length + slice_part - 1) / slice_part);
}

// x, residual, y, dy, dz, dx: float32 or bfloat16, all of the same dtype and layout.
struct SliceNorm {
  DType dtype;
  const void* x;
  const void* residual;  // or null
  const void* y;         // backward: or null where it can be computed from x
  const float* gamma;    // or null
  const float* beta;     // or null
  bool relu;
};

struct SliceNormKernels {
  // mean, variance, rstd: [slices]; `given`: they are inputs. parts: null if slices are as many as threads may want,
  // each read a second time out of a cache; else scratch, 3 numbers for each part of each slice.
  void (*forward)(const SliceNorm& norm, void* y, float* mean, float* variance, float* rstd, float eps, bool given,
                  const Slices& slices, float* parts);
  // dz: the residual's gradient, or null. sums: [slices, group_channels, 2], of dz h and of dz, per channel. dx: or
  // null. parts: as above, 2 numbers for each part.
  void (*backward)(const SliceNorm& norm, const void* dy, const float* mean, const float* rstd, bool given, void* dz,
                   void* dx, float* sums, const Slices& slices, float* parts);
};
NONET_KERNELS(SliceNormKernels, slice_norm_kernels);

// ---------------------------------------------------------------- channels side by side: [images, pixels, channels]
// Tables hold a number per channel: one for all images, or [images, channels] with table_step = channels.
struct Pixels {
  int64_t images, pixels, channels;
  int64_t table_step;
};

constexpr int64_t pixel_part = 128;  // pixels that are summed together
constexpr int64_t pixel_parts(const Pixels& p) {
  return (p.pixels + pixel_part - 1) / pixel_part;
}

struct PixelNormKernels {
  // parts: [images, pixel_parts, 3, channels]: of each part its origin and the sums of distances and of their squares.
  void (*moments)(DType dtype, const void* x, float* parts, const Pixels& pixels);
  // y = (x - mean) scale + shift [+ residual], or its positive part.
  void (*apply)(DType dtype, const void* x, const void* residual, void* y, const float* mean, const float* scale,
                const float* shift, bool relu, const Pixels& pixels);
  // parts: [images, pixel_parts, 2, channels]: sums of dz (x - mean) and of dz. dz: or null. relu: dz is 0 where y, or,
  // if y is null, (x - mean) scale + shift, is not positive.
  void (*sums)(DType dtype, const void* dy, const void* x, const void* y, const float* mean, const float* scale,
               const float* shift, bool relu, void* dz, float* parts, const Pixels& pixels);
  // dx = dz scale + (x - mean) slope + offset, of dy as above; slope null: dx = dz scale.
  void (*gradient)(DType dtype, const void* dy, const void* x, const void* y, const float* mean, const float* scale,
                   const float* shift, bool relu, const float* slope, const float* offset, void* dx,
                   const Pixels& pixels);
};
NONET_KERNELS(PixelNormKernels, pixel_norm_kernels);

}  // namespace nonet
