#include "array/dlpack.h"

#include "array/strided.h"

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
  managed->tensor = {array.address(),
                     device_of(array),
                     array.rank(),
                     describe(array.dtype()),
                     context->shape.data(),
                     context->strides.data(),
                     0};
  managed->context = context;
  managed->deleter = [](M* self) {
    delete static_cast<Context*>(self->context);
    delete self;
  };
  return managed;
}

constexpr int32_t cpu_type = 1;
constexpr int32_t cuda_type = 2;

}  // namespace

Device device_of(const Array& array) {
  check<RuntimeError>(array.device() != nonet::Device::emulator,
                      "dlpack: memory of the emulator is not another library's to use; use .cpu()");
  return {array.device() == nonet::Device::cuda ? cuda_type : cpu_type, 0};
}

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
  check<RuntimeError>(tensor.device.type == cpu_type || tensor.device.type == cuda_type,
                      "from_dlpack: expected memory of a CPU or CUDA (DLPack devices 1 and 2), got device ",
                      tensor.device.type);
  check<RuntimeError>(tensor.device.index == 0 || tensor.device.type == cpu_type,
                      "from_dlpack: expected memory of cuda:0, got cuda:", tensor.device.index);
  const auto device = device_from_name(tensor.device.type == cpu_type ? "cpu" : "cuda");
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
  const int64_t size = item_size(dtype);
  if (contiguous || shape.numel() == 0) {
    auto storage = std::make_shared<Storage>(data, shape.numel() * size, writable, std::move(release), device);
    return Array(std::move(storage), 0, shape, dtype);
  }
  const Shape strides(tensor.strides, tensor.strides + tensor.rank);
  const auto borrowed = std::make_shared<Storage>(data, 0, false, std::move(release), device);
  const Array out = read_strided(Array(borrowed, 0, {}, dtype), {shape, strides, 0});
  synchronize(device);  // the producer may take its memory back now
  return out;
}

}  // namespace nonet::dlpack
