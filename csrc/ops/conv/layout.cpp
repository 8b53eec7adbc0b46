#include "ops/conv/layout.h"

#include <algorithm>

namespace nonet {

namespace {

constexpr int64_t panel_columns = 32;
constexpr int64_t grain = 16384;           // floats moved by a task
constexpr int64_t chunk_floats = 2 << 20;  // of padded images at a time

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Columns [from, to) of one row of a plain image, c channels `plane` apart, to pixels.
void gather_row(const float* row, int64_t plane, int64_t c, int64_t from, int64_t to, float* pixels, int64_t pixel) {
  constexpr int64_t together = 16;  // channels read side by side, so that a line of pixels is written once
  for (int64_t c0 = 0; c0 < c; c0 += together) {
    const int64_t c1 = std::min(c0 + together, c);
    float* to_pixel = pixels;
    for (int64_t x = from; x < to; ++x, to_pixel += pixel) {
      for (int64_t ch = c0; ch < c1; ++ch) to_pixel[ch] = row[ch * plane + x];
    }
  }
}

// W in panels: for every group and panel of 32 columns, [positions][depth][32]; body(group, first column, columns,
// panel) fills one, whose other columns are 0.
template <class Body>
void pack(const ConvSizes& s, int64_t columns, int64_t depth, float* to, const Body& body) {
  const int64_t panels = divide_up(columns, panel_columns);
  const int64_t panel_floats = s.positions() * depth * panel_columns;
  parallel_for(s.groups * panels, 1 + grain / (panel_floats + 1), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t column = p % panels * panel_columns;
      const int64_t count = std::min(panel_columns, columns - column);
      float* panel = to + p * panel_floats;
      if (count < panel_columns) std::fill_n(panel, panel_floats, 0.f);
      body(p / panels, column, count, panel);
    }
  });
}

// The position with its kernel column counted from the last.
int64_t mirrored(const ConvSizes& s, int64_t position) {
  return position / s.kw * s.kw + s.kw - 1 - position % s.kw;
}

}  // namespace

bool copies(const Array& x, const Window& window) {
  const bool stored_so = x.format() == Format::nhwc || x.dim(1) == 1 || x.dim(2) * x.dim(3) == 1;
  return !stored_so || window.top != 0 || window.left != 0 || window.height > x.dim(2) || window.width > x.dim(3) ||
         window.pixel != x.dim(1);
}

int64_t images_at_a_time(const Array& x, const Window& window) {
  if (!copies(x, window)) return x.dim(0);
  return std::max<int64_t>(1, chunk_floats / std::max<int64_t>(1, window.height * window.width * window.pixel));
}

Pixels<const float> windowed(const Array& x, int64_t first, int64_t count, const Window& window, Array& memory) {
  const int64_t c = x.dim(1);
  const int64_t h = x.dim(2);
  const int64_t w = x.dim(3);
  const float* from = x.raw<float>() + first * c * h * w;
  if (!copies(x, window)) return {from, h * w * c, w * c, c};
  const int64_t row_floats = window.width * window.pixel;
  if (!memory.defined() || memory.numel() < count * window.height * row_floats)
    memory = Array(Shape{count * window.height * row_floats});
  float* to = memory.data<float>();
  const int64_t left = std::min(window.width, std::max<int64_t>(window.left, 0));  // first column inside the image
  const int64_t right = std::max(left, std::min(window.width, window.left + w));
  parallel_for(count * window.height, 1 + grain / (row_floats + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t image = r / window.height;
      const int64_t y = r % window.height - window.top;
      float* row = to + r * row_floats;
      const bool inside = y >= 0 && y < h && left < right;
      if (!inside || window.pixel > c || left > 0 || right < window.width) std::fill(row, row + row_floats, 0.f);
      if (!inside) continue;
      const int64_t x0 = left - window.left;
      const int64_t x1 = right - window.left;
      float* pixels = row + left * window.pixel;
      if (x.format() == Format::plain && c > 1) {
        gather_row(from + (image * c * h + y) * w, h * w, c, x0, x1, pixels, window.pixel);
      } else {
        const float* source = from + ((image * h + y) * w + x0) * c;
        if (window.pixel == c) {
          std::copy_n(source, (x1 - x0) * c, pixels);
        } else {
          for (int64_t i = x0; i < x1; ++i, source += c, pixels += window.pixel) std::copy_n(source, c, pixels);
        }
      }
    }
  });
  return {to, window.height * row_floats, row_floats, window.pixel};
}

void pack_forward(const float* w, const ConvSizes& s, float* to) {
  constexpr int64_t together = 16;  // of a row of W: a cache line
  const int64_t row = s.in * s.positions();
  pack(s, s.out, s.in, to, [&](int64_t group, int64_t column, int64_t count, float* panel) {
    const float* from = w + (group * s.out + column) * row;
    float block[together][panel_columns] = {};
    for (int64_t k = 0; k < row; k += together) {
      const int64_t ks = std::min(together, row - k);
      for (int64_t j = 0; j < count; ++j) {
        for (int64_t i = 0; i < ks; ++i) block[i][j] = from[j * row + k + i];
      }
      for (int64_t i = 0; i < ks; ++i) {
        const int64_t position = (k + i) % s.positions();
        std::copy_n(block[i], panel_columns, panel + (position * s.in + (k + i) / s.positions()) * panel_columns);
      }
    }
  });
}

void pack_backward(const float* w, const ConvSizes& s, float* to) {
  const int64_t positions = s.positions();
  pack(s, s.in, s.out, to, [&](int64_t group, int64_t column, int64_t count, float* panel) {
    for (int64_t o = 0; o < s.out; ++o) {
      const float* from = w + ((group * s.out + o) * s.in + column) * positions;
      for (int64_t position = 0; position < positions; ++position) {
        float* to = panel + (position * s.out + o) * panel_columns;
        const float* at = from + mirrored(s, position);
        for (int64_t j = 0; j < count; ++j) to[j] = at[j * positions];
      }
    }
  });
}

Array pack_spread(const Array& weight, const ConvSizes& s) {
  const int64_t columns = s.kw * s.c;
  const int64_t panels = divide_up(columns, panel_columns);
  const Array out(Shape{s.kh * panels * s.o * panel_columns});
  const float* w = weight.data<float>();
  float* to = out.data<float>();
  for (int64_t i = 0; i < s.kh; ++i) {
    for (int64_t p = 0; p < panels; ++p) {
      for (int64_t o = 0; o < s.o; ++o) {
        for (int64_t at = p * panel_columns; at < (p + 1) * panel_columns; ++at)
          *to++ = at < columns ? w[((o * s.c + at % s.c) * s.kh + i) * s.kw + at / s.c] : 0.f;
      }
    }
  }
  return out;
}

Array pack_depthwise(const Array& weight, const ConvSizes& s, bool reversed) {
  const Array out(Shape{s.positions() * s.o});
  const float* w = weight.data<float>();
  float* to = out.data<float>();
  for (int64_t position = 0; position < s.positions(); ++position) {
    const int64_t source = reversed ? mirrored(s, position) : position;
    for (int64_t ch = 0; ch < s.o; ++ch) *to++ = w[ch * s.positions() + source];
  }
  return out;
}

void unpack_gradient(const float* packed, const Array& weight, const ConvSizes& s) {
  constexpr int64_t together = 16;  // output channels, and elements of their rows: cache lines of both sides
  float* w = weight.data<float>();
  const int64_t positions = s.positions();
  const int64_t row = s.in * positions;  // of one output channel
  const int64_t out = s.depthwise() ? s.o : s.out;
  const int64_t blocks = divide_up(out, together);
  parallel_for(s.o / out * blocks, 1 + grain / (row * together + 1), [&](int64_t begin, int64_t end) {
    float block[together][together];
    for (int64_t b = begin; b < end; ++b) {
      const int64_t o = b % blocks * together;
      const int64_t channels = std::min(together, out - o);
      const float* from = packed + b / blocks * row * out + o;
      float* to = w + (b / blocks * out + o) * row;
      for (int64_t k = 0; k < row; k += together) {
        const int64_t ks = std::min(together, row - k);
        for (int64_t i = 0; i < ks; ++i)
          std::copy_n(from + ((k + i) % positions * s.in + (k + i) / positions) * out, channels, block[i]);
        for (int64_t j = 0; j < channels; ++j) {
          for (int64_t i = 0; i < ks; ++i) to[j * row + k + i] = block[i][j];
        }
      }
    }
  });
}

}  // namespace nonet
