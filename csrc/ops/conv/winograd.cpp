#include "ops/conv/winograd.h"

#include <algorithm>
#include <vector>

#include "base/threads.h"
#include "ops/conv/passes.h"

namespace nonet {

namespace {

constexpr int64_t least_channels = 16;  // of both images: transforms cost as much as products of so many
constexpr int64_t least_tiles = 16;     // that make the transform of the weights worth while

int64_t tiles_along(int64_t pixels) {
  return (pixels + 1) / 2;
}

const WinogradKernels& kernels([[maybe_unused]] bool pairs) {
#if defined(__x86_64__)
  if (pairs) return avx512::winograd_pair_kernels;
#endif
  return winograd_kernels();
}

// Multiplications along an axis of so many pixels of the output: for a kernel without stride, or with stride 2 over
// both parities.
int64_t products_along(int64_t pixels, int64_t kernel, int64_t stride) {
  if (stride == 1) return 4 * tiles_along(pixels) - pixels % 2;
  return (kernel + 2) * tiles_along(pixels) - 2 * (pixels % 2);
}

bool fits(const ConvSizes& s, const ConvOptions& o) {
  const int64_t stride = o.stride[0];
  const auto known = [&](int64_t kernel) { return stride == 1 ? kernel == 3 : kernel == 3 || kernel == 4; };
  return s.groups == 1 && stride <= 2 && o.stride[1] == stride && known(s.kh) && known(s.kw) && o.dilation[0] == 1 &&
         o.dilation[1] == 1 && o.precision != Precision::ieee && std::min(s.in, s.out) >= least_channels;
}

// Whether tiles compute less than the definition on that many output pixels, transforms counted as a quarter more.
bool pays(const ConvSizes& s, const ConvOptions& o, int64_t rows, int64_t cols) {
  if (!fits(s, o) || s.n * tiles_along(rows) * tiles_along(cols) < least_tiles) return false;
  const int64_t stride = o.stride[0];
  return 5 * products_along(rows, s.kh, stride) * products_along(cols, s.kw, stride) < 4 * s.positions() * rows * cols;
}

// Values summed at a time: few, as what is summed is larger than outputs, and fewer where the definition has shorter
// sums to compare with.
int64_t chain_of(const ConvSizes& s) {
  return s.kh == 4 || s.kw == 4 ? 32 : 64;
}

Pixels<float> rows_of(const Array& image, int64_t first) {
  const int64_t row = image.dim(3) * image.dim(1);
  return {image.raw<float>() + first * image.dim(2) * row, image.dim(2) * row, row, image.dim(1)};
}

// ---------------------------------------------------------------- kernels cut by parity
// The elements of a kernel along one axis that belong together.
struct Elements {
  int64_t count;
  int64_t at[3];
};

// Of output pixels with this stride: what meets the input pixels of a parity, in their order.
Elements elements_of(int64_t kernel, int64_t stride, int64_t parity) {
  Elements out{};
  for (int64_t k = parity; k < kernel; k += stride) out.at[out.count++] = k;
  return out;
}

// The other way round: what the pixels of an image read of the gradient.
Elements reversed(const Elements& e) {
  Elements out = e;
  std::reverse(out.at, out.at + out.count);
  return out;
}

int64_t matrices_of(const Elements& rows, const Elements& cols) {
  const auto along = [](int64_t taps) { return taps == 1 ? 1 : taps + 1; };
  return along(rows.count) * along(cols.count);
}

int64_t all_matrices(const ConvSizes& s, int64_t stride) {
  int64_t sum = 0;
  for (int64_t p = 0; p < stride * stride; ++p)
    sum += matrices_of(elements_of(s.kh, stride, p / stride), elements_of(s.kw, stride, p % stride));
  return sum;
}

// The matrices of every parity: side by side in every panel (forward), or panels of each by themselves (rotated).
struct Matrices {
  int64_t count;
  WinogradWeights of[most_sources];
};
Matrices matrices(const float* weight, const ConvSizes& s, int64_t stride, bool rotated, bool pairs, float* to) {
  const int64_t panel = kernels(pairs).matrix_floats(rotated ? s.o : s.c);
  const int64_t panels = ((rotated ? s.c : s.o) + 31) / 32;
  Matrices out{stride * stride, {}};
  int64_t first = 0;
  for (int64_t p = 0; p < out.count; ++p) {
    const Elements plain[2] = {elements_of(s.kh, stride, p / stride), elements_of(s.kw, stride, p % stride)};
    const Elements rows = rotated ? reversed(plain[0]) : plain[0];
    const Elements cols = rotated ? reversed(plain[1]) : plain[1];
    WinogradWeights& w = out.of[p];
    w = {weight, s.o, s.c, rotated, s.positions(), s.kw, rows.count, cols.count, {}, {}, 0, 0, to};
    std::copy_n(rows.at, 3, w.row);
    std::copy_n(cols.at, 3, w.col);
    w.matrices = rotated ? matrices_of(rows, cols) : all_matrices(s, stride);
    w.first = rotated ? 0 : first;
    if (rotated && to != nullptr) w.to += panels * first * panel;
    first += matrices_of(rows, cols);
  }
  return out;
}

Weights form_of(bool rotated, bool pairs, int64_t stride) {
  const int first = static_cast<int>(rotated ? Weights::rotated : Weights::tiles);
  return static_cast<Weights>(first + (pairs ? 2 : 0) + (stride == 2 ? 4 : 0));
}

// Output pixels per tile are two, and the kernel reaches beyond them.
Window tile_window(const ConvSizes& s, const ConvOptions& o) {
  const auto pixels = [&](int64_t size, int64_t kernel) {
    return 2 * o.stride[0] * tiles_along(size) + kernel - o.stride[0];
  };
  return {o.padding[0], o.padding[2], pixels(s.oh, s.kh), pixels(s.ow, s.kw), s.c};
}

// The sources of what reads an image with this stride.
template <class Call>
void set_sources(Call& call, const ConvSizes& s, int64_t stride, const Pixels<const float>& in) {
  call.in = {in.data, in.image, stride * in.row, stride * in.pixel};
  call.sources = stride * stride;
  for (int64_t p = 0; p < call.sources; ++p) {
    const int64_t row = p / stride;
    const int64_t col = p % stride;
    call.source[p] = {row * in.row + col * in.pixel, static_cast<int>(elements_of(s.kh, stride, row).count),
                      static_cast<int>(elements_of(s.kw, stride, col).count)};
  }
}

// Whether the calls had better make their weights themselves, a panel at a time while it is in cache: where nobody
// wants them again, and there are enough panels for all threads.
bool makes_weights(const Winograd* calls, int64_t count, bool pairs, bool once, const ConvOptions& o) {
  const int64_t panels = count * ((calls->channels + 31) / 32);
  return once && !o.keeps_weights && panels >= 4 * num_threads() && kernels(pairs).forward_workspace(calls, count) > 0;
}

// workspace: kept from call to call.
bool run(const Winograd* calls, int64_t count, bool pairs, Array& workspace) {
  const int64_t floats = kernels(pairs).forward_workspace(calls, count);
  if (floats > 0 && (!workspace.defined() || workspace.numel() < floats)) workspace = Array(Shape{floats});
  return kernels(pairs).forward(calls, count, floats > 0 ? workspace.data<float>() : nullptr);
}

}  // namespace

int64_t winograd_floats(const ConvSizes& s, int64_t stride, bool rotated, bool pairs) {
  const int64_t panels = ((rotated ? s.in : s.out) + 31) / 32;
  return panels * all_matrices(s, stride) * kernels(pairs).matrix_floats(rotated ? s.out : s.in);
}

void winograd_weights(const float* weight, const ConvSizes& s, int64_t stride, bool rotated, bool pairs, float* to) {
  const Matrices m = matrices(weight, s, stride, rotated, pairs, to);
  kernels(pairs).weights(m.of, m.count);
}

bool winograd_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                      const Array& y) {
  if (!pays(s, o, s.oh, s.ow)) return false;
  const bool pairs = multiplies_pairs(o.precision);
  const int64_t stride = o.stride[0];
  if (stride == 2 && !pairs && multiplies_terms(o.precision)) return false;  // patches are faster
  const Window window = tile_window(s, o);
  const int64_t step = images_at_a_time(x, window);
  const Matrices m = matrices(weight.data<float>(), s, stride, false, pairs, nullptr);
  Array weights;
  Array memory;
  Array workspace;
  for (int64_t first = 0; first < s.n; first += step) {
    Winograd call{};
    call.images = std::min(step, s.n - first);
    call.rows = s.oh;
    call.cols = s.ow;
    set_sources(call, s, stride, windowed(x, first, call.images, window, memory));
    call.out = rows_of(y, first);
    call.depth = s.c;
    call.channels = s.o;
    call.chain = chain_of(s);
    call.bias = bias;
    call.activation = o.activation;
    call.kernels = m.of;
    if (!weights.defined() && !makes_weights(&call, 1, pairs, step >= s.n, o))
      weights = prepared(weight, s, form_of(false, pairs, stride), o.keeps_weights);
    if (weights.defined()) call.weights = static_cast<const float*>(weights.address());
    if (!run(&call, 1, pairs, workspace)) return false;
  }
  return true;
}

namespace {

// Along one axis, the pixels of dX of one parity: how many there are, the elements of a kernel that reach them, and the
// pixel of dY that the first of these reads for the first of them.
struct Phase {
  int64_t count, taps, number;
  int64_t from;

  Phase(int64_t phase, int64_t size, int64_t before, int64_t kernel, int64_t stride)
      : count((size - phase + stride - 1) / stride), number((phase + before) % stride) {
    const Elements e = elements_of(kernel, stride, number);
    taps = e.count;
    from = (phase + before - e.at[e.count - 1]) / stride;
  }
  int64_t end() const { return from + 2 * tiles_along(count) + taps - 1; }
};

// What all of them read.
struct Reach {
  int64_t before, length;
};
Reach reach(const std::vector<Phase>& phases) {
  int64_t low = 0;
  int64_t high = 0;
  for (const Phase& p : phases) {
    low = std::min(low, p.from);
    high = std::max(high, p.end());
  }
  return {-low, high - low};
}

std::vector<Phase> phases(int64_t size, int64_t before, int64_t kernel, int64_t stride) {
  std::vector<Phase> out;
  for (int64_t p = 0; p < std::min(stride, size); ++p) out.emplace_back(p, size, before, kernel, stride);
  return out;
}

}  // namespace

// One image for each phase of rows and columns.
bool winograd_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                    const Array& dx) {
  const int64_t stride = o.stride[0];
  if (!pays(s, o, s.h / stride, s.w / stride)) return false;
  const bool pairs = multiplies_pairs(o.precision);
  const Matrices m = matrices(weight.data<float>(), s, stride, true, pairs, nullptr);
  Array weights;
  const std::vector<Phase> rows = phases(s.h, o.padding[0], s.kh, stride);
  const std::vector<Phase> cols = phases(s.w, o.padding[2], s.kw, stride);
  const Reach down = reach(rows);
  const Reach across = reach(cols);
  const Window window{down.before, across.before, down.length, across.length, s.o};
  const int64_t step = images_at_a_time(dy, window);
  Array memory;
  Array workspace;
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    const Pixels<const float> in = windowed(dy, first, images, window, memory);
    const Pixels<float> out = rows_of(dx, first);
    std::vector<Winograd> calls;
    for (size_t a = 0; a < rows.size(); ++a) {
      for (size_t b = 0; b < cols.size(); ++b) {
        Winograd& call = calls.emplace_back();
        call.images = images;
        call.rows = rows[a].count;
        call.cols = cols[b].count;
        call.in = in;
        call.in.data += (down.before + rows[a].from) * in.row + (across.before + cols[b].from) * in.pixel;
        call.out = {out.data + static_cast<int64_t>(a) * out.row + static_cast<int64_t>(b) * out.pixel, out.image,
                    stride * out.row, stride * out.pixel};
        call.depth = s.o;
        call.channels = s.c;
        call.chain = chain_of(s);
        call.sources = 1;
        call.source[0] = {0, static_cast<int>(rows[a].taps), static_cast<int>(cols[b].taps)};
        call.kernels = &m.of[rows[a].number * stride + cols[b].number];
        call.bias = bias;
        call.activation = o.activation;
      }
    }
    const auto count = static_cast<int64_t>(calls.size());
    if (!weights.defined() && !makes_weights(calls.data(), count, pairs, step >= s.n, o))
      weights = prepared(weight, s, form_of(true, pairs, stride), o.keeps_weights);
    if (weights.defined()) {
      const Matrices at = matrices(nullptr, s, stride, true, pairs, static_cast<float*>(weights.address()));
      for (Winograd& call : calls) call.weights = at.of[call.kernels - m.of].to;
    }
    if (!run(calls.data(), count, pairs, workspace)) return false;
  }
  return true;
}

bool winograd_weight(const Array& dy, const Array& x, const ConvSizes& s, const ConvOptions& o, const Array& dweight) {
  const int64_t stride = o.stride[0];
  const bool pairs = multiplies_pairs(o.precision);
  if (!pays(s, o, s.oh, s.ow) || (stride == 2 && !pairs && multiplies_terms(o.precision))) return false;
  const Window in_window = tile_window(s, o);
  const Window out_window{0, 0, s.oh, s.ow, s.o};
  const int64_t step = std::min(images_at_a_time(x, in_window), images_at_a_time(dy, out_window));
  const Array sums(Shape{all_matrices(s, stride) * s.c * s.o});
  Array in_memory;
  Array out_memory;
  Array workspace;
  for (int64_t first = 0; first < s.n; first += step) {
    WinogradGradient g{};
    g.images = std::min(step, s.n - first);
    g.rows = s.oh;
    g.cols = s.ow;
    set_sources(g, s, stride, windowed(x, first, g.images, in_window, in_memory));
    g.out = windowed(dy, first, g.images, out_window, out_memory);
    g.depth = s.c;
    g.channels = s.o;
    g.sums = sums.data<float>();
    g.accumulate = first > 0;
    if (!workspace.defined()) workspace = Array(Shape{kernels(pairs).gradient_workspace(g)});
    g.workspace = workspace.data<float>();
    kernels(pairs).gradient(g);
  }
  const Matrices m = matrices(nullptr, s, stride, false, pairs, dweight.data<float>());
  return kernels(pairs).gradient_weights(sums.data<float>(), m.of, m.count);
}

}  // namespace nonet
