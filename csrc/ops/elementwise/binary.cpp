#include <algorithm>

#include "array/launch.h"
#include "ops/elementwise/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/integer.h"

namespace nonet {

namespace {

constexpr int64_t grain = 32768;  // elements per block

constexpr const char* names[] = {"add",        "sub",         "mul",          "div",        "pow",        "maximum",
                                 "minimum",    "remainder",   "floor_divide", "prelu",      "glu",        "eq",
                                 "ne",         "lt",          "le",           "gt",         "ge",         "logical_and",
                                 "logical_or", "logical_xor", "bitwise_and",  "bitwise_or", "bitwise_xor"};
static_assert(std::size(names) == static_cast<size_t>(Binary::count));

constexpr bool is_bitwise(Binary op) {
  return op >= Binary::bitwise_and;
}

// DType lists the dtypes from the strongest to the weakest.
static_assert(DType::float32 < DType::bfloat16 && DType::bfloat16 < DType::int64 && DType::int64 < DType::int32 &&
              DType::int32 < DType::uint8 && DType::uint8 < DType::boolean);

bool fits(DType dtype, int64_t value) {
  switch (dtype) {
    case DType::uint8:
      return value >= 0 && value <= 255;
    case DType::int32:
      return value >= INT32_MIN && value <= INT32_MAX;
    default:
      return true;
  }
}

DType with_number(DType dtype, const Operand& number, bool compares) {
  if (number.kind == Operand::Kind::floating) return is_floating(dtype) ? dtype : DType::float32;
  if (number.kind == Operand::Kind::boolean) return dtype;
  if (dtype == DType::boolean || (compares && !fits(dtype, number.integer))) return DType::int64;
  return dtype;
}

// A number as an array of rank 0. Beside bfloat16 it stays float32.
Array number_array(const Operand& number, DType dtype) {
  Array out({}, dtype == DType::bfloat16 ? DType::float32 : dtype);
  visit(out.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_same_v<T, float>) {
      *out.raw<T>() = static_cast<T>(number.value);
    } else if constexpr (!std::is_same_v<T, bfloat16>) {
      *out.raw<T>() = static_cast<T>(number.integer);
    }
  });
  return out;
}

// Brings two arrays to formats whose storage orders agree under broadcasting; returns the output's format.
Format agree(Array& x, Array& z) {
  if (x.format() == Format::plain && z.format() == Format::plain) return Format::plain;
  if (x.shape() == z.shape()) {
    z = z.to_format(x.format());
  } else if (z.numel() == 1 && z.rank() <= x.rank()) {
    z = z.reshape({});
  } else if (x.numel() == 1 && x.rank() <= z.rank()) {
    x = x.reshape({});
    return z.format();
  } else {
    x = x.plain();
    z = z.plain();
  }
  return x.format();
}

// A repeated operand as the floats a kernel loads at every step.
struct Repeated {
  float value[max_width];

  Repeated(const char* p, DType dtype) {
    const float x =
        dtype == DType::bfloat16 ? to_float(*reinterpret_cast<const bfloat16*>(p)) : *reinterpret_cast<const float*>(p);
    std::fill_n(value, max_width, x);
  }
};

// One run of a floating map; an operand of step 0 is one element.
void float_run(const BinaryKernel& kernel, const char* x, DType x_dtype, int64_t x_step, const char* z, DType z_dtype,
               int64_t z_step, char* y, int64_t n) {
  const bool half = x_dtype == DType::bfloat16 || z_dtype == DType::bfloat16;
  if (z_step == 0) {
    const Repeated repeated(z, z_dtype);
    return (half ? kernel.bfloat16_float : kernel.float32)(x, 1, repeated.value, 0, y, n);
  }
  if (x_step == 0) {
    const Repeated repeated(x, x_dtype);
    return (half ? kernel.float_bfloat16 : kernel.float32)(repeated.value, 0, z, 1, y, n);
  }
  (half ? kernel.bfloat16 : kernel.float32)(x, 1, z, 1, y, n);
}

void run(Binary op, const Array& x, const Array& z, const Array& y) {
  const DType x_dtype = x.dtype();
  const DType z_dtype = z.dtype();
  const int64_t x_size = item_size(x_dtype);
  const int64_t z_size = item_size(z_dtype);
  const int64_t y_size = item_size(y.dtype());
  const bool floating = is_floating(x_dtype);
  const BinaryKernel& kernel = binary_kernels().op[static_cast<int>(op)];
  const Broadcast<2> loops(y.shape(), {&x.shape(), &z.shape()});
  if (y.device() != Device::cpu) {
    // The operands have one dtype, but for a number beside bfloat16.
    const DType dtype = x.device() == Device::cpu ? z_dtype : x_dtype;
    return on_device(&BinaryDevice::map, name(op), y, dtype == DType::boolean ? on_bool(op) : op, dtype,
                     device_operand(x), device_operand(z), y, y.numel(), loops.loops());
  }
  // A number beside a single bfloat16 has nothing to step along, but kernels tell dtypes by steps.
  const int64_t x_step = x_dtype == DType::float32 && z_dtype == DType::bfloat16 ? 0 : loops.step(0);
  const int64_t z_step = z_dtype == DType::float32 && x_dtype == DType::bfloat16 ? 0 : loops.step(1);
  parallel_for(y.numel(), grain, [&](int64_t begin, int64_t end) {
    loops.runs(begin, end, [&](int64_t at, int64_t n, const int64_t* offset) {
      const char* from_x = x.raw<char>() + offset[0] * x_size;
      const char* from_z = z.raw<char>() + offset[1] * z_size;
      char* to = y.raw<char>() + at * y_size;
      if (floating) {
        float_run(kernel, from_x, x_dtype, x_step, from_z, z_dtype, z_step, to, n);
      } else {
        integer_run(op, x_dtype, from_x, x_step, from_z, z_step, to, n);
      }
    });
  });
}

// The device of an op on two operands. Errors: RuntimeError for arrays on two devices.
Device common_device(const Operand& x, const Operand& z, const char* op) {
  if (x.array == nullptr) return z.array->device();
  if (z.array != nullptr) check_same_device(*x.array, *z.array, op);
  return x.array->device();
}

}  // namespace

const char* name(Binary op) {
  return names[static_cast<int>(op)];
}

DType common_dtype(const Operand& x, const Operand& z, bool compares, const char* op) {
  check<TypeError>(x.array != nullptr || z.array != nullptr, op, ": expected a tensor, got two numbers");
  if (x.array == nullptr) return with_number(z.array->dtype(), x, compares);
  if (z.array == nullptr) return with_number(x.array->dtype(), z, compares);
  return std::min(x.array->dtype(), z.array->dtype());
}

Array operand_array(const Operand& x, DType dtype) {
  return x.array == nullptr ? number_array(x, dtype) : x.array->to(dtype);
}

DeviceOperand device_operand(const Array& x) {
  DeviceOperand out;
  if (x.device() != Device::cpu) {
    out.data = x.address();
    return out;
  }
  visit(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_same_v<T, bfloat16>) {
      out.value = to_float(*x.raw<T>());
    } else {
      out.value = static_cast<double>(*x.raw<T>());
    }
    std::memcpy(&out.integer, x.raw<T>(), sizeof(T));
  });
  return out;
}

Array binary(Binary op, const Operand& x, const Operand& z) {
  if (x.array != nullptr && z.array != nullptr && x.array->dtype() == DType::float32 &&
      z.array->dtype() == DType::float32 && x.array->format() == z.array->format() &&
      x.array->shape() == z.array->shape() && !is_bitwise(op) && x.array->device() == Device::cpu &&
      z.array->device() == Device::cpu) {
    const Array y(x.array->shape(), gives_bool(op) ? DType::boolean : DType::float32, x.array->format());
    const BinaryMap map = binary_kernels().op[static_cast<int>(op)].float32;
    const float* from_x = x.array->raw<float>();
    const float* from_z = z.array->raw<float>();
    char* to = y.raw<char>();
    const int64_t size = gives_bool(op) ? 1 : 4;
    parallel_for(y.numel(), grain, [&](int64_t begin, int64_t end) {
      map(from_x + begin, 1, from_z + begin, 1, to + begin * size, end - begin);
    });
    return y;
  }
  const bool compares = gives_bool(op) || op == Binary::maximum || op == Binary::minimum;
  DType dtype = common_dtype(x, z, compares, name(op));
  if (op == Binary::div && !is_floating(dtype)) dtype = DType::float32;
  check<TypeError>(!is_bitwise(op) || !is_floating(dtype), name(op), ": not defined for ", dtype);
  const Device device = common_device(x, z, name(op));
  Array a = operand_array(x, dtype);
  Array b = operand_array(z, dtype);
  const Shape shape = broadcast_shapes(a.shape(), b.shape(), name(op));
  if (!is_floating(dtype)) check_integer(op, dtype, a, b);
  const Format format = agree(a, b);
  Array y(shape, gives_bool(op) ? DType::boolean : dtype, format, device);
  run(op, a, b, y);
  return y;
}

Array binary_gradient(Partial partial, const Array& dy, const Operand& x, const Operand& z) {
  for (const Operand& operand : {x, z}) {
    if (operand.array != nullptr) check_same_device(dy, *operand.array, "gradient");
  }
  Array g = dy.to(DType::float32);
  Array a = operand_array(x, DType::float32);
  Array b = operand_array(z, DType::float32);
  if (g.format() != a.format() || g.format() != b.format() || (a.shape() != b.shape() && g.format() != Format::plain)) {
    g = g.plain();
    a = a.plain();
    b = b.plain();
  }
  Array d = empty_like(g);
  const PartialMap map = binary_kernels().partial[static_cast<int>(partial)];
  const Broadcast<2> loops(g.shape(), {&a.shape(), &b.shape()});
  if (d.device() != Device::cpu) {
    on_device(&BinaryDevice::partial, "gradient", d, partial, g, device_operand(a), device_operand(b), d, d.numel(),
              loops.loops());
    return d.to(dy.dtype());
  }
  parallel_for(d.numel(), grain, [&](int64_t begin, int64_t end) {
    loops.runs(begin, end, [&](int64_t at, int64_t n, const int64_t* offset) {
      const float* from_a = a.raw<float>() + offset[0];
      const float* from_b = b.raw<float>() + offset[1];
      const Repeated repeated_a(reinterpret_cast<const char*>(from_a), DType::float32);
      const Repeated repeated_b(reinterpret_cast<const char*>(from_b), DType::float32);
      map(g.raw<float>() + at, loops.step(0) == 0 ? repeated_a.value : from_a, loops.step(0),
          loops.step(1) == 0 ? repeated_b.value : from_b, loops.step(1), d.raw<float>() + at, n);
    });
  });
  return d.to(dy.dtype());
}

Array add(const Array& x, const Array& z) {
  return binary(Binary::add, x, z);
}

Array mul(const Array& x, const Array& z) {
  return binary(Binary::mul, x, z);
}

void add_into(const Array& x, const Array& z) {
  check(x.shape() == z.shape(), "add_into: expected two arrays of one shape, got ", x.shape(), " and ", z.shape());
  check_same_device(x, z, "add_into");
  x.begin_write("add_into");
  run(Binary::add, x, z.to(x.dtype()).to_format(x.format()), x);
}

bool alike(const Operand& x, const Operand& z) {
  if (x.array == nullptr || z.array == nullptr) return true;
  return x.array->dtype() == z.array->dtype() && x.array->shape() == z.array->shape();
}

}  // namespace nonet
