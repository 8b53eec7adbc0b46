#include "ops/matmul/matmul.h"

#include "ops/matmul/few_rows.h"
#include "ops/matmul/panels.h"

namespace nonet::NONET_NS {

namespace {

// k = 0: C = f(bias).
void run_empty(const Gemm& g) {
  if (g.accumulate) return;
  for (int64_t i = 0; i < g.batch; ++i) {
    const Entry e = entry_of(g, i);
    for (int64_t row = 0; row < g.m; ++row) {
      const Region r{row, 1, 0, g.n};
      const Sums sums = task_sums(g, e, r);
      for (int64_t j = 0; j < g.n; ++j) sums.data[j] = 0;
      finish(g, e, r, sums, false);
    }
  }
}

bool wants_panels(const Gemm& g) {
  return g.m > 0 && g.n > 0 && g.k > 0 && g.batch > 0 && !wants_dot(g) && !wants_stream(g) && !wants_direct(g);
}

int64_t workspace(const Gemm& g) {
  if (!wants_panels(g)) return 0;
  const Plan p = plan(g);
  return p.batches * ((g.packed_b == nullptr ? p.slab * g.k * panel_columns : 0) + p.entry_floats);
}

int64_t packed_bytes(const Gemm& g) {
  return wants_panels(g) ? divide_up(g.n, panel_columns) * g.k * panel_columns * (int64_t)sizeof(float) : 0;
}

void gemm(const Gemm& g, float* workspace) {
  if (g.m == 0 || g.n == 0 || g.batch == 0) return;
  if (g.k == 0) return run_empty(g);
  if (wants_dot(g)) return run_dot(g);
  if (wants_stream(g)) return run_stream(g);
  if (wants_direct(g)) return run_direct(g);
  run_packed(g, workspace);
}

}  // namespace

constinit const MatmulKernels matmul_kernels = {workspace, gemm, packed_bytes, pack_b};

}  // namespace nonet::NONET_NS
