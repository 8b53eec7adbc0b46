// The ops on arrays; the contract is in channel_norm.h.
#pragma once

#include "array/array.h"
#include "ops/norm/channel_norm.h"

namespace nonet {

struct ChannelNormOptions {
  const char* op;
  int64_t groups;  // of the channels of an image; 0: batch statistics
  float eps;
  bool given;  // normalise by the running statistics
  bool relu;
};
// Each may be undefined, but for the input.
struct ChannelNormInputs {
  Array x;         // [N, C, ...], any format
  Array residual;  // like x
  Array gamma;     // [C]
  Array beta;      // [C]
};
struct RunningStatistics {
  Array mean;       // [C]; undefined: not kept
  Array variance;   // [C]
  double momentum;  // of the new value: running = (1 - momentum) running + momentum statistics
};
struct ChannelNormOutput {
  Array y;
  Array mean;  // float32, one per slice
  Array rstd;
};
// Undefined where not wanted. Those of x and residual have x's dtype and format, the others are float32.
struct ChannelNormGradients {
  Array dx, dresidual, dgamma, dbeta;
};
struct ChannelNormWants {
  bool x, residual, gamma, beta;
};

// Writes the running statistics unless they are `given`: the mean, and the variance times n / (n - 1), of the batch, or
// the average of those of its images. An empty input leaves them.
// Errors: TypeError unless all are floating; ValueError for a shape, for groups that do not divide the channels, and
// for given statistics that are not there.
ChannelNormOutput channel_norm_forward(const ChannelNormInputs& in, const RunningStatistics& running,
                                       const ChannelNormOptions& options);
// y: the forward pass's result, read only with relu and a residual.
ChannelNormGradients channel_norm_backward(const Array& dy, const ChannelNormInputs& in, const Array& y,
                                           const Array& mean, const Array& rstd, const ChannelNormOptions& options,
                                           const ChannelNormWants& wants);

// The same for arrays on a device; arguments are checked, inputs are of x's dtype and format, and not empty.
ChannelNormOutput device_channel_norm_forward(const ChannelNormInputs& in, const RunningStatistics& running,
                                              const ChannelNormOptions& options);
ChannelNormGradients device_channel_norm_backward(const Array& dy, const ChannelNormInputs& in, const Array& y,
                                                  const Array& mean, const Array& rstd,
                                                  const ChannelNormOptions& options, const ChannelNormWants& wants);

}  // namespace nonet
