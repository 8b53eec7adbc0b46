#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <cstring>

#include "cuda/tensor_map.h"

namespace nonet::cuda {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));

// The driver is asked for its function at run time: nothing links it, so that the library loads where there is none.
static PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  static const auto found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    const cudaError_t code =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result);
    return code == cudaSuccess && result == cudaDriverEntryPointSuccess ? function : nullptr;
  }();
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
}

Status encode_tensor_map(TensorMap& map, const TensorMapSpec& spec) {
  const auto encode = encoder();
  if (encode == nullptr) return {cudaErrorNotSupported, "tensor map: the driver has no cuTensorMapEncodeTiled"};
  cuuint64_t size[5], stride[5];
  cuuint32_t box[5], step[5];
  for (int i = 0; i < spec.rank; ++i) {
    size[i] = static_cast<cuuint64_t>(spec.size[i]);
    if (i > 0) stride[i - 1] = static_cast<cuuint64_t>(spec.stride[i]);
    box[i] = static_cast<cuuint32_t>(spec.box[i]);
    step[i] = 1;
  }
  static constexpr CUtensorMapDataType types[] = {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                                                  CU_TENSOR_MAP_DATA_TYPE_TFLOAT32};
  static constexpr CUtensorMapSwizzle swizzles[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                                    CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B};
  const CUresult result = encode(reinterpret_cast<CUtensorMap*>(&map), types[static_cast<int>(spec.element)],
                                 static_cast<cuuint32_t>(spec.rank), const_cast<void*>(spec.address), size, stride, box,
                                 step, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzles[static_cast<int>(spec.swizzle)],
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return {};
  return {static_cast<int>(result), "tensor map: cuTensorMapEncodeTiled refused it, error " + std::to_string(result)};
}

}  // namespace nonet::cuda
