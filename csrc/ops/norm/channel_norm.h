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

// ---------------------------------------------------------------- on a device
struct ReducePlan;  // ops/reduce/reduce.h

// x: [images, channels, positions] or, channels last, [images, positions, channels]. A cell is a channel of an image,
// number image * channels + channel; a slice is a group of cells of one image, or, groups = 0, a channel of all images.
struct CellLayout {
  int64_t images, channels, positions;
  int64_t groups;
  bool last;
};

// x, y, residual, dy, dz, dx: float32 or bfloat16; plan: of the positions, which are the middle axis of x as [outer, n,
// inner]; parts: its scratch. All but moments, sums and maps of elements are small.
struct ChannelNormDevice {
  static constexpr const char* name = "channel_norm";

  // cells: [cells, 2], mean and squares about it.
  void (*moments)(Stream, DType dtype, const void* x, double* cells, const ReducePlan& plan, void* parts);
  // mean, variance: [slices].
  void (*statistics)(Stream, const double* cells, float* mean, float* variance, const CellLayout& layout);
  // maps: [cells, 4], of each the mean, gamma r, beta, and nothing. gamma, beta: [channels] or null. rstd [slices] is
  // written, or, variance null, read.
  void (*maps)(Stream, const float* mean, const float* variance, float eps, const float* gamma, const float* beta,
               float* rstd, float* maps, const CellLayout& layout);
  // running [channels] = (1 - momentum) running + momentum (the average of statistics [images, channels]) scale.
  void (*update)(Stream, const float* statistics, float* running, double momentum, double scale, int64_t images,
                 int64_t channels);
  void (*apply)(Stream, DType dtype, const void* x, const void* residual, void* y, const float* maps, bool relu,
                const CellLayout& layout);
  // sums: [cells, 2], of dz (x - m) and of dz. y, dz: or null, as on the CPU.
  void (*sums)(Stream, DType dtype, const void* dy, const void* x, const void* y, const float* maps, bool relu,
               void* dz, float* sums, const ReducePlan& plan, void* parts);
  // slopes: [cells, 2], what x - m and 1 are multiplied by in dx; null where the statistics were given.
  void (*slopes)(Stream, const float* sums, const float* rstd, const float* gamma, float* slopes,
                 const CellLayout& layout);
  // dgamma, dbeta: [channels].
  void (*parameters)(Stream, const float* sums, const float* rstd, float* dgamma, float* dbeta,
                     const CellLayout& layout);
  void (*gradient)(Stream, DType dtype, const void* dy, const void* x, const void* y, const float* maps, bool relu,
                   const float* slopes, void* dx, const CellLayout& layout);
};

}  // namespace nonet
