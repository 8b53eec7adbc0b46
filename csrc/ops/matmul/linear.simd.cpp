#include "ops/matmul/linear.h"

#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"

namespace nonet::NONET_NS {

namespace {

template <class T>
void activation_backward_of(const T* dy, const T* saved, T* dz, int64_t size, FusedActivation activation) {
  visit_fused(activation, [&](auto map) {
    parallel_for(size, 16384, [&](int64_t begin, int64_t end) {
      for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
        const F d = load_lanes(dy + begin + i, lanes);
        store_lanes(dz + begin + i, decltype(map)::backward(d, load_lanes(saved + begin + i, lanes)), lanes);
      });
    });
  });
}

void activation_backward(const void* dy, const void* saved, void* dz, int64_t size, FusedActivation activation,
                         bool is_bfloat16) {
  if (is_bfloat16) {
    activation_backward_of((const bfloat16*)dy, (const bfloat16*)saved, (bfloat16*)dz, size, activation);
  } else {
    activation_backward_of((const float*)dy, (const float*)saved, (float*)dz, size, activation);
  }
}

constexpr int64_t bias_rows = 64;

int64_t bias_workspace(int64_t rows, int64_t n) {
  return rows <= bias_rows ? 0 : divide_up(rows, bias_rows) * n;
}

template <class T>
void sum_rows(const T* x, float* out, int64_t rows, int64_t n) {
  for_vectors(n, [&](int64_t j, int64_t lanes) {
    F total{};
    for (int64_t r = 0; r < rows; ++r) total += load_lanes(x + r * n + j, lanes);
    store_lanes(out + j, total, lanes);
  });
}

template <class T>
void bias_gradient_of(const T* dz, float* db, int64_t rows, int64_t n, float* partial) {
  if (rows <= bias_rows) return sum_rows(dz, db, rows, n);
  const int64_t blocks = divide_up(rows, bias_rows);
  parallel_for(blocks, 1 + 16384 / (bias_rows * (n + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      sum_rows(dz + b * bias_rows * n, partial + b * n, minimum(bias_rows, rows - b * bias_rows), n);
  });
  int64_t left = blocks;
  for (; left > 1; left = divide_up(left, 2)) {  // i += i + half: a tree over the blocks
    const int64_t half = divide_up(left, 2);
    for (int64_t i = 0; i + half < left; ++i) {
      for (int64_t j = 0; j < n; ++j) partial[i * n + j] += partial[(i + half) * n + j];
    }
  }
  for (int64_t j = 0; j < n; ++j) db[j] = partial[j];
}

void bias_gradient(const void* dz, bool is_bfloat16, float* db, int64_t rows, int64_t n, float* partial) {
  if (is_bfloat16) {
    bias_gradient_of((const bfloat16*)dz, db, rows, n, partial);
  } else {
    bias_gradient_of((const float*)dz, db, rows, n, partial);
  }
}

}  // namespace

constinit const LinearKernels linear_kernels = {activation_backward, bias_workspace, bias_gradient};

}  // namespace nonet::NONET_NS
