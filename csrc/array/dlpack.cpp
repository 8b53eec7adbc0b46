#include "array/dlpack.h"

namespace nonet::dlpack {

namespace {

struct Context {
  Array array;
  std::array<int64_t, Shape::max_rank> shape;
  std::array<int64_t, Shape::max_rank> strides;
};

DataType describe(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return {2, 32, 1};
    case DType::bfloat16:
      return {4, 16, 1};
    case DType::int64:
      return {0, 64, 1};
    case DType::int32:
      return {0, 32, 1};
    case DType::uint8:
      return {1, 8, 1};
    default:
      return {6, 8, 1};
  }
}

DType parse(DataType type) {
  if (type.lanes == 1) {
    for (const DType dtype :
         {DType::float32, DType::bfloat16, DType::int64, DType::int32, DType::uint8, DType::boolean}) {
      const DataType known = describe(dtype);
      if (known.code == type.code && known.bits == type.bits) return dtype;
    }
  }
  fail<TypeError>("from_dlpack: dtype must be one of float32, bfloat16, int64, int32, uint8, bool, got DLPack code ",
                  int{type.code}, " with ", int{type.bits}, " bits and ", type.lanes, " lanes");
}

template <class M>
M* make(const Array& source) {
  auto* context = new Context{source.plain(), {}, {}};
  const Array& array = context->array;
  int64_t stride = 1;
  for (int axis = array.rank() - 1; axis >= 0; --axis) {
    context->shape[axis] = array.dim(axis);
    context->strides[axis] = stride;
    stride *= array.dim(axis);
  }
  M* managed = new M{};
  managed->tensor = {array.raw<char>(),       {1, 0}, array.rank(), describe(array.dtype()), context->shape.data(),
                     context->strides.data(), 0};
  managed->context = context;
  managed->deleter = [](M* self) {
    delete static_cast<Context*>(self->context);
    delete self;
  };
  return managed;
}

// Copies a strided block row by row of the last axis.
template <class T>
void gather(const Tensor& tensor, const T* from, T* to) {
  int64_t index[Shape::max_rank] = {};
  int64_t total = 1;
  for (int axis = 0; axis < tensor.rank; ++axis) total *= tensor.shape[axis];
  for (int64_t i = 0; i < total; ++i) {
    int64_t offset = 0;
    for (int axis = 0; axis < tensor.rank; ++axis) offset += index[axis] * tensor.strides[axis];
    to[i] = from[offset];
    for (int axis = tensor.rank - 1; axis >= 0 && ++index[axis] == tensor.shape[axis]; --axis) index[axis] = 0;
  }
}

}  // namespace

Managed* export_unversioned(const Array& array) {
  Managed* managed = make<Managed>(array);
  if (array.storage()->guarded()) array.storage()->make_uncacheable();
  return managed;
}

ManagedVersioned* export_versioned(const Array& array) {
  ManagedVersioned* managed = make<ManagedVersioned>(array);
  managed->major = 1;
  managed->minor = 0;
  managed->flags = array.storage()->guarded() || !array.storage()->writable() ? read_only_flag : 0;
  return managed;
}

Array import(const Tensor& tensor, bool writable, std::function<void()> release) {
  check<RuntimeError>(tensor.device.type == 1, "from_dlpack: expected memory of a CPU (DLPack device 1), got device ",
                      tensor.device.type);
  const DType dtype = parse(tensor.dtype);
  check(tensor.rank <= Shape::max_rank, "from_dlpack: at most ", Shape::max_rank, " axes, got ", tensor.rank);
  const Shape shape(tensor.shape, tensor.shape + tensor.rank);
  char* data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  bool contiguous = true;
  int64_t stride = 1;
  for (int axis = tensor.rank - 1; axis >= 0 && tensor.strides != nullptr; --axis) {
    contiguous &= shape[axis] == 1 || tensor.strides[axis] == stride;
    stride *= shape[axis];
  }
  if (contiguous || shape.numel() == 0) {
    const int64_t bytes = shape.numel() * item_size(dtype);
    return Array(std::make_shared<Storage>(data, bytes, writable, std::move(release)), 0, shape, dtype);
  }
  Array out(shape, dtype);
  visit(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    gather(tensor, reinterpret_cast<const T*>(data), out.data<T>());
  });
  release();
  return out;
}

}  // namespace nonet::dlpack
