// The linear layer with its activation in one call.
//
//   Z = X W^T + b + R,  Y = f(Z)   X [rows, in], W [out, in], b [out], R, Z and Y [rows, out]; f as in matmul.h
//   dZ = dY f'(Z),  dX = dZ W,  dW = dZ^T X,  db = sum_rows dZ,  dR = dZ
//
// float32 or bfloat16, R like Y. Saved: X, W and what f' needs: nothing, Y (relu, tanh, sigmoid) or Z (gelu;
// Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016).
#pragma once

#include "ops/matmul/matmul.h"

namespace nonet {

class Shape;
enum class Device : uint8_t;

struct LinearKernels {
  // dz = dy f'(z) from what f' needs. dz may be dy. bfloat16: all three are.
  void (*activation_backward)(const void* dy, const void* saved, void* dz, int64_t size, FusedActivation activation,
                              bool bfloat16);
  // db[n] = sum over the rows of dz [rows, n], in blocks of 64 rows that a tree adds up.
  int64_t (*bias_workspace)(int64_t rows, int64_t n);  // floats
  void (*bias_gradient)(const void* dz, bool bfloat16, float* db, int64_t rows, int64_t n, float* workspace);
};
NONET_KERNELS(LinearKernels, linear_kernels);

struct LinearDevice {
  static constexpr const char* name = "linear";

  // As LinearKernels'; dtype of dy, saved and dz, or of dz: float32 or bfloat16.
  void (*activation_backward)(Stream, DType dtype, const void* dy, const void* saved, void* dz, int64_t size,
                              FusedActivation activation);
  int64_t (*bias_workspace)(int64_t rows, int64_t n);
  void (*bias_gradient)(Stream, DType dtype, const void* dz, float* db, int64_t rows, int64_t n, void* workspace);
};

// x: [..., in], weight: [out, in], bias: [out] or undefined; a weight [in] gives [...]. residual: like the result, or
// undefined. before: if not null, receives Z where it is what f' needs. Errors: TypeError for dtypes, ValueError for
// shapes.
Array linear_forward(const Array& x, const Array& weight, const Array& bias, const Array& residual,
                     FusedActivation activation, const Numerics& numerics, Array* before);

// Per gradient: null if not wanted; an Array that is defined is written into, else one is made.
struct LayerGradients {
  Array* dx;
  Array* dweight;
  Array* dbias;
  Array* dresidual = nullptr;
};
// dZ in dy's dtype, from what f' needs.
Array activation_gradient(const Array& dy, const Array& saved, FusedActivation activation);
void linear_backward(const Array& dy, const Array& x, const Array& weight, const Array& saved,
                     FusedActivation activation, Precision precision, const LayerGradients& out);

// What convolution shares. Where a gradient is computed: into out itself if it is a plain array of that dtype and
// device given for it, else into a new one, which deliver_gradient() then hands over in the dtype asked for.
Array gradient_target(const Array& out, const Shape& shape, const char* op, DType dtype, Device device);
Array gradient_target(const Array& out, const Shape& shape, const char* op, DType dtype = DType::float32);  // the CPU's
void deliver_gradient(const Array& value, DType dtype, Array& out, const char* op);
// db of dz, stored as [rows, n], into out [n], float32.
void bias_gradient(const Array& dz, int64_t rows, int64_t n, const Array& out);

}  // namespace nonet
