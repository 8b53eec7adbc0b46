#include "array/strided.h"

#include <algorithm>

#include "array/convert.h"
#include "array/launch.h"

namespace nonet {

namespace {

constexpr int64_t grain = 16384;  // elements per block
constexpr int64_t tile = 32;      // edge of a tile when the order of two axes changes

using Axis = CopyAxis;

// Outer to inner, in the order of the target; neighbours that are one axis in source and target are joined.
struct Walk : CopyAxes {
  static_assert(std::size(decltype(axes){}) == Shape::max_rank);

  Walk(const Shape& shape, const Shape& from, const Shape& to) : CopyAxes{} {
    for (int axis = 0; axis < shape.rank(); ++axis) {
      const Axis next = {shape[axis], from[axis], to[axis]};
      if (next.n == 1) continue;
      Axis* last = rank > 0 ? &axes[rank - 1] : nullptr;
      if (last != nullptr && last->from == next.from * next.n && last->to == next.to * next.n) {
        *last = {last->n * next.n, next.from, next.to};
      } else {
        axes[rank++] = next;
      }
    }
    if (rank == 0) axes[rank++] = {1, 1, 1};
  }
  Axis take(int axis) {
    const Axis out = axes[axis];
    std::copy(axes + axis + 1, axes + rank, axes + axis);
    --rank;
    return out;
  }
  int64_t steps() const {
    int64_t out = 1;
    for (int axis = 0; axis < rank; ++axis) out *= axes[axis].n;
    return out;
  }
};

// A position in a walk: the offsets of one step, and of the next.
struct Cursor {
  const Walk& walk;
  int64_t from = 0;
  int64_t to = 0;
  int64_t index[Shape::max_rank];

  Cursor(const Walk& walk, int64_t step) : walk(walk) {
    for (int axis = walk.rank; axis-- > 0;) {
      const Axis& a = walk.axes[axis];
      index[axis] = step % a.n;
      step /= a.n;
      from += index[axis] * a.from;
      to += index[axis] * a.to;
    }
  }
  void next() {
    for (int axis = walk.rank; axis-- > 0;) {
      const Axis& a = walk.axes[axis];
      from += a.from;
      to += a.to;
      if (++index[axis] < a.n) return;
      index[axis] = 0;
      from -= a.n * a.from;
      to -= a.n * a.to;
    }
  }
};

template <class T>
void copy_row(const T* from, T* to, const Axis& row, int64_t begin, int64_t end) {
  if (row.from == 1 && row.to == 1) {
    std::memcpy(to + begin, from + begin, (end - begin) * sizeof(T));
  } else if (row.from == 0 && row.to == 1) {
    std::fill(to + begin, to + end, *from);
  } else if (row.to == 1) {
    for (int64_t i = begin; i < end; ++i) to[i] = from[i * row.from];
  } else {
    for (int64_t i = begin; i < end; ++i) to[i * row.to] = from[i * row.from];
  }
}

template <class T>
void copy_rows(const T* from, T* to, Walk walk) {
  const Axis row = walk.take(walk.rank - 1);
  if (walk.rank == 0) {
    parallel_for(row.n, 4 * grain, [&](int64_t begin, int64_t end) { copy_row(from, to, row, begin, end); });
    return;
  }
  parallel_for(walk.steps(), 1 + grain / row.n, [&](int64_t begin, int64_t end) {
    Cursor at(walk, begin);
    for (int64_t step = begin; step < end; ++step, at.next()) copy_row(from + at.from, to + at.to, row, 0, row.n);
  });
}

// The source runs along axis `major`, the target along the last one. Tiles pass through a buffer, so that each line of
// the source is read once even where lines a power of two apart fall on the same place of the cache.
template <class T>
void copy_tiles(const T* from, T* to, Walk walk, int major) {
  const Axis inner = walk.take(walk.rank - 1);
  const Axis outer = walk.take(major);
  const int64_t tiles = (outer.n + tile - 1) / tile;
  parallel_for(walk.steps() * tiles, 1 + grain / (tile * inner.n), [&](int64_t begin, int64_t end) {
    T buffer[tile][tile];
    for (int64_t block = begin; block < end; ++block) {
      const Cursor at(walk, block / tiles);
      const int64_t i0 = block % tiles * tile;
      const int64_t rows = std::min(tile, outer.n - i0);
      for (int64_t j0 = 0; j0 < inner.n; j0 += tile) {
        const int64_t columns = std::min(tile, inner.n - j0);
        for (int64_t j = 0; j < columns; ++j) {
          const T* line = from + at.from + i0 + (j0 + j) * inner.from;
          for (int64_t i = 0; i < rows; ++i) buffer[j][i] = line[i];
        }
        for (int64_t i = 0; i < rows; ++i) {
          T* line = to + at.to + (i0 + i) * outer.to + j0;
          for (int64_t j = 0; j < columns; ++j) line[j] = buffer[j][i];
        }
      }
    }
  });
}

template <class T>
void copy_elements(const T* from, T* to, const Walk& walk) {
  const Axis& last = walk.axes[walk.rank - 1];
  if (last.from != 1 && last.to == 1 && last.n >= 4) {
    for (int axis = 0; axis + 1 < walk.rank; ++axis) {
      if (walk.axes[axis].from == 1 && walk.axes[axis].n >= 4) return copy_tiles(from, to, walk, axis);
    }
  }
  copy_rows(from, to, walk);
}

void copy(const Array& from, const Strided& source, const Array& to, const Strided& target) {
  if (source.shape.numel() == 0) return;
  const Walk walk(source.shape, source.strides, target.strides);
  if (to.device() != Device::cpu) {
    const int size = static_cast<int>(item_size(to.dtype()));
    const Array read = from.view(source.offset, {});  // the first elements: strides may be negative
    const Array write = to.view(target.offset, {});
    return on_device(&ConvertDevice::copy, "copy", to, read, write, size, static_cast<const CopyAxes&>(walk));
  }
  switch (item_size(from.dtype())) {
    case 8:
      return copy_elements(from.raw<uint64_t>() + source.offset, to.raw<uint64_t>() + target.offset, walk);
    case 4:
      return copy_elements(from.raw<uint32_t>() + source.offset, to.raw<uint32_t>() + target.offset, walk);
    case 2:
      return copy_elements(from.raw<uint16_t>() + source.offset, to.raw<uint16_t>() + target.offset, walk);
    default:
      return copy_elements(from.raw<uint8_t>() + source.offset, to.raw<uint8_t>() + target.offset, walk);
  }
}

bool side_by_side(const Strided& view) {
  int64_t stride = 1;
  for (int axis = view.shape.rank(); axis-- > 0;) {
    if (view.shape[axis] != 1 && view.strides[axis] != stride) return false;
    stride *= view.shape[axis];
  }
  return true;
}

}  // namespace

Strided Strided::permuted(const Shape& order) const {
  Strided out = {{}, {}, offset};
  for (const int64_t axis : order) {
    out.shape.push_back(shape[static_cast<int>(axis)]);
    out.strides.push_back(strides[static_cast<int>(axis)]);
  }
  return out;
}

Strided Strided::sliced(int axis, int64_t begin, int64_t size, int64_t step) const {
  return {shape.with(axis, size), strides.with(axis, strides[axis] * step), offset + begin * strides[axis]};
}

Strided strided(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int axis = shape.rank(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return {shape, strides, 0};
}

Strided strided(const Array& x) {
  if (x.format() == Format::plain) return strided(x.shape());
  const int64_t c = x.dim(1);
  const int64_t w = x.dim(3);
  return {x.shape(), {x.dim(2) * w * c, 1, w * c, c}, 0};
}

Array read_strided(const Array& x, const Strided& from) {
  if (from.shape.numel() == 0) return Array(from.shape, x.dtype(), Format::plain, x.device());
  if (side_by_side(from)) return x.view(from.offset, from.shape);
  Array out(from.shape, x.dtype(), Format::plain, x.device());
  copy(x, from, out, strided(out));
  return out;
}

void write_strided(const Array& out, const Strided& to, const Array& y) {
  copy(y, strided(y), out, to);
}

Array as_stored(const Array& x) {
  if (x.format() == Format::plain) return x;
  return x.view(0, {x.dim(0), x.dim(2), x.dim(3), x.dim(1)});
}

Array from_stored(const Array& stored, Format format) {
  if (format == Format::plain) return stored;
  const Shape& s = stored.shape();
  return Array(stored.storage(), stored.byte_offset(), {s[0], s[3], s[1], s[2]}, stored.dtype(), format);
}

int stored_axis(Format format, int axis) {
  constexpr int nhwc[] = {0, 3, 1, 2};
  return format == Format::plain ? axis : nhwc[axis];
}

}  // namespace nonet
