// Runs all cases: main [seeds] [name]. Exit status 77: no GPU. See test.h.
#include <cstdlib>

#include "test.h"

int main(int argc, char** argv) {
  using namespace nonet::NONET_CUDA_NS;
  int seeds = argc > 1 ? std::atoi(argv[1]) : 10, failures = 0, run = 0;
#if defined(__CUDACC__)
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no GPU\n");
    return 77;
  }
  seeds = 1;
#endif
  for (const auto& one : test::cases()) {
    if (argc > 2 && one.name != argv[2]) continue;
    const bool fault = !one.report.empty();
#if defined(__CUDACC__)
    if (fault) continue;
#endif
    ++run;
    int caught = 0;
    std::string last;
    for (int seed = 0; seed < seeds; ++seed) {
#if !defined(__CUDACC__)
      emulator_seed(static_cast<uint64_t>(seed));
#endif
      const Status status = one.body();
      if (!fault && !status.ok()) {
        std::printf("FAILED %s, seed %d: %s\n", one.name.c_str(), seed, status.text.c_str());
        ++failures;
        break;
      }
      if (fault && !status.ok()) {
        last = status.text;
        caught += status.text.find(one.report) != std::string::npos;
      }
    }
    if (fault && caught == 0) {
      std::printf("FAILED %s: not caught as '%s', but: %s\n", one.name.c_str(), one.report.c_str(), last.c_str());
      ++failures;
    }
    if (fault && caught > 0)
      std::printf("caught %s with %d of %d seeds: %s\n", one.name.c_str(), caught, seeds, last.c_str());
  }
  std::printf("%d cases, %d failures\n", run, failures);
  return failures == 0 && run > 0 ? 0 : 1;
}
