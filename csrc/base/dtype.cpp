#include "base/dtype.h"

namespace nonet {

namespace {
constexpr const char* names[] = {"float32", "bfloat16", "int64", "int32", "uint8", "bool"};
}

const char* name(DType dtype) {
  return names[static_cast<int>(dtype)];
}

DType dtype_from_name(const std::string& name) {
  for (int i = 0; i < 6; ++i) {
    if (name == names[i]) return static_cast<DType>(i);
  }
  fail<TypeError>(
      "dtype: expected one of float32, bfloat16, int64, int32, uint8, bool, by name or as NumPy's, or Python's float "
      "or int, got ",
      name);
}

std::ostream& operator<<(std::ostream& out, DType dtype) {
  return out << name(dtype);
}

}  // namespace nonet
