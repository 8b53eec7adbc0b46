#include "ops/ctc/decode.h"

#include <algorithm>
#include <cmath>

namespace nonet {

namespace {

struct Input {
  Array log_probs;
  const int64_t* lengths;
  int64_t batch, classes;

  const float* at(int64_t t, int64_t n) const { return log_probs.data<float>() + (t * batch + n) * classes; }
};

Input checked(const Array& log_probs, const Array& lengths, int64_t blank, const char* name) {
  check_floating(log_probs, name, "log_probs");
  check_on_cpu(log_probs, name);
  check_rank(log_probs, 3, name, "log_probs", "[T, N, C]");
  const int64_t batch = log_probs.dim(1);
  const int64_t classes = log_probs.dim(2);
  check(blank >= 0 && blank < classes, name, ": blank must lie in [0, ", classes, "), got ", blank);
  check_shape(lengths, {batch}, name, "input_lengths", "[N]");
  const int64_t* out = lengths.data<int64_t>();
  for (int64_t n = 0; n < batch; ++n) {
    check(out[n] >= 0 && out[n] <= log_probs.dim(0), name, ": input_lengths must lie in [0, ", log_probs.dim(0),
          "], got ", out[n]);
  }
  return {log_probs.plain().to(DType::float32), out, batch, classes};
}

// A prefix of labels, as the last one of them and the prefix before it. The probabilities, of all its paths that end in
// a blank and of those that end in its last label, are relative to a factor that all prefixes of a step share.
struct Prefix {
  Prefix(int64_t parent, int64_t label) : parent(parent), label(label) {}

  int64_t parent;
  int64_t label;
  double blank = 0, nonblank = 0;
  double next_blank = 0, next_nonblank = 0;
  bool live = false;            // in the beam, or reached in this step
  std::vector<int64_t> longer;  // the prefixes that are this one and a label more

  double total() const { return blank + nonblank; }
};

class Search {
 public:
  explicit Search(int64_t blank) : blank_(blank) {
    tree_.emplace_back(-1, -1);
    tree_[0].blank = 1;
    beam_ = {0};
  }

  void step(const float* log_probs, int64_t classes, int64_t width) {
    std::vector<double> probability(classes);
    const float largest = *std::max_element(log_probs, log_probs + classes);
    const double top = std::isinf(largest) ? 0. : largest;
    for (int64_t c = 0; c < classes; ++c) probability[c] = std::exp(log_probs[c] - top);
    reached_.clear();
    for (const int64_t p : beam_) extend(p, probability);
    keep(width);
    score_ += top;
  }

  std::vector<CtcLabels> best(int64_t count) const {
    std::vector<CtcLabels> out;
    for (const int64_t p : beam_) {
      if (static_cast<int64_t>(out.size()) == count) break;
      CtcLabels found;
      found.score = score_ + std::log(tree_[p].total());
      for (int64_t at = p; at > 0; at = tree_[at].parent) found.labels.push_back(tree_[at].label);
      std::reverse(found.labels.begin(), found.labels.end());
      out.push_back(std::move(found));
    }
    return out;
  }

 private:
  Prefix& reach(int64_t p) {
    if (!tree_[p].live) reached_.push_back(p);
    tree_[p].live = true;
    return tree_[p];
  }

  int64_t longer(int64_t p, int64_t label) {
    for (const int64_t child : tree_[p].longer) {
      if (tree_[child].label == label) return child;
    }
    const auto made = static_cast<int64_t>(tree_.size());
    tree_.emplace_back(p, label);
    tree_[p].longer.push_back(made);
    return made;
  }

  void extend(int64_t p, const std::vector<double>& probability) {
    const double blank = tree_[p].blank;
    const double nonblank = tree_[p].nonblank;
    const int64_t last = tree_[p].label;
    Prefix& stays = reach(p);
    stays.next_blank += (blank + nonblank) * probability[blank_];
    if (last >= 0) stays.next_nonblank += nonblank * probability[last];
    for (int64_t c = 0; c < static_cast<int64_t>(probability.size()); ++c) {
      // Behind the same label, a blank has to come first.
      const double spent = (c == last ? blank : blank + nonblank) * probability[c];
      if (c != blank_ && spent > 0) reach(longer(p, c)).next_nonblank += spent;
    }
  }

  // The best `width` prefixes of those that were reached; between equals, those that were met first.
  void keep(int64_t width) {
    for (const int64_t p : reached_) {
      Prefix& prefix = tree_[p];
      prefix.blank = prefix.next_blank;
      prefix.nonblank = prefix.next_nonblank;
      prefix.next_blank = prefix.next_nonblank = 0;
      prefix.live = false;
    }
    const auto better = [&](int64_t a, int64_t b) {
      const double x = tree_[a].total();
      const double y = tree_[b].total();
      return x != y ? x > y : a < b;
    };
    const auto kept = std::min<int64_t>(width, static_cast<int64_t>(reached_.size()));
    std::partial_sort(reached_.begin(), reached_.begin() + kept, reached_.end(), better);
    for (auto p = reached_.begin() + kept; p != reached_.end(); ++p) tree_[*p].blank = tree_[*p].nonblank = 0;
    beam_.assign(reached_.begin(), reached_.begin() + kept);
    const double largest = tree_[beam_[0]].total();
    if (!(largest > 0)) return;
    for (const int64_t p : beam_) {
      tree_[p].blank /= largest;
      tree_[p].nonblank /= largest;
    }
    score_ += std::log(largest);
  }

  int64_t blank_;
  std::vector<Prefix> tree_;
  std::vector<int64_t> beam_, reached_;
  double score_ = 0;
};

}  // namespace

std::vector<CtcLabels> ctc_greedy_decode(const Array& log_probs, const Array& lengths, int64_t blank) {
  const Input in = checked(log_probs, lengths, blank, "ctc_greedy_decode");
  std::vector<CtcLabels> out(in.batch);
  for (int64_t n = 0; n < in.batch; ++n) {
    int64_t last = blank;
    out[n].score = 0;
    for (int64_t t = 0; t < in.lengths[n]; ++t) {
      const float* row = in.at(t, n);
      const int64_t best = std::max_element(row, row + in.classes) - row;
      out[n].score += row[best];
      if (best != last && best != blank) out[n].labels.push_back(best);
      last = best;
    }
  }
  return out;
}

std::vector<std::vector<CtcLabels>> ctc_beam_decode(const Array& log_probs, const Array& lengths, int64_t blank,
                                                    int64_t beam, int64_t top) {
  const Input in = checked(log_probs, lengths, blank, "ctc_beam_decode");
  check(beam > 0, "ctc_beam_decode: beam must be positive, got ", beam);
  check(top > 0 && top <= beam, "ctc_beam_decode: top must lie in [1, beam] = [1, ", beam, "], got ", top);
  std::vector<std::vector<CtcLabels>> out(in.batch);
  parallel_for(in.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      Search search(blank);
      for (int64_t t = 0; t < in.lengths[n]; ++t) search.step(in.at(t, n), in.classes, beam);
      out[n] = search.best(top);
    }
  });
  return out;
}

}  // namespace nonet
