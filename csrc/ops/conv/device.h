// Convolution of arrays on a device that is not the CPU.
#pragma once

#include "array/array.h"
#include "ops/conv/conv.h"
#include "ops/conv/layout.h"

namespace nonet {

// Images [N, C, H, W], weight of rank 4; all checked. y: nhwc, in x's dtype.
Array device_forward(const Array& x, const Array& weight, const Array& bias, const ConvSizes& sizes,
                     const ConvOptions& options);

// dz: the gradient before the activation. dx: nhwc, in x's dtype; the others in weight's.
void device_backward(const Array& dz, const Array& x, const Array& weight, const ConvSizes& sizes,
                     const ConvOptions& options, const LayerGradients& out);

// The parts of it that a transposed convolution runs the other way round. dz [N, O, OH, OW]: y or its gradient.
// f(bias + the gradient of the input), nhwc, in dz's dtype; bias may be undefined, f is options.activation.
Array device_input(const Array& dz, const Array& weight, const Array& bias, const ConvSizes& sizes,
                   const ConvOptions& options);
// Of both dtypes x's; into the memory given in dweight, if it is defined, else into a new array like weight.
void device_weight(const Array& dz, const Array& x, const Array& weight, const ConvSizes& sizes,
                   const ConvOptions& options, Array& dweight);

// dY f'(Z) from Y = f(Z).
Array device_activation_gradient(const Array& dy, const Array& y, FusedActivation activation);

}  // namespace nonet
