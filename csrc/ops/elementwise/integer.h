// Binary ops on int64, int32, uint8 and bool: plain loops, since networks spend no time in them.
#pragma once

#include "array/array.h"
#include "ops/elementwise/elementwise.h"

namespace nonet {

// n elements of one dtype (`dtype`); y has that dtype too, or is bool where gives_bool(op). Steps are 0 or 1.
// Integers wrap around; a division by 0 must have been excluded.
void integer_run(Binary op, DType dtype, const void* x, int64_t x_step, const void* z, int64_t z_step, void* y,
                 int64_t n);

// What arithmetic means on truth values, which are bytes of 0 and 1.
Binary on_bool(Binary op);

// Errors: TypeError if the op is not defined on the dtype, ValueError for a division by 0 or a negative exponent
// (numbers, and arrays of the CPU: to look into an array of another device would wait for it).
void check_integer(Binary op, DType dtype, const Array& x, const Array& z);

}  // namespace nonet
