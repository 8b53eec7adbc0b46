#include "base/isa.h"
#include "base/threads.h"
#include "test.h"

int main() {
  using namespace nonet;
  for (int isa_index = 0; isa_index <= static_cast<int>(detected_isa()); ++isa_index) {
    set_isa(name(static_cast<Isa>(isa_index)));
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      for (const auto& test : test::cases()) {
        const int before = test::failures;
        try {
          test.body();
        } catch (const std::exception& error) {
          ++test::failures;
          std::printf("%s: %s\n", test.name.c_str(), error.what());
        }
        if (test::failures > before) {
          std::printf("FAILED %s (%s, %d threads)\n", test.name.c_str(), name(isa()), threads);
        }
      }
    }
  }
  std::printf("%zu tests on %d instruction sets, %d failures\n", test::cases().size(),
              static_cast<int>(detected_isa()) + 1, test::failures);
  return test::failures == 0 ? 0 : 1;
}
