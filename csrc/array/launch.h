// The call of a device's kernels: what every op does for an array that is not in main memory.
//
//   on_device(&SoftmaxDevice::forward, "softmax", y, x, y, rows, n);
//
// calls the launcher SoftmaxDevice::forward of y's device with that device's stream and the arguments behind y, and
// reports what went wrong under the op's name and y's shape.
#pragma once

#include <type_traits>

#include "array/array.h"

namespace nonet {

namespace detail {

// An Array becomes its address (null if it is undefined); everything else is passed as it is.
template <class Parameter, class Argument>
Parameter pass(const Argument& argument, Device device, const char* op) {
  if constexpr (std::is_same_v<Argument, Array>) {
    static_assert(std::is_pointer_v<Parameter>, "an Array is passed as a pointer");
    if (!argument.defined()) return nullptr;
    check<RuntimeError>(argument.device() == device, op, ": arrays are on different devices, ", device, " and ",
                        argument.device());
    return static_cast<Parameter>(argument.address());
  } else {
    return argument;
  }
}

}  // namespace detail

// Errors: RuntimeError that names op and device if the device has no such kernel, if an argument is on another device,
// or if a launch failed; with NONET_CUDA_SYNC=1 the kernel's own failure too.
template <class Table, class... Parameters, class... Arguments>
void on_device(void (*Table::*launcher)(Stream, Parameters...), const char* op, const Array& out,
               const Arguments&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "one argument per parameter behind the stream");
  const Device device = out.device();
  const auto launch = device_table<Table>(device).*launcher;
  check<RuntimeError>(launch != nullptr, op, ": there is no kernel for ", device, "; use .cpu()");
  launch(backend(device).stream(), detail::pass<Parameters>(arguments, device, op)...);
  if (const char* problem = failure(device)) [[unlikely]] {
    fail<RuntimeError>(op, ": ", device, ": ", problem, " (result of shape ", out.shape(), ")");
  }
}

}  // namespace nonet
