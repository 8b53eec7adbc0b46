#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/resize/resize.h"

namespace nonet::NONET_CUDA_NS {

namespace {

template <class I>
struct Sizes {
  I rows, columns;  // of the source
  Divisor<I> out_rows, out_columns, inner;
};

// Every element of the result reads what its row and its column take from.
template <class T, class I>
struct Resize {
  NONET_DEVICE void operator()(const T* x, T* y, int64_t n, const Sizes<I>& s, const ResizeTaps& rows,
                               const ResizeTaps& columns) const {
    constexpr int pack = pack_size<T>();
    const I inner = s.inner.value;
    for_packs<pack>(n, inner % pack == 0 && is_aligned<pack>(x) && is_aligned<pack>(y), [&](int64_t first, auto count) {
      constexpr int size = decltype(count)::value;
      const I i = static_cast<I>(first);
      const I pixel = s.inner.quotient(i);
      const I line = s.out_columns.quotient(pixel);
      const I image = s.out_rows.quotient(line);
      const I row = line - image * s.out_rows.value;
      const I column = pixel - line * s.out_columns.value;
      const T* own = x + image * s.rows * s.columns * inner + (i - pixel * inner);
      const int64_t first_column = columns.first[column];
      const int64_t last_column = columns.first[column + 1];
      float sum[size] = {};
      for (int64_t a = rows.first[row]; a < rows.first[row + 1]; ++a) {
        const I at = rows.index[a] * s.columns;
        const float row_weight = rows.weight[a];
        for (int64_t b = first_column; b < last_column; ++b) {
          const float weight = row_weight * columns.weight[b];
          const auto v = load_pack<size>(own + (at + columns.index[b]) * inner);
          NONET_UNROLL
          for (int k = 0; k < size; ++k) sum[k] = fmaf(weight, as_float(v[k]), sum[k]);
        }
      }
      Pack<T, size> out;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) out[k] = from_float<T>(sum[k]);
      store_pack(y + first, out);
    });
  }
};

void resize(Stream stream, DType dtype, const void* x, void* y, int64_t outer, int64_t inner, const ResizeTaps& rows,
            const ResizeTaps& columns) {
  const int64_t in = outer * inner * rows.n * columns.n;
  const int64_t out = outer * inner * rows.m * columns.m;
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_index(in > out ? in : out, [&](auto index) {
      using I = decltype(index);
      const Sizes<I> sizes = {static_cast<I>(rows.n), static_cast<I>(columns.n), Divisor<I>(rows.m),
                              Divisor<I>(columns.m), Divisor<I>(inner)};
      run_elements(stream, out, Resize<T, I>{}, static_cast<const T*>(x), static_cast<T*>(y), out, sizes, rows,
                   columns);
    });
  });
}

}  // namespace

NONET_DEVICE_TABLE(ResizeDevice, simt, {resize});

}  // namespace nonet::NONET_CUDA_NS
