// The linear layer with its activation in one call.
//
//   Z = X W^T + b,  Y = f(Z)       X [rows, in], W [out, in], b [out], Z and Y [rows, out]; f as in matmul.h
//   dZ = dY f'(Z),  dX = dZ W,  dW = dZ^T X,  db = sum_rows dZ
//
// float32, or bfloat16 by way of float32. Saved: X, W and what f' needs: nothing, Y (relu, tanh, sigmoid) or Z (gelu;
// Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016).
#pragma once

#include "ops/matmul/matmul.h"

namespace nonet {

class Shape;

struct LinearKernels {
  // dz = dy f'(z) from what f' needs. dz may be dy.
  void (*activation_backward)(const float* dy, const float* saved, float* dz, int64_t size, FusedActivation activation);
  // db[n] = sum over the rows of dz [rows, n], in blocks of 64 rows that a tree adds up.
  int64_t (*bias_workspace)(int64_t rows, int64_t n);  // floats
  void (*bias_gradient)(const float* dz, float* db, int64_t rows, int64_t n, float* workspace);
};
NONET_KERNELS(LinearKernels, linear_kernels);

// x: [..., in], weight: [out, in], bias: [out] or undefined; a weight [in] gives [...]. before: if not null, receives
// Z. Errors: TypeError for dtypes, ValueError for shapes.
Array linear_forward(const Array& x, const Array& weight, const Array& bias, FusedActivation activation,
                     const Numerics& numerics, Array* before);

// Per gradient: null if not wanted; an Array that is defined is written into, else one is made.
struct LayerGradients {
  Array* dx;
  Array* dweight;
  Array* dbias;
};
void linear_backward(const Array& dy, const Array& x, const Array& weight, const Array& saved,
                     FusedActivation activation, Precision precision, const LayerGradients& out);

// What convolution shares. Where a gradient is computed: into out itself if it is a plain float32 array given for that,
// else into a new one, which deliver_gradient() then hands over in the dtype asked for.
Array gradient_target(const Array& out, const Shape& shape, const char* op);
void deliver_gradient(const Array& value, DType dtype, Array& out, const char* op);
// db of dz, stored as float32 [rows, n], into out [n].
void bias_gradient(const Array& dz, int64_t rows, int64_t n, const Array& out);

}  // namespace nonet
