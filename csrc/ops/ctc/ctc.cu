#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/ctc/ctc.h"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int ctc_threads = 128;
constexpr float ctc_lowest = -3.4028234663852886e38f;

// log(e^a + e^b + e^c): -inf where all are, without the NaN of -inf - -inf.
NONET_DEVICE float log_sum(float a, float b, float c) {
  const float top = fmaxf(fmaxf(a, fmaxf(b, c)), ctc_lowest);
  return top + logf(expf(a - top) + expf(b - top) + expf(c - top));
}

// What a sequence works in, and where its parts are.
struct CtcSequence {
  const CtcBatch& batch;
  int64_t number, steps, count, longest;
  const int64_t* labels;
  double* largest;  // [steps]
  float* alpha;     // [steps or 2, row]: blanks, then labels
  float* beta;      // [2, row]
  float* spent;     // [longest]
  int32_t* next;    // [longest]: place of the same label behind this one, or count; negative unless it is the first one

  NONET_DEVICE int64_t row() const { return ctc_row(longest); }
  NONET_DEVICE const float* log_probs(int64_t t) const {
    return batch.log_probs + (t * batch.batch + number) * batch.classes;
  }
  NONET_DEVICE float* gradients(int64_t t) const { return batch.dx + (t * batch.batch + number) * batch.classes; }
  NONET_DEVICE float* labels_of(float* states) const { return states + longest + 1; }
  // Whether a path may come to label k from the one before.
  NONET_DEVICE bool skips(int64_t k) const { return k > 0 && k < count && labels[k] != labels[k - 1]; }
};

template <bool gradients>
struct Ctc {
  static constexpr int max_threads = ctc_threads;

  NONET_DEVICE void operator()(const CtcBatch& batch, int64_t longest, float* scratch) const {
    const int64_t n = block_index().x;
    float* at = scratch + n * ctc_scratch(batch.steps, longest, gradients);
    const int64_t row = ctc_row(longest);
    auto* largest = reinterpret_cast<double*>(at);
    float* alpha = at + 2 * batch.steps;
    float* beta = alpha + row * (gradients ? batch.steps : 2);
    float* spent = beta + 2 * row;
    auto* next = reinterpret_cast<int32_t*>(spent + longest + 1);
    const CtcSequence s{batch,
                        n,
                        batch.step_lengths[n],
                        batch.label_lengths[n],
                        longest,
                        batch.labels + batch.starts[n],
                        largest,
                        alpha,
                        beta,
                        spent,
                        next};
    if (gradients) fill(s, s.steps, batch.steps, 0);
    if (s.steps == 0) {
      if (thread_rank() == 0) {
        batch.loss[n] = s.count == 0 || batch.zero_infinity ? 0.f : bits_as<float>(0x7f800000) * batch.scale[n];
      }
      return;
    }
    const bool known = prepare(s);
    const double log_likelihood = known ? forward(s) : bits_as<double>(uint64_t{0x7ff8000000000000});
    const bool impossible = known && log_likelihood == -1.0 / 0.0;
    const bool zero = impossible && batch.zero_infinity;
    if (thread_rank() == 0) batch.loss[n] = zero ? 0.f : static_cast<float>(-log_likelihood) * batch.scale[n];
    if (!gradients) return;
    if (impossible || log_likelihood != log_likelihood) {
      fill(s, 0, s.steps, zero ? 0.f : bits_as<float>(0x7fc00000));
    } else {
      backward(s, log_likelihood);
    }
  }

 private:
  // Calls body for the threads' shares of [0, n).
  template <class Body>
  static NONET_DEVICE void each(int64_t n, const Body& body) {
    NONET_ROLLED
    for (int64_t i = thread_rank(); i < n; i += ctc_threads) body(i);
  }
  static NONET_DEVICE float largest_of(float x) { return block_reduce(x, Max{}, shared_memory<float>()); }
  static NONET_DEVICE float sum_of(float x) { return block_reduce(x, Sum{}, shared_memory<float>()); }

  static NONET_DEVICE void fill(const CtcSequence& s, int64_t begin, int64_t end, float value) {
    const int64_t classes = s.batch.classes;
    each((end - begin) * classes, [&](int64_t i) { s.gradients(begin + i / classes)[i % classes] = value; });
  }

  // Whether all labels are classes.
  static NONET_DEVICE bool prepare(const CtcSequence& s) {
    float wrong = 0;
    each(s.count, [&](int64_t k) {
      const int64_t label = s.labels[k];
      if (label < 0 || label >= s.batch.classes) wrong = 1;
      if (!gradients) return;
      int64_t after = k + 1;
      while (after < s.count && s.labels[after] != label) ++after;
      int64_t before = k - 1;
      while (before >= 0 && s.labels[before] != label) --before;
      s.next[k] = static_cast<int32_t>(before < 0 ? after : -1 - after);
    });
    return largest_of(wrong) == 0.f;
  }

  // log P of the labels, in all threads.
  static NONET_DEVICE double forward(const CtcSequence& s) {
    const float none = -bits_as<float>(0x7f800000);
    double total = 0;
    float before = 0;
    const float* from = nullptr;
    NONET_ROLLED
    for (int64_t t = 0; t < s.steps; ++t) {
      float* to = s.alpha + s.row() * (gradients ? t : t & 1);
      const float* y = s.log_probs(t);
      float top = none;
      each(s.count + 1, [&](int64_t k) {
        const float* old_labels = from + s.longest + 1;
        const float b = from != nullptr ? from[k] : (k == 0 ? 0.f : none);
        const float previous = from != nullptr && k > 0 ? old_labels[k - 1] : none;
        to[k] = log_sum(b, previous, none) + (y[s.batch.blank] - before);
        top = Max{}(top, to[k]);
        if (k == s.count) return;
        const float label = from != nullptr ? old_labels[k] : none;
        const float value = log_sum(label, b, s.skips(k) ? previous : none) + (y[s.labels[k]] - before);
        s.labels_of(to)[k] = value;
        top = Max{}(top, value);
      });
      total += before;
      const float largest = largest_of(top);
      before = largest == none ? 0.f : largest;
      if (gradients && thread_rank() == 0) s.largest[t] = before;
      from = to;
      block_sync();
    }
    const float last_label = s.count > 0 ? from[s.longest + s.count] : none;
    return total + log_sum(from[s.count], last_label, none);
  }

  static NONET_DEVICE void backward(const CtcSequence& s, double log_likelihood) {
    const float none = -bits_as<float>(0x7f800000);
    float* beta = s.beta;
    float* other = s.beta + s.row();
    each(s.count + 1, [&](int64_t k) {
      beta[k] = k == s.count ? 0.f : none;
      if (k < s.count) s.labels_of(beta)[k] = k == s.count - 1 ? 0.f : none;
    });
    double alpha_total = 0;  // what alpha's values are short of
    NONET_ROLLED
    for (int64_t t = 0; t + 1 < s.steps; ++t) alpha_total += s.largest[t];
    double beta_total = 0;
    float before = 0;
    NONET_ROLLED
    for (int64_t t = s.steps - 1; t >= 0; --t) {
      block_sync();
      if (t < s.steps - 1) {
        beta_total += before;
        before = backward_step(s, t, beta, other, before);
        float* const swap = beta;
        beta = other;
        other = swap;
        alpha_total -= s.largest[t];
      }
      spend(s, t, beta, static_cast<float>(log_likelihood - alpha_total - beta_total));
    }
  }

  // beta of step t into `to`, from that of the step behind it. Returns its largest value, or 0.
  static NONET_DEVICE float backward_step(const CtcSequence& s, int64_t t, float* from, float* to, float before) {
    const float none = -bits_as<float>(0x7f800000);
    const float* y = s.log_probs(t + 1);
    const float blank = y[s.batch.blank] - before;
    const float* old_labels = s.labels_of(from);
    const auto label_at = [&](int64_t k) { return k < s.count ? old_labels[k] + (y[s.labels[k]] - before) : none; };
    float top = none;
    each(s.count + 1, [&](int64_t k) {
      const float label = label_at(k);
      to[k] = log_sum(from[k] + blank, label, none);
      top = Max{}(top, to[k]);
      if (k == s.count) return;
      const float value = log_sum(label, from[k + 1] + blank, s.skips(k + 1) ? label_at(k + 1) : none);
      s.labels_of(to)[k] = value;
      top = Max{}(top, value);
    });
    const float largest = largest_of(top);
    return largest == none ? 0.f : largest;
  }

  // dx of a step; `offset` brings the sum of all states close to 1. A thread reads its own states of beta only.
  static NONET_DEVICE void spend(const CtcSequence& s, int64_t t, float* beta, float offset) {
    float* alpha = s.alpha + s.row() * t;
    float of_blanks = 0;
    float of_labels = 0;
    each(s.count + 1, [&](int64_t k) {
      of_blanks += expf(alpha[k] + beta[k] - offset);
      if (k == s.count) return;
      s.spent[k] = expf(s.labels_of(alpha)[k] + s.labels_of(beta)[k] - offset);
      of_labels += s.spent[k];
    });
    const float scale = s.batch.scale[s.number];
    const float blanks = sum_of(of_blanks);
    const float share = scale / (blanks + sum_of(of_labels));
    const float* y = s.log_probs(t);
    float* dx = s.gradients(t);
    each(s.batch.classes, [&](int64_t c) { dx[c] = expf(y[c]) * scale - (c == s.batch.blank ? blanks * share : 0.f); });
    block_sync();
    // All places of a label are the first one's, in their order.
    each(s.count, [&](int64_t k) {
      if (s.next[k] < 0) return;
      float sum = s.spent[k];
      for (int64_t at = s.next[k]; at < s.count; at = -1 - s.next[at]) sum += s.spent[at];
      dx[s.labels[k]] -= sum * share;
    });
  }
};

void run_ctc(Stream stream, const CtcBatch& batch, int64_t longest, float* scratch) {
  constexpr int shared = ctc_threads / 32 * sizeof(float);
  if (batch.dx != nullptr) {
    run(stream, batch.batch, ctc_threads, shared, Ctc<true>{}, batch, longest, scratch);
  } else {
    run(stream, batch.batch, ctc_threads, shared, Ctc<false>{}, batch, longest, scratch);
  }
}

struct CtcScale {
  NONET_DEVICE void operator()(float* d, const float* dy, bool uniform, int64_t batch, int64_t classes,
                               int64_t n) const {
    for_grid(n, [&](int64_t i) { d[i] *= dy[uniform ? 0 : i / classes % batch]; });
  }
};

void scale_ctc(Stream stream, float* d, const float* dy, bool uniform, int64_t steps, int64_t batch, int64_t classes) {
  const int64_t n = steps * batch * classes;
  run_elements(stream, n, CtcScale{}, d, dy, uniform, batch, classes, n);
}

}  // namespace

NONET_DEVICE_TABLE(CtcDevice, simt, {run_ctc, scale_ctc});

}  // namespace nonet::NONET_CUDA_NS
