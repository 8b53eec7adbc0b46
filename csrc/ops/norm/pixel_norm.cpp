#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/norm/channel_norm_cpu.h"

namespace nonet {

namespace {

constexpr int64_t narrow = 64;     // channels below which vectors of pixels are put together
constexpr int64_t short_run = 32;  // positions of an image below which a batch is read across images

// How an array with channels side by side, which may be an image's channels times a few neighbours, is read.
struct PixelView {
  Pixels p;
  int64_t groups;  // slices of an image; channel v of p belongs to slice v / inner % groups
  int64_t inner;
  bool per_slice;  // gamma and beta are those of the slice, else of channel v

  int64_t slices() const { return p.images * groups; }
  double slice_size() const { return static_cast<double>(p.pixels) * static_cast<double>(p.channels / groups); }
  int64_t cells() const { return p.images * p.channels; }
  // body(cell, its slice, its channel) for the channels of p in one image.
  template <class Body>
  void for_cells(int64_t image, const Body& body) const {
    for (int64_t v = 0; v < p.channels;) {
      for (int64_t f = 0; f < groups; ++f) {
        for (int64_t i = 0; i < inner; ++i, ++v) body(image * p.channels + v, image * groups + f, per_slice ? f : v);
      }
    }
  }
  // body(v) for the channels of slice f of an image.
  template <class Body>
  void for_channels(int64_t f, const Body& body) const {
    for (int64_t v = f * inner; v < p.channels; v += groups * inner) {
      for (int64_t i = 0; i < inner; ++i) body(v + i);
    }
  }
};

PixelView pixel_view(const Array& x, int64_t groups) {
  const auto [n, c, s] = image_sizes(x);
  if (groups > 0) return {{n, s, c, c}, groups, c / groups, false};
  const bool last = x.format() == Format::nhwc || s == 1;
  PixelView view{{1, last ? n * s : n, last ? c : c * s, 0}, c, last ? 1 : s, true};
  // Few channels fill no vector: neighbouring pixels lend theirs.
  Pixels& p = view.p;
  while (p.channels < narrow && p.channels % 16 != 0 && p.pixels % 2 == 0 && p.pixels > 2 * pixel_part) {
    p.channels *= 2;
    p.pixels /= 2;
  }
  return view;
}

// ---------------------------------------------------------------- the parts of pixels together
constexpr int64_t cell_block = 64;

// body(image, first channel, last channel) for blocks of channels.
template <class Body>
void for_cells(const Pixels& p, const Body& body) {
  const int64_t blocks = (p.channels + cell_block - 1) / cell_block;
  parallel_for(p.images * blocks, 1 + 4096 / (1 + pixel_parts(p) * cell_block), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t v = i % blocks * cell_block;
      body(i / blocks, v, std::min(v + cell_block, p.channels));
    }
  });
}

template <class Body>
void for_images(const Pixels& p, const Body& body) {
  parallel_for(p.images, 1 + 8192 / p.channels, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) body(image);
  });
}

// mean and squares (about it) of every channel of every image, in float64.
void cell_moments(const Array& parts, const Pixels& p, std::vector<double>& mean, std::vector<double>& squares) {
  const int64_t count = pixel_parts(p);
  for_cells(p, [&](int64_t image, int64_t begin, int64_t end) {
    const float* first = parts.data<float>() + image * count * 3 * p.channels;
    double* m = mean.data() + image * p.channels;
    double* q = squares.data() + image * p.channels;
    for (int64_t part = 0; part < count; ++part) {
      const float* origin = first + part * 3 * p.channels;
      const float* sum = origin + p.channels;
      const float* own = sum + p.channels;
      const auto n = static_cast<double>(std::min(pixel_part, p.pixels - part * pixel_part));
      for (int64_t v = begin; v < end; ++v) {
        const double shift = static_cast<double>(origin[v]) - static_cast<double>(first[v]);
        m[v] += n * shift + sum[v];
        q[v] += own[v] + shift * (2 * sum[v] + n * shift);
      }
    }
    const auto n = static_cast<double>(p.pixels);
    for (int64_t v = begin; v < end; ++v) {
      const double total = m[v];
      m[v] = first[v] + total / n;
      q[v] = std::max(0., q[v] - total * (total / n));
    }
  });
}

void pixel_statistics(const Array& x, const PixelView& view, const Array& mean, const Array& variance) {
  const Pixels& p = view.p;
  const Array parts({p.images * pixel_parts(p) * 3 * p.channels});
  pixel_norm_kernels().moments(x.dtype(), x.address(), parts.data<float>(), p);
  std::vector<double> means(view.cells());
  std::vector<double> squares(view.cells());
  cell_moments(parts, p, means, squares);
  parallel_for(view.slices(), 1 + 16384 / (1 + p.channels / view.groups), [&](int64_t begin, int64_t end) {
    for (int64_t slice = begin; slice < end; ++slice) {
      const int64_t cell = slice / view.groups * p.channels;
      const int64_t f = slice % view.groups;
      double sum = 0;
      view.for_channels(f, [&](int64_t v) { sum += means[cell + v]; });
      const double m = sum / static_cast<double>(p.channels / view.groups);
      double about = 0;
      view.for_channels(f, [&](int64_t v) {
        const double d = means[cell + v] - m;
        about += squares[cell + v] + static_cast<double>(p.pixels) * d * d;
      });
      mean.data<float>()[slice] = static_cast<float>(m);
      variance.data<float>()[slice] = static_cast<float>(about / view.slice_size());
    }
  });
}

// Per channel of p, or per image and channel: the mean, gamma r and beta.
struct Tables {
  Array mean, scale, shift;
};
Tables tables(const PixelView& view, const Array& mean, const Array& rstd, const Array& gamma, const Array& beta) {
  const Shape shape{view.cells()};
  const Tables out{Array(shape), Array(shape), Array(shape)};
  const float* c = floats(gamma);
  const float* b = floats(beta);
  for_images(view.p, [&](int64_t image) {
    view.for_cells(image, [&](int64_t cell, int64_t slice, int64_t channel) {
      out.mean.data<float>()[cell] = mean.data<float>()[slice];
      out.scale.data<float>()[cell] = rstd.data<float>()[slice] * (c != nullptr ? c[channel] : 1.f);
      out.shift.data<float>()[cell] = b != nullptr ? b[channel] : 0.f;
    });
  });
  return out;
}

void set_rstd(const Array& variance, const Array& rstd, float eps) {
  for (int64_t i = 0; i < rstd.numel(); ++i) {
    rstd.data<float>()[i] = static_cast<float>(1. / std::sqrt(double{variance.data<float>()[i]} + eps));
  }
}

// What the kernels of pixels leave: sums over the parts, and what becomes of them.
struct PixelSums {
  std::vector<double> dot, total;    // per cell: of dz (x - m) and of dz
  std::vector<double> gamma, beta;   // gradients per channel
  std::vector<double> dots, totals;  // per slice, weighted by gamma
};

PixelSums pixel_sums(const Array& parts, const PixelView& view, const Array& gamma, const Array& rstd, int64_t c) {
  const Pixels& p = view.p;
  const int64_t count = pixel_parts(p);
  PixelSums out{std::vector<double>(view.cells()),
                std::vector<double>(view.cells()),
                std::vector<double>(c),
                std::vector<double>(c),
                std::vector<double>(view.slices()),
                std::vector<double>(view.slices())};
  for_cells(p, [&](int64_t image, int64_t begin, int64_t end) {
    const int64_t cell = image * p.channels;
    for (int64_t part = 0; part < count; ++part) {
      const float* dot = parts.data<float>() + (image * count + part) * 2 * p.channels;
      const float* total = dot + p.channels;
      for (int64_t v = begin; v < end; ++v) {
        out.dot[cell + v] += dot[v];
        out.total[cell + v] += total[v];
      }
    }
  });
  for (int64_t image = 0; image < p.images; ++image) {
    view.for_cells(image, [&](int64_t cell, int64_t slice, int64_t channel) {
      const double weight = gamma.defined() ? gamma.data<float>()[channel] : 1.;
      out.gamma[channel] += out.dot[cell] * rstd.data<float>()[slice];
      out.beta[channel] += out.total[cell];
      out.dots[slice] += weight * out.dot[cell];
      out.totals[slice] += weight * out.total[cell];
    });
  }
  return out;
}

// The other two tables of dx.
struct Slopes {
  Array slope, offset;
};
Slopes slopes(const PixelView& view, const PixelSums& sums, const Array& rstd) {
  const Slopes out{Array({view.cells()}), Array({view.cells()})};
  for_images(view.p, [&](int64_t image) {
    view.for_cells(image, [&](int64_t cell, int64_t slice, int64_t) {
      const double r = rstd.data<float>()[slice];
      out.slope.data<float>()[cell] = static_cast<float>(-r * r * r * sums.dots[slice] / view.slice_size());
      out.offset.data<float>()[cell] = static_cast<float>(-r * sums.totals[slice] / view.slice_size());
    });
  });
  return out;
}

Array rounded(const std::vector<double>& values) {
  const Array out({static_cast<int64_t>(values.size())});
  std::transform(values.begin(), values.end(), out.data<float>(), [](double v) { return static_cast<float>(v); });
  return out;
}

}  // namespace

bool reads_pixels(const Array& x, int64_t groups) {
  const auto [n, c, s] = image_sizes(x);
  return x.format() == Format::nhwc || s == 1 || (groups == 0 && s < short_run && n >= 2 * pixel_part / s);
}

void pixels_forward(const NormForward& f) {
  const Array& x = f.in.x;
  const PixelView view = pixel_view(x, f.o.groups);
  if (!f.o.given) pixel_statistics(x, view, f.mean, f.variance);
  set_rstd(f.variance, f.rstd, f.o.eps);
  const Tables t = tables(view, f.mean, f.rstd, f.in.gamma, f.in.beta);
  pixel_norm_kernels().apply(x.dtype(), x.address(), address(f.in.residual), f.y.address(), floats(t.mean),
                             floats(t.scale), floats(t.shift), f.o.relu, view.p);
}

void pixels_backward(const NormBackward& b, ChannelNormGradients& out) {
  const auto& kernels = pixel_norm_kernels();
  const Array& x = b.in.x;
  const DType dtype = x.dtype();
  const PixelView view = pixel_view(x, b.o.groups);
  const Pixels& p = view.p;
  const Tables t = tables(view, b.mean, b.rstd, b.in.gamma, b.in.beta);
  Slopes more;
  if (b.sums) {
    const Array parts({p.images * pixel_parts(p) * 2 * p.channels});
    kernels.sums(dtype, b.dy.address(), x.address(), address(b.y), floats(t.mean), floats(t.scale), floats(t.shift),
                 b.o.relu, address(out.dresidual), parts.data<float>(), p);
    const PixelSums sums = pixel_sums(parts, view, b.in.gamma, b.rstd, x.dim(1));
    out.dgamma = rounded(sums.gamma);
    out.dbeta = rounded(sums.beta);
    if (!b.o.given) more = slopes(view, sums, b.rstd);
  }
  if (!out.dx.defined()) return;
  const bool masked = b.o.relu && !out.dresidual.defined();
  const Array& dz = out.dresidual.defined() ? out.dresidual : b.dy;
  kernels.gradient(dtype, dz.address(), x.address(), address(b.y), floats(t.mean), floats(t.scale), floats(t.shift),
                   masked, floats(more.slope), floats(more.offset), out.dx.address(), p);
}

}  // namespace nonet
