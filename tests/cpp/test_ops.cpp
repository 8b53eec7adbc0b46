#include "ops/softmax/softmax.h"
#include "test.h"

using namespace nonet;

TEST(softmax_matches_double) {
  const int64_t rows = 37;
  const int64_t n = 53;
  const Array x = test::normal({rows, n}, 2);
  std::vector<double> want(rows * n);
  for (int64_t r = 0; r < rows; ++r) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total += want[r * n + i] = std::exp(double{x.data<float>()[r * n + i]});
    for (int64_t i = 0; i < n; ++i) want[r * n + i] /= total;
  }
  EXPECT(test::close(softmax_forward(x, 1, false), want, 1e-6));
  for (double& value : want) value = std::log(value);
  EXPECT(test::close(softmax_forward(x, 1, true), want, 2e-6));
}
