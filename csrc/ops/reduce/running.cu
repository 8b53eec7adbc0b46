#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/reduce/reduce.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// What runs along a row, as states of elements and of parts, joined with the earlier one first. y_j is made of the
// states of the row up to x_j without it (`before`) and with it (`upto`).
template <class Total>
struct SumRule {
  using State = Total;
  static constexpr bool reads_y = false;
  bool from_end;

  NONET_DEVICE State identity() const { return 0; }
  NONET_DEVICE State join(State a, State b) const { return a + b; }
  template <class T>
  NONET_DEVICE State element(T x, int64_t, int64_t) const {
    if constexpr (std::is_same_v<Total, double>) {
      return as_float(x);
    } else {
      return static_cast<State>(static_cast<int64_t>(x));
    }
  }
  template <class Y>
  NONET_DEVICE Y result(State, State upto, Y) const {
    if constexpr (std::is_same_v<Total, double>) {
      return from_float<Y>(static_cast<float>(upto));
    } else {
      return static_cast<Y>(upto);
    }
  }
};

template <Running rule>
struct ProductRule {
  using State = double;
  static constexpr bool from_end = rule == Running::times_behind;
  static constexpr bool reads_y = rule != Running::product;

  NONET_DEVICE State identity() const { return 1; }
  NONET_DEVICE State join(State a, State b) const { return a * b; }
  NONET_DEVICE State element(float x, int64_t, int64_t) const { return x; }
  NONET_DEVICE float result(State before, State upto, float y) const {
    return static_cast<float>(rule == Running::product ? upto : y * before);
  }
};

// s_j = dy_j + x_{j+1} s_{j+1}: an element is the map s -> factor s + term, applied one after the other from the end
// on.
struct Line {
  double factor;
  double term;
};
struct SuffixRule {
  using State = Line;
  static constexpr bool from_end = true;
  static constexpr bool reads_y = false;
  const float* x;
  int64_t n;

  NONET_DEVICE State identity() const { return {1, 0}; }
  NONET_DEVICE State join(State a, State b) const { return {a.factor * b.factor, b.factor * a.term + b.term}; }
  NONET_DEVICE State element(float dy, int64_t row, int64_t j) const {
    return {j + 1 < n ? x[row * n + j + 1] : 0., dy};
  }
  NONET_DEVICE float result(State, State upto, float) const { return static_cast<float>(upto.term); }
};

constexpr int threads = 256;
constexpr int items = 4;  // of a thread, side by side

// Turns the states of a thread's elements into those of everything up to them, within a group of `width` threads and
// with what is `carry`. before: the state up to the thread's first. Returns that up to the group's end.
template <int count, class Rule, class State>
NONET_DEVICE State scan(const Rule& rule, State (&s)[count], State carry, int width, State& before) {
  NONET_UNROLL
  for (int k = 1; k < count; ++k) s[k] = rule.join(s[k - 1], s[k]);
  State upto = s[count - 1];
  const int lanes = width < 32 ? width : 32;
  const int lane = lane_index() % lanes;
  NONET_ROLLED
  for (int delta = 1; delta < lanes; delta *= 2) {
    const State other = move_words(upto, [=](auto word) { return shuffle_up(word, delta, lanes); });
    if (lane >= delta) upto = rule.join(other, upto);
  }
  before = move_words(upto, [=](auto word) { return shuffle_up(word, 1, lanes); });
  if (lane == 0) before = rule.identity();
  State total = move_words(upto, [=](auto word) { return shuffle(word, lanes - 1, lanes); });
  if (width > 32) {
    State* scratch = shared_memory<State>();
    if (lane == 0) scratch[warp_index()] = total;
    block_sync();
    total = rule.identity();
    NONET_ROLLED
    for (int w = 0; w < width / 32; ++w) {
      if (w == warp_index()) before = rule.join(total, before);
      total = rule.join(total, scratch[w]);
    }
    block_sync();
  }
  before = rule.join(carry, before);
  NONET_UNROLL
  for (int k = 0; k < count; ++k) s[k] = rule.join(before, s[k]);
  return rule.join(carry, total);
}

struct Spans {
  int64_t rows;
  int64_t n;
  int64_t span;
  int64_t spans;
};

// A group of `width` threads to a span, counted in the direction of the rule. With `totals` only the states of whole
// spans are found; else they are where each span begins (null: at the identity).
template <class Rule, class T, class Y>
struct RunRows {
  static constexpr int max_threads = threads;
  using State = typename Rule::State;
  Rule rule;

  NONET_DEVICE void operator()(const T* x, Y* y, Spans size, int width, State* parts, bool totals) const {
    const int64_t part = group_index(width);
    const int64_t row = size.spans == 1 ? part : static_cast<uint32_t>(part) / static_cast<uint32_t>(size.spans);
    const int64_t begin = (part - row * size.spans) * size.span;
    const int64_t end = begin + size.span < size.n ? begin + size.span : size.n;
    const bool inside = row < size.rows;
    const bool packed = size.n % items == 0 && aligned(x) && aligned(y);
    State carry = inside && !totals && parts != nullptr ? parts[part] : rule.identity();
    NONET_ROLLED
    for (int64_t base = begin; base < end; base += int64_t{width} * items) {
      const int64_t p = base + group_lane(width) * items;
      const int count = !inside || p >= end ? 0 : (end - p < items ? static_cast<int>(end - p) : items);
      State s[items];
      load_states(s, x, size, row, p, count, packed);
      State before;
      carry = scan(rule, s, carry, width, before);
      if (!totals) store_results(s, before, y, size, row, p, count, packed);
    }
    if (totals && inside && group_lane(width) == 0) parts[part] = carry;
  }

 private:
  template <class V>
  NONET_DEVICE static bool aligned(const V* p) {
    if constexpr (sizeof(V) * items <= 16) return is_aligned<items>(p);
    return false;
  }
  // The element that is the k-th from position p on.
  NONET_DEVICE int64_t index(const Spans& size, int64_t p, int k) const {
    return rule.from_end ? size.n - 1 - p - k : p + k;
  }

  NONET_DEVICE void load_states(State (&s)[items], const T* x, const Spans& size, int64_t row, int64_t p, int count,
                                bool packed) const {
    const T* from = x + row * size.n;
    if constexpr (sizeof(T) * items <= 16) {
      if (packed && count == items) {
        const auto v = load_pack<items>(from + (rule.from_end ? index(size, p, items - 1) : p));
        NONET_UNROLL
        for (int k = 0; k < items; ++k) {
          s[k] = rule.element(rule.from_end ? v[items - 1 - k] : v[k], row, index(size, p, k));
        }
        return;
      }
    }
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      const int64_t j = index(size, p, k);
      s[k] = k < count ? rule.element(from[j], row, j) : rule.identity();
    }
  }

  NONET_DEVICE void store_results(const State (&s)[items], State before, Y* y, const Spans& size, int64_t row,
                                  int64_t p, int count, bool packed) const {
    Y* to = y + row * size.n;
    Y out[items];
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      Y old{};
      if constexpr (Rule::reads_y) {
        if (k < count) old = to[index(size, p, k)];
      }
      out[k] = rule.result(k == 0 ? before : s[k > 0 ? k - 1 : 0], s[k], old);
    }
    if constexpr (sizeof(Y) * items <= 16) {
      if (packed && count == items) {
        Pack<Y, items> pack;
        NONET_UNROLL
        for (int k = 0; k < items; ++k) pack[k] = rule.from_end ? out[items - 1 - k] : out[k];
        return store_pack(to + (rule.from_end ? index(size, p, items - 1) : p), pack);
      }
    }
    NONET_UNROLL
    for (int k = 0; k < items; ++k) {
      if (k < count) to[index(size, p, k)] = out[k];
    }
  }
};

// From the states of spans to those where they begin; a block per row.
template <class Rule>
struct RunParts {
  static constexpr int max_threads = threads;
  using State = typename Rule::State;
  Rule rule;

  NONET_DEVICE void operator()(State* parts, int64_t spans) const {
    State* row = parts + block_index().x * spans;
    State carry = rule.identity();
    NONET_ROLLED
    for (int64_t base = 0; base < spans; base += threads) {
      const int64_t at = base + thread_rank();
      State s[1] = {at < spans ? row[at] : rule.identity()};
      State before;
      carry = scan(rule, s, carry, threads, before);
      if (at < spans) row[at] = before;
    }
  }
};

template <class T, class Y, class Rule>
void run_rule(Stream stream, const Rule& rule, const void* x, void* y, int64_t rows, int64_t n, void* parts) {
  using State = typename Rule::State;
  constexpr int shared_bytes = threads / 32 * sizeof(State);
  const int64_t span = parts == nullptr ? n : running_span;
  const Spans size{rows, n, span, (n + span - 1) / span};
  int width = 1;
  while (width < 32 && width * items < n) width *= 2;
  if (n > 1024) width = threads;
  int block = width < 32 ? 32 : width;
  while (block < threads && block < rows * size.spans * width) block *= 2;
  const int64_t groups = block / width;
  const int64_t blocks = (rows * size.spans + groups - 1) / groups;
  auto* states = static_cast<State*>(parts);
  const RunRows<Rule, T, Y> kernel{rule};
  if (states != nullptr) {
    run(stream, blocks, block, shared_bytes, kernel, static_cast<const T*>(x), static_cast<Y*>(y), size, width, states,
        true);
    run(stream, rows, threads, shared_bytes, RunParts<Rule>{rule}, states, size.spans);
  }
  run(stream, blocks, block, shared_bytes, kernel, static_cast<const T*>(x), static_cast<Y*>(y), size, width, states,
      false);
}

void run_sum(Stream stream, DType dtype, const void* x, void* y, bool from_end, int64_t rows, int64_t n, void* parts) {
  visit(dtype == DType::boolean ? DType::uint8 : dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, bfloat16>) {
      run_rule<T, T>(stream, SumRule<double>{from_end}, x, y, rows, n, parts);
    } else if constexpr (!std::is_same_v<T, bool>) {
      run_rule<T, int64_t>(stream, SumRule<uint64_t>{from_end}, x, y, rows, n, parts);
    }
  });
}

void run_along(Stream stream, Running rule, DType dtype, const void* x, const void* dy, void* y, int64_t rows,
               int64_t n, void* parts) {
  const auto floats = [&](const auto& chosen, const void* from) {
    run_rule<float, float>(stream, chosen, from, y, rows, n, parts);
  };
  switch (rule) {
    case Running::product:
      return floats(ProductRule<Running::product>{}, x);
    case Running::times_before:
      return floats(ProductRule<Running::times_before>{}, x);
    case Running::times_behind:
      return floats(ProductRule<Running::times_behind>{}, x);
    case Running::suffix:
      return floats(SuffixRule{static_cast<const float*>(x), n}, dy);
    default:
      return run_sum(stream, dtype, x, y, rule == Running::sum_reversed, rows, n, parts);
  }
}

template <class T>
struct Place {
  NONET_DEVICE void operator()(const T* dy, const int64_t* positions, T* dx, int64_t count, int64_t k, int64_t n,
                               int64_t inner) const {
    for_grid(count, [&](int64_t i) {
      const int64_t row = quotient(i, inner);
      const int64_t o = quotient(row, k);
      const int64_t at = positions[i];
      if (at >= 0 && at < n) dx[(o * n + at) * inner + i - row * inner] = dy[i];
    });
  }
};

void place(Stream stream, int size, const void* dy, const int64_t* positions, void* dx, int64_t outer, int64_t k,
           int64_t n, int64_t inner) {
  visit_size(size, [&](auto element) {
    using T = decltype(element);
    run_elements(stream, outer * k * inner, Place<T>{}, static_cast<const T*>(dy), positions, static_cast<T*>(dx),
                 outer * k * inner, k, n, inner);
  });
}

}  // namespace

NONET_DEVICE_TABLE(RunningDevice, simt, {run_along, place});

}  // namespace nonet::NONET_CUDA_NS
