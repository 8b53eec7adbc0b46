#include <atomic>
#include <thread>

#include "array/axis.h"
#include "base/threads.h"
#include "test.h"

using namespace nonet;

TEST(every_block_runs_once) {
  for (const int64_t blocks : {1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> seen(blocks);
    parallel_blocks(blocks, [&](int64_t block) { ++seen[block]; });
    for (const auto& count : seen) EXPECT(count == 1);
  }
}

TEST(nested_and_concurrent_regions) {
  std::atomic<int64_t> total = 0;
  const auto work = [&] {
    for (int i = 0; i < 200; ++i) {
      parallel_blocks(8, [&](int64_t) { parallel_blocks(4, [&](int64_t block) { total += block; }); });
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(work);
  work();
  for (auto& thread : threads) thread.join();
  EXPECT(total == 4 * 200 * 8 * 6);
}

TEST(conversions_between_dtypes_and_formats) {
  const Array x = test::normal({2, 3, 5, 7}, 1);
  EXPECT(test::close(x.to_format(Format::nhwc), test::values(x), 0));
  EXPECT(test::close(x.to(DType::bfloat16), test::values(x), 1.0 / 256));
  const Array back = axis_back(axis_last(x, 1), x.shape(), 1);
  EXPECT(test::close(back, test::values(x), 0));
}

TEST(errors_are_typed) {
  bool caught = false;
  try {
    Array(Shape{2, 3}).reshape({7});
  } catch (const ValueError& error) {
    caught = std::string(error.what()).find("does not hold the 6 elements") != std::string::npos;
  }
  EXPECT(caught);
}
