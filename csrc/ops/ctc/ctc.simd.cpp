#include "ops/ctc/ctc.h"

#include "simd/math.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t margin = 16;  // floats of -inf on either side of what is read at an offset
constexpr float lowest = -3.4028234663852886e38f;
constexpr float infinity = __builtin_inff();

// log(e^a + e^b + e^c): -inf where all are, without the NaN of -inf - -inf.
NONET_INLINE F log_sum(F a, F b, F c) {
  const F top = max_number(max_number(a, max_number(b, c)), broadcast(lowest));
  return top + NONET_NS::log(exp(a - top) + exp(b - top) + exp(c - top));
}
NONET_INLINE F log_sum(F a, F b) {
  const F top = max_number(max_number(a, b), broadcast(lowest));
  return top + NONET_NS::log(exp(a - top) + exp(b - top));
}

void fill(float* p, int64_t n, float value) {
  for (int64_t i = 0; i < n; ++i) p[i] = value;
}

// Two rows of states, blanks and labels, with room for what a row's ends look at; the states that are none stay -inf.
struct States {
  float* blanks;
  float* labels;
};

// One sequence. `padded`: L + 1 rounded up to whole vectors.
struct Sequence {
  const CtcBatch& batch;
  int64_t number;
  int64_t steps, count, padded;
  const int64_t* labels;
  float* skip;      // [padded + margin], 0 where a path may come from the label before, else -inf
  float* emission;  // [steps, padded + margin], the log-probabilities of the labels
  float* alpha;     // [steps or 2, row]
  double* largest;  // [steps], of alpha's states at each step

  int64_t row() const { return 2 * (padded + 2 * margin); }
  States states(float* at) const { return {at + margin, at + padded + 3 * margin}; }
  const float* log_probs(int64_t t) const { return batch.log_probs + (t * batch.batch + number) * batch.classes; }
  float* emissions(int64_t t) const { return emission + t * (padded + margin); }
};

int64_t padded_of(int64_t count) {
  return (count + margin) / margin * margin;
}

// In floats; a double per step comes first.
int64_t scratch_of(int64_t steps, int64_t count, bool gradients) {
  const int64_t padded = padded_of(count);
  return 2 * steps + (padded + margin) * (steps + 1) + 2 * (padded + 2 * margin) * (gradients ? steps + 1 : 2) + padded;
}

void prepare(const Sequence& s) {
  fill(s.skip, s.padded + margin, -infinity);
  for (int64_t k = 1; k < s.count; ++k) s.skip[k] = s.labels[k] != s.labels[k - 1] ? 0.f : -infinity;
  for (int64_t t = 0; t < s.steps; ++t) {
    float* to = s.emissions(t);
    const float* from = s.log_probs(t);
    for (int64_t k = 0; k < s.count; ++k) to[k] = from[s.labels[k]];
    fill(to + s.count, s.padded + margin - s.count, -infinity);
  }
}

// alpha of a step from that of the step before, whose largest value is `before`. Returns its own largest value.
float forward_step(const Sequence& s, int64_t t, const States& from, const States& to, float before) {
  const F blank = broadcast(s.log_probs(t)[s.batch.blank] - before);
  const float* emission = s.emissions(t);
  F top = broadcast(-infinity);
  for (int64_t k = 0; k < s.padded; k += width) {
    const F b = load(from.blanks + k);
    const F previous = load(from.labels + k - 1);
    const F next_blank = log_sum(b, previous) + blank;
    const F next_label = log_sum(load(from.labels + k), b, previous + load(s.skip + k)) + (load(emission + k) - before);
    store(to.blanks + k, next_blank);
    store(to.labels + k, next_label);
    top = maximum(top, maximum(next_blank, next_label));
  }
  return maximum(top);
}

// Returns log P of the labels.
double forward(const Sequence& s, bool keep) {
  fill(s.alpha, s.row() * (keep ? s.steps + 1 : 2), -infinity);
  const States start = s.states(s.alpha + s.row() * (keep ? s.steps : 1));
  start.blanks[0] = 0;
  States from = start;
  double total = 0;
  float before = 0;
  for (int64_t t = 0; t < s.steps; ++t) {
    const States to = s.states(s.alpha + s.row() * (keep ? t : t & 1));
    const float top = forward_step(s, t, from, to, before);
    total += before;
    before = top == -infinity ? 0.f : top;
    s.largest[t] = before;
    from = to;
  }
  const F last = log_sum(broadcast(from.blanks[s.count]), broadcast(from.labels[s.count - 1]));
  return total + (double)last[0];
}

// beta of a step from that of the step behind it, whose largest value is `before`, in place.
float backward_step(const Sequence& s, int64_t t, const States& beta, float before) {
  const F blank = broadcast(s.log_probs(t + 1)[s.batch.blank] - before);
  const float* emission = s.emissions(t + 1);
  F top = broadcast(-infinity);
  for (int64_t k = 0; k < s.padded; k += width) {
    const F b = load(beta.blanks + k) + blank;
    const F label = load(beta.labels + k) + (load(emission + k) - before);
    const F next_blank = load(beta.blanks + k + 1) + blank;
    const F next_label = load(beta.labels + k + 1) + (load(emission + k + 1) - before);
    const F of_blank = log_sum(b, label);
    const F of_label = log_sum(label, next_blank, next_label + load(s.skip + k + 1));
    store(beta.blanks + k, of_blank);
    store(beta.labels + k, of_label);
    top = maximum(top, maximum(of_blank, of_label));
  }
  return maximum(top);
}

void probabilities(const float* log_probs, float* dx, int64_t n, float scale) {
  for_vectors(
      n, [&](int64_t i, int64_t lanes) { store_lanes(dx + i, exp(load_lanes(log_probs + i, lanes)) * scale, lanes); });
}

// dx of a step: exp(log_probs) - what is spent in each class. `offset` brings the sum of all states close to 1.
void spend(const Sequence& s, int64_t t, const States& alpha, const States& beta, float offset, float* spent,
           float scale) {
  F of_blanks{};
  F of_labels{};
  for (int64_t k = 0; k < s.padded; k += width) {
    of_blanks += exp(load(alpha.blanks + k) + load(beta.blanks + k) - offset);
    const F e = exp(load(alpha.labels + k) + load(beta.labels + k) - offset);
    store(spent + k, e);
    of_labels += e;
  }
  const float blanks = sum(of_blanks);
  const float share = scale / (blanks + sum(of_labels));
  float* dx = s.batch.dx + (t * s.batch.batch + s.number) * s.batch.classes;
  probabilities(s.log_probs(t), dx, s.batch.classes, scale);
  dx[s.batch.blank] -= blanks * share;
  for (int64_t k = 0; k < s.count; ++k) dx[s.labels[k]] -= spent[k] * share;
}

// beta lies where the start of alpha did, which nobody needs any more.
void backward(const Sequence& s, double log_likelihood, float* spent, float scale) {
  float* memory = s.alpha + s.row() * s.steps;
  fill(memory, s.row(), -infinity);
  const States beta = s.states(memory);
  beta.blanks[s.count] = 0;
  if (s.count > 0) beta.labels[s.count - 1] = 0;
  double alpha_total = 0;  // what alpha's values are short of
  for (int64_t t = 0; t + 1 < s.steps; ++t) alpha_total += s.largest[t];
  double beta_total = 0;
  float before = 0;
  for (int64_t t = s.steps - 1; t >= 0; --t) {
    if (t < s.steps - 1) {
      beta_total += before;
      const float top = backward_step(s, t, beta, before);
      before = top == -infinity ? 0.f : top;
      alpha_total -= s.largest[t];
    }
    const float offset = (float)(log_likelihood - alpha_total - beta_total);
    spend(s, t, s.states(s.alpha + s.row() * t), beta, offset, spent, scale);
  }
}

void fill_steps(const CtcBatch& b, int64_t n, int64_t begin, int64_t end, float value) {
  for (int64_t t = begin; t < end; ++t) fill(b.dx + (t * b.batch + n) * b.classes, b.classes, value);
}

void one_sequence(const CtcBatch& b, int64_t n) {
  const int64_t steps = b.step_lengths[n];
  const int64_t count = b.label_lengths[n];
  const bool gradients = b.dx != nullptr;
  if (gradients) fill_steps(b, n, steps, b.steps, 0);
  if (steps == 0) {
    b.loss[n] = count == 0 || b.zero_infinity ? 0.f : infinity;
    return;
  }
  Sequence s{b, n, steps, count, padded_of(count), b.labels + b.starts[n], nullptr, nullptr, nullptr, nullptr};
  s.largest = (double*)thread_scratch(4 * scratch_of(steps, count, gradients));
  s.skip = (float*)(s.largest + steps);
  s.emission = s.skip + s.padded + margin;
  s.alpha = s.emission + steps * (s.padded + margin);
  prepare(s);
  const double log_likelihood = forward(s, gradients);
  const bool impossible = log_likelihood == -(double)infinity;
  b.loss[n] = impossible && b.zero_infinity ? 0.f : (float)-log_likelihood * b.scale[n];
  if (!gradients) return;
  if (impossible || log_likelihood != log_likelihood) {
    fill_steps(b, n, 0, steps, impossible && b.zero_infinity ? 0.f : __builtin_nanf(""));
  } else {
    backward(s, log_likelihood, s.alpha + (steps + 1) * s.row(), b.scale[n]);
  }
}

void run(const CtcBatch& b) {
  parallel_for(b.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) one_sequence(b, n);
  });
}

void scale(float* d, const float* dy, bool uniform, int64_t steps, int64_t batch, int64_t classes) {
  parallel_for(steps * batch, 1 + 8192 / (classes + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const F factor = broadcast(dy[uniform ? 0 : r % batch]);
      float* row = d + r * classes;
      for_vectors(classes,
                  [&](int64_t i, int64_t lanes) { store_lanes(row + i, load_lanes(row + i, lanes) * factor, lanes); });
    }
  });
}

}  // namespace

constinit const CtcKernels ctc_kernels = {run, scale};

}  // namespace nonet::NONET_NS
