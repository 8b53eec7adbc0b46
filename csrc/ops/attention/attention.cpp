#include "ops/attention/attention.h"

#include <cstring>

#include "array/launch.h"
#include "ops/matmul/matmul.h"

namespace nonet {

namespace {

constexpr const char* op = "attention";

void check_view(const Array& x, const HeadView& view, int64_t batch, int64_t heads, int64_t rows, int64_t size,
                const char* name) {
  check(batch >= 0 && heads >= 0 && rows >= 0 && size >= 0, op, ": sizes must be >= 0");
  if (batch == 0 || heads == 0 || rows == 0 || size == 0) return;
  const int64_t last = view.offset + (batch - 1) * view.batch + (heads - 1) * view.head + (rows - 1) * view.row + size;
  check(view.offset >= 0 && view.batch >= 0 && view.head >= 0 && view.row >= 0 && last <= x.numel(), op, ": ", name,
        " of shape ", x.shape(), " does not hold ", batch, " x ", heads, " x ", rows, " vectors of ", size);
}

void check_call(const AttentionCall& c, const Array& q, const Array& k, const Array& v) {
  check_floating(q, op, "query");
  check_dtype(k, q.dtype(), op, "key");
  check_dtype(v, q.dtype(), op, "value");
  check_same_device(q, k, op);
  check_same_device(q, v, op);
  check(c.kv_heads > 0 ? c.heads % c.kv_heads == 0 : c.heads == 0, op, ": ", c.heads,
        " query heads are no multiple of ", c.kv_heads, " key heads");
  check(c.dropout >= 0 && c.dropout <= 1, op, ": dropout must be in [0, 1], got ", c.dropout);
  check_view(q, c.q_view, c.batch, c.heads, c.queries, c.size, "query");
  check_view(k, c.k_view, c.batch, c.kv_heads, c.keys, c.size, "key");
  check_view(v, c.v_view, c.batch, c.kv_heads, c.keys, c.value_size, "value");
}

void check_sizes(const AttentionCall& c) {
  constexpr int64_t most = AttentionDevice::most;
  check(c.size <= most && c.value_size <= most, op, ": on a device heads have at most ", most, " elements, got ",
        c.size, " and ", c.value_size);
}

PlaneView plane_view(const AttentionCall& c, const Array& x, const char* name) {
  check_rank(x, 4, op, name, "[B, H, L, S]");
  const int64_t want[] = {c.batch, c.heads, c.queries, c.keys};
  for (int axis = 0; axis < 4; ++axis) {
    check(x.dim(axis) == want[axis] || (axis < 3 && x.dim(axis) == 1), op, ": ", name, " must have shape ",
          Shape{c.batch, c.heads, c.queries, c.keys}, ", or 1 in the first three places, got ", x.shape());
  }
  const int64_t row = x.dim(3);
  const int64_t head = x.dim(2) * row;
  const int64_t batch = x.dim(1) * head;
  return {x.dim(0) == 1 ? 0 : batch, x.dim(1) == 1 ? 0 : head, x.dim(2) == 1 ? 0 : row};
}

Attention plan(const AttentionCall& c, const Array& q, const Array& k, const Array& v, const Array& bias,
               const Array& mask) {
  Attention a{};
  a.batch = c.batch;
  a.heads = c.heads;
  a.kv_heads = c.kv_heads;
  a.queries = c.queries;
  a.keys = c.keys;
  a.size = c.size;
  a.value_size = c.value_size;
  a.bfloat16 = q.dtype() == DType::bfloat16;
  a.scale = static_cast<float>(c.scale);
  a.causal = c.causal;
  a.shift = c.shift;
  a.dropout = static_cast<float>(c.dropout);
  a.key = c.key;
  a.q = q.address();
  a.k = k.address();
  a.v = v.address();
  a.q_view = c.q_view;
  a.k_view = c.k_view;
  a.v_view = c.v_view;
  a.out_view = c.out_view;
  if (bias.defined()) {
    check_dtype(bias, DType::float32, op, "bias");
    check_same_device(q, bias, op);
    a.bias_view = plane_view(c, bias, "bias");
    a.bias = static_cast<const float*>(bias.address());
  }
  if (mask.defined()) {
    check_dtype(mask, DType::boolean, op, "mask");
    check_same_device(q, mask, op);
    a.mask_view = plane_view(c, mask, "mask");
    a.mask = static_cast<const bool*>(mask.address());
  }
  return a;
}

// A block of few queries or keys is no work for products of bfloat16.
const AttentionKernels& kernels_for([[maybe_unused]] const AttentionCall& c, [[maybe_unused]] const Attention& a) {
#if defined(__x86_64__)
  constexpr int64_t fewest = 16;
  const bool rounds = c.precision == Precision::medium || (a.bfloat16 && c.precision != Precision::ieee);
  if (isa() >= Isa::avx512_bf16 && rounds && a.queries >= fewest && a.keys >= fewest && a.size > 0) {
    return isa() == Isa::amx ? avx512::amx_attention_kernels : avx512::dot_attention_kernels;
  }
#endif
  return attention_kernels();
}

}  // namespace

void attention_store(const Array& x, const HeadView& view, int64_t rows, const Array& cache, int64_t position) {
  check_rank(cache, 4, op, "cache", "[B, H, capacity, E]");
  check_dtype(x, cache.dtype(), op, "input");
  check_same_device(x, cache, op);
  const int64_t heads = cache.dim(1);
  const int64_t capacity = cache.dim(2);
  const int64_t size = cache.dim(3);
  check_view(x, view, cache.dim(0), heads, rows, size, "input");
  check(position >= 0 && rows <= capacity - position, op, ": ", rows, " rows at ", position,
        " do not fit into a cache of ", capacity);
  cache.begin_write("attention_store");
  if (x.device() != Device::cpu) {
    on_device(&AttentionDevice::store, op, cache, x.dtype() == DType::bfloat16, x, view, cache.dim(0), heads, rows,
              size, cache, capacity, position);
    return;
  }
  const int64_t item = item_size(x.dtype());
  const char* from = x.raw<char>();
  char* to = cache.raw<char>();
  for (int64_t n = 0; n < cache.dim(0) * heads; ++n) {
    for (int64_t t = 0; t < rows; ++t) {
      const int64_t at = view.offset + n / heads * view.batch + n % heads * view.head + t * view.row;
      std::memcpy(to + ((n * capacity) + position + t) * size * item, from + at * item, size * item);
    }
  }
}

int64_t attention_draws(const AttentionCall& c) {
  return c.batch * c.heads * c.queries * ((c.keys + 3) / 4 * 4);
}

Array attention_forward(const AttentionCall& c, const Array& q, const Array& k, const Array& v, const Array& bias,
                        const Array& mask, const Array& out) {
  check_call(c, q, k, v);
  check_dtype(out, q.dtype(), op, "result");
  check_view(out, c.out_view, c.batch, c.heads, c.queries, c.value_size, "result");
  const Attention a = plan(c, q, k, v, bias, mask);
  const Array lse({c.batch, c.heads, c.queries}, DType::float32, Format::plain, q.device());
  if (lse.numel() == 0) return lse;
  if (q.device() != Device::cpu) {
    check_sizes(c);
    on_device(&AttentionDevice::forward, op, out, a, out, lse);
    return lse;
  }
  const AttentionKernels& kernels = kernels_for(c, a);
  const Array workspace({kernels.workspace(a)});
  kernels.forward(a, out.address(), lse.data<float>(), workspace.data<float>());
  return lse;
}

Array attention_backward(const AttentionCall& c, const Array& q, const Array& k, const Array& v, const Array& bias,
                         const Array& mask, const Array& out, const Array& lse, const Array& dout, const Array& dq,
                         const Array& dk, const Array& dv, bool wants_bias) {
  check_call(c, q, k, v);
  check_shape(dout, out.shape(), op, "gradient", "[like the result]");
  const Array dy = dout.plain().to(out.dtype());
  const Attention a = plan(c, q, k, v, bias, mask);
  AttentionGradient g{};
  g.out = out.address();
  g.lse = static_cast<const float*>(lse.address());
  g.dout = dy.address();
  g.dq = dq.address();
  g.dk = dk.address();
  g.dv = dv.address();
  Array dbias;
  if (wants_bias) {
    g.bias_batch = q.device() == Device::cpu ? bias.dim(0) : c.batch;
    dbias = zeros({g.bias_batch, c.heads, c.queries, c.keys}, DType::float32, q.device());
    g.dbias = static_cast<float*>(dbias.address());
  }
  if (c.batch * c.kv_heads > 0) {
    if (q.device() == Device::cpu) {
      const AttentionKernels& kernels = kernels_for(c, a);
      const Array workspace({kernels.backward_workspace(a, g)});
      kernels.backward(a, g, workspace.data<float>());
    } else {
      check_sizes(c);
      const Array delta({c.batch, c.heads, c.queries}, DType::float32, Format::plain, q.device());
      on_device(&AttentionDevice::backward, op, q, a, g, delta);
    }
  }
  return dbias;
}

}  // namespace nonet
