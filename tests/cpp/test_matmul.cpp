#include "ops/conv/conv.h"
#include "ops/matmul/linear.h"
#include "test.h"

using namespace nonet;

namespace {

// op(a)[m, k] op(b)[k, n] in double.
std::vector<double> product(const Array& a, const Array& b, bool transpose_a, bool transpose_b) {
  const int64_t m = a.dim(transpose_a ? 1 : 0);
  const int64_t k = a.dim(transpose_a ? 0 : 1);
  const int64_t n = b.dim(transpose_b ? 0 : 1);
  const float* x = a.data<float>();
  const float* y = b.data<float>();
  std::vector<double> out(m * n, 0.0);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t p = 0; p < k; ++p) {
      const double left = transpose_a ? x[p * m + i] : x[i * k + p];
      for (int64_t j = 0; j < n; ++j) out[i * n + j] += left * (transpose_b ? y[j * k + p] : y[p * n + j]);
    }
  }
  return out;
}

}  // namespace

TEST(matmul_matches_double) {
  for (const int64_t m : {1, 2, 3, 13, 30, 60}) {
    for (const int64_t n : {1, 5, 16, 33, 70}) {
      for (const int64_t k : {1, 7, 40, 300}) {
        for (const int flags : {0, 1, 2, 3}) {
          const bool ta = (flags & 1) != 0;
          const bool tb = (flags & 2) != 0;
          const Array a = test::normal(ta ? Shape{k, m} : Shape{m, k}, 1);
          const Array b = test::normal(tb ? Shape{n, k} : Shape{k, n}, 2);
          EXPECT(test::close(matmul_forward(a, b, ta, tb, {}, "matmul", 1, {}), product(a, b, ta, tb), 2e-5));
        }
      }
    }
  }
}

TEST(linear_gradients_match_double) {
  const Array x = test::normal({70, 19}, 1);
  const Array w = test::normal({33, 19}, 2);
  const Array dy = test::normal({70, 33}, 3);
  Array dx;
  Array dw;
  Array db;
  linear_backward(dy, x, w, Array(), FusedActivation::none, Precision::highest, {&dx, &dw, &db});
  EXPECT(test::close(dx, product(dy, w, false, false), 2e-5));
  EXPECT(test::close(dw, product(dy, x, true, false), 2e-5));
  std::vector<double> sums(33, 0.0);
  for (int64_t i = 0; i < dy.numel(); ++i) sums[i % 33] += dy.data<float>()[i];
  EXPECT(test::close(db, sums, 2e-5));
}

TEST(conv_matches_double) {
  const int64_t n = 2, c = 3, h = 9, w = 7, o = 5, kernel = 3, stride = 2, margin = 1, oh = 5, ow = 4;
  const Array x = test::normal({n, c, h, w}, 1);
  const Array weight = test::normal({o, c, kernel, kernel}, 2);
  const Array dy = test::normal({n, o, oh, ow}, 3);
  ConvOptions options;
  for (int64_t& s : options.stride) s = stride;
  for (int64_t& p : options.padding) p = margin;
  std::vector<double> y(n * o * oh * ow, 0.0);
  std::vector<double> dx(x.numel(), 0.0);
  std::vector<double> dw(weight.numel(), 0.0);
  for (int64_t out = 0; out < n * o * oh * ow; ++out) {
    const int64_t image = out / (o * oh * ow);
    const int64_t channel = out / (oh * ow) % o;
    for (int64_t at = 0; at < c * kernel * kernel; ++at) {
      const int64_t row = out / ow % oh * stride + at / kernel % kernel - margin;
      const int64_t column = out % ow * stride + at % kernel - margin;
      if (row < 0 || row >= h || column < 0 || column >= w) continue;
      const int64_t pixel = ((image * c + at / (kernel * kernel)) * h + row) * w + column;
      const int64_t element = channel * c * kernel * kernel + at;
      y[out] += double{x.data<float>()[pixel]} * weight.data<float>()[element];
      dx[pixel] += double{dy.data<float>()[out]} * weight.data<float>()[element];
      dw[element] += double{dy.data<float>()[out]} * x.data<float>()[pixel];
    }
  }
  EXPECT(test::close(conv_forward(x, weight, Array(), options), y, 1e-5));
  Array got_dx;
  Array got_dw;
  conv_backward(dy, x, weight, Array(), options, {&got_dx, &got_dw, nullptr});
  EXPECT(test::close(got_dx, dx, 1e-5));
  EXPECT(test::close(got_dw, dw, 1e-5));
}
