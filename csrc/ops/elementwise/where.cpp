#include "array/launch.h"
#include "ops/elementwise/broadcast.h"
#include "ops/elementwise/elementwise.h"

namespace nonet {

namespace {

// c is 0 or 1. Without a branch, whose outcome no processor could foresee.
template <class T>
T pick(uint8_t c, T x, T z) {
  return static_cast<T>(z ^ ((x ^ z) & static_cast<T>(-static_cast<T>(c))));
}

// T is any type of the element's size: a choice does not look at the values.
template <class T>
void choose(const Array& c, const Array& x, const Array& z, const Array& y, const Broadcast<3>& loops) {
  const int64_t c_step = loops.step(0);
  const int64_t x_step = loops.step(1);
  const int64_t z_step = loops.step(2);
  parallel_for(y.numel(), 32768, [&](int64_t begin, int64_t end) {
    loops.runs(begin, end, [&](int64_t at, int64_t n, const int64_t* offset) {
      const uint8_t* condition = c.raw<uint8_t>() + offset[0];
      const T* from_x = x.raw<T>() + offset[1];
      const T* from_z = z.raw<T>() + offset[2];
      T* to = y.raw<T>() + at;
      if (c_step == 0) {
        const T* from = *condition != 0 ? from_x : from_z;
        const int64_t step = *condition != 0 ? x_step : z_step;
        for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
      } else if (x_step == 0) {
        const T value = *from_x;
        for (int64_t i = 0; i < n; ++i) to[i] = pick<T>(condition[i], value, from_z[i * z_step]);
      } else if (z_step == 0) {
        const T value = *from_z;
        for (int64_t i = 0; i < n; ++i) to[i] = pick<T>(condition[i], from_x[i], value);
      } else {
        for (int64_t i = 0; i < n; ++i) to[i] = pick<T>(condition[i], from_x[i], from_z[i]);
      }
    });
  });
}

}  // namespace

Array where(const Array& c, const Operand& x, const Operand& z) {
  const DType dtype = common_dtype(x, z, false, "where");
  Array condition = c.to(DType::boolean);
  Array a = operand_array(x, dtype).to(dtype);
  Array b = operand_array(z, dtype).to(dtype);
  for (const Operand& operand : {x, z}) {
    if (operand.array != nullptr) check_same_device(condition, *operand.array, "where");
  }
  const Shape shape = broadcast_shapes(broadcast_shapes(condition.shape(), a.shape(), "where"), b.shape(), "where");
  Format format = condition.format();
  const bool direct =
      condition.shape() == shape && (a.shape() == shape || a.rank() == 0) && (b.shape() == shape || b.rank() == 0);
  if (direct) {
    if (a.rank() == shape.rank()) format = a.format();
    condition = condition.to_format(format);
    if (a.rank() == shape.rank()) a = a.to_format(format);
    if (b.rank() == shape.rank()) b = b.to_format(format);
  } else {
    format = Format::plain;
    condition = condition.plain();
    a = a.plain();
    b = b.plain();
  }
  Array y(shape, dtype, format, condition.device());
  const Broadcast<3> loops(shape, {&condition.shape(), &a.shape(), &b.shape()});
  if (y.device() != Device::cpu) {
    const int size = static_cast<int>(item_size(dtype));
    on_device(&BinaryDevice::where, "where", y, condition, device_operand(a), device_operand(b), y, size, y.numel(),
              loops.loops());
    return y;
  }
  switch (item_size(dtype)) {
    case 8:
      choose<uint64_t>(condition, a, b, y, loops);
      break;
    case 4:
      choose<uint32_t>(condition, a, b, y, loops);
      break;
    case 2:
      choose<uint16_t>(condition, a, b, y, loops);
      break;
    default:
      choose<uint8_t>(condition, a, b, y, loops);
  }
  return y;
}

}  // namespace nonet
