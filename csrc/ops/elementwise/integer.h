// Binary ops on int64, int32, uint8 and bool: plain loops, since networks spend no time in them.
#pragma once

#include "array/array.h"
#include "ops/elementwise/elementwise.h"

namespace nonet {

// n elements of one dtype (`dtype`); y has that dtype too, or is bool where gives_bool(op). Steps are 0 or 1.
// Integers wrap around; a division by 0 must have been excluded.
void integer_run(Binary op, DType dtype, const void* x, int64_t x_step, const void* z, int64_t z_step, void* y,
                 int64_t n);

// Errors: TypeError if the op is not defined on the dtype, ValueError for a division by 0 or a negative exponent.
void check_integer(Binary op, DType dtype, const Array& x, const Array& z);

}  // namespace nonet
