// The parameters of one optimizer group as flat runs of memory.
//
// Parameters of one dtype are laid out one after the other in one block, 64-byte aligned, their gradients in a second
// block of the same layout and each state in a float32 block. Neighbours with the same step count form one run, so that
// a step is a handful of long loops. Nothing relies on that layout: a parameter or gradient that lies elsewhere is
// taken where it is, as a run of its own.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "array/array.h"
#include "ops/optim/optim.h"

namespace nonet {

class OptimGroup {
 public:
  static constexpr int max_states = 3;

  // movable: whether a parameter may be laid out anew; the others stay where they are. Errors: TypeError unless all
  // are floating, ValueError for an nhwc one, RuntimeError for parameters on two devices.
  OptimGroup(const std::vector<Array>& params, const std::vector<bool>& movable);

  Device device() const { return device_; }
  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  const Array& param(int64_t i) const { return entries_[i].param; }
  // Where the gradient of a movable parameter belongs; undefined for the others.
  const Array& slot(int64_t i) const { return entries_[i].slot; }
  // Where parameter i and its gradient (null: none) lie now. Errors: ValueError and TypeError for a gradient of another
  // shape or dtype, ValueError for a parameter of another shape.
  void place(int64_t i, const Array& param, const Array* grad);

  int64_t steps(int64_t i) const { return entries_[i].steps; }
  double product(int64_t i) const { return entries_[i].product; }
  void set_progress(int64_t i, int64_t steps, double product);
  // State k of parameter i; undefined unless the state was made.
  Array state(int k, int64_t i) const;
  // Makes state k, filled with a value, unless it is there.
  void make_state(int k, float value = 0);

  // Counts one step for every parameter with a gradient and moves it by `rule`; factors_of(t, product) gives the
  // factors of step t and may move on the product that belongs to the parameter.
  void step(OptimRule rule, bool counts, const std::function<OptimFactors(int64_t, double&)>& factors_of);

 private:
  struct Entry {
    Array param, grad, slot;
    int64_t offset;  // elements into the states
    int64_t padded;  // elements to the next entry
    int64_t steps = 0;
    double product = 1;
  };

  bool adjacent(const Entry& a, const Entry& b) const;
  void plan();
  void cut();

  Device device_ = Device::cpu;  // of all parameters
  std::vector<Entry> entries_;
  int64_t total_ = 0;
  std::array<Array, max_states> states_;

  bool stale_ = true;
  std::vector<OptimRun> runs_;
  std::vector<int64_t> run_of_;    // entry -> run, -1: no gradient
  std::vector<int64_t> first_of_;  // run -> its first entry
  std::vector<OptimBlock> blocks_;
  std::vector<Array> written_;  // one array per storage that a step writes
};

// The p-norm of all elements together as an array [], computed in double over fixed blocks. Errors: ValueError unless
// p > 0.
Array total_norm(const std::vector<Array>& arrays, double p);
// Every element times min(1, max_norm / (norm + 1e-6)).
void scale_to_norm(const std::vector<Array>& arrays, const Array& norm, double max_norm);
// Every element into [-bound, bound].
void clamp_values(const std::vector<Array>& arrays, double bound);

}  // namespace nonet
