// The extension module: one line per op family.
#include "base/isa.h"
#include "base/threads.h"
#include "bind.h"

namespace nonet {

#if defined(NONET_CUDA)
const Backend& cuda_backend();  // cuda/runtime.cu
#endif

void bind_array(py::module_&);
void bind_device(py::module_&);
void bind_activation(py::module_&);
void bind_attention(py::module_&);
void bind_boxes(py::module_&);
void bind_conv(py::module_&);
void bind_ctc(py::module_&);
void bind_dropout(py::module_&);
void bind_elementwise(py::module_&);
void bind_embedding(py::module_&);
void bind_fold(py::module_&);
void bind_index(py::module_&);
void bind_loss(py::module_&);
void bind_matmul(py::module_&);
void bind_norm(py::module_&);
void bind_optim(py::module_&);
void bind_pad(py::module_&);
void bind_peak(py::module_&);
void bind_pool(py::module_&);
void bind_random(py::module_&);
void bind_recurrent(py::module_&);
void bind_reduce(py::module_&);
void bind_resize(py::module_&);
void bind_shape(py::module_&);
void bind_softmax(py::module_&);
void bind_sort(py::module_&);

}  // namespace nonet

PYBIND11_MODULE(_core, m) {
  using namespace nonet;
  m.doc() = "nonet's compiled core: arrays and the kernels on them. Private; use the package nonet.";

  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const TypeError& error) {
      PyErr_SetString(PyExc_TypeError, error.what());
    }
  });

  m.def("isa", [] { return name(isa()); });
  m.def("detected_isa", [] { return name(detected_isa()); });
  m.def("set_isa", &set_isa, py::arg("name"));
  m.def("emulated", &emulated, "whether avx512 and above are emulated");
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads, py::arg("count"), no_gil());

#if defined(NONET_CUDA)
  register_backend(Device::cuda, cuda_backend());
#endif
  bind_device(m);
  bind_array(m);
  bind_activation(m);
  bind_attention(m);
  bind_boxes(m);
  bind_conv(m);
  bind_ctc(m);
  bind_dropout(m);
  bind_elementwise(m);
  bind_embedding(m);
  bind_fold(m);
  bind_index(m);
  bind_loss(m);
  bind_matmul(m);
  bind_norm(m);
  bind_optim(m);
  bind_pad(m);
  bind_peak(m);
  bind_pool(m);
  bind_random(m);
  bind_recurrent(m);
  bind_reduce(m);
  bind_resize(m);
  bind_shape(m);
  bind_softmax(m);
  bind_sort(m);
}
