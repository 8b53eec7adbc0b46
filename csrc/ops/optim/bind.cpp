#include "bind.h"

#include <cmath>

#include "ops/optim/group.h"

namespace nonet {

namespace {

// An OptimGroup that reads the arrays of its parameters and their gradients from the Python objects before a step. An
// array object stands for the same memory as long as it lives, so only a changed object is looked into.
class Group {
 public:
  Group(std::vector<py::object> params, const std::vector<bool>& movable)
      : params_(std::move(params)), core_(arrays(), movable), seen_(params_.size()) {}

  OptimGroup& core() { return core_; }

  void refresh() {
    static PyObject* const name_grad = PyUnicode_InternFromString("grad");
    static PyObject* const name_array = PyUnicode_InternFromString("array");
    for (size_t i = 0; i < params_.size(); ++i) {
      const py::object grad = attribute(params_[i], name_grad);
      py::object own = attribute(params_[i], name_array);
      py::object source = grad.is_none() ? py::object(grad) : attribute(grad, name_array);
      Seen& seen = seen_[i];
      if (own.is(seen.param) && source.is(seen.grad)) continue;
      const Array* g = source.is_none() ? nullptr : &source.cast<const Array&>();
      core_.place(static_cast<int64_t>(i), own.cast<const Array&>(), g);
      // The conversion of an nhwc gradient would miss later writes, so it is made anew in every step.
      if (g != nullptr && g->format() != Format::plain) source = py::object();
      seen = {std::move(own), std::move(source)};
    }
  }

  template <class FactorsOf>
  void step(OptimRule rule, bool counts, const FactorsOf& factors_of) {
    refresh();
    const py::gil_scoped_release release;
    core_.step(rule, counts, factors_of);
  }

 private:
  struct Seen {
    py::object param;
    py::object grad;
  };

  static py::object attribute(const py::object& object, PyObject* name) {
    PyObject* out = PyObject_GetAttr(object.ptr(), name);
    if (out == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(out);
  }

  std::vector<Array> arrays() const {
    std::vector<Array> out;
    for (const py::object& p : params_) out.push_back(p.attr("array").cast<Array>());
    return out;
  }

  std::vector<py::object> params_;
  OptimGroup core_;
  std::vector<Seen> seen_;
};

OptimFactors common(double lr, double decay, bool decoupled, bool maximize) {
  OptimFactors f;
  f.sign = maximize ? -1.f : 1.f;
  f.decay = decoupled ? 0.f : static_cast<float>(decay);
  f.keep = decoupled ? static_cast<float>(1 - lr * decay) : 1.f;
  f.rate = static_cast<float>(lr);
  return f;
}

void sgd(Group& group, double lr, double momentum, double dampening, double decay, bool nesterov, bool maximize) {
  OptimFactors f = common(lr, decay, false, maximize);
  f.momentum = static_cast<float>(momentum);
  f.fresh = static_cast<float>(1 - dampening);
  f.option = nesterov;
  if (momentum != 0) group.core().make_state(0);
  group.step(OptimRule::sgd, momentum != 0, [&](int64_t t, double&) {
    f.first = t == 1;
    return f;
  });
}

// The factors of the two moments.
void set_moments(OptimFactors& f, double beta1, double beta2, double eps) {
  f.fresh = static_cast<float>(1 - beta1);
  f.keep_v = static_cast<float>(beta2);
  f.fresh_v = static_cast<float>(1 - beta2);
  f.eps = static_cast<float>(eps);
}

void make_states(Group& group, int count) {
  for (int k = 0; k < count; ++k) group.core().make_state(k);
}

void adam(Group& group, double lr, double beta1, double beta2, double eps, double decay, bool amsgrad, bool maximize,
          bool decoupled) {
  OptimFactors f = common(lr, decay, decoupled, maximize);
  set_moments(f, beta1, beta2, eps);
  f.option = amsgrad;
  make_states(group, amsgrad ? 3 : 2);
  group.step(OptimRule::adam, true, [&](int64_t t, double&) {
    f.rate = static_cast<float>(lr / (1 - std::pow(beta1, t)));
    f.scale_v = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t)));
    return f;
  });
}

void rmsprop(Group& group, double lr, double alpha, double eps, double decay, double momentum, bool centered,
             bool maximize) {
  OptimFactors f = common(lr, decay, false, maximize);
  set_moments(f, 0, alpha, eps);
  f.momentum = static_cast<float>(momentum);
  f.option = centered;
  group.core().make_state(0);
  if (momentum != 0) group.core().make_state(1);
  if (centered) group.core().make_state(2);
  group.step(OptimRule::rmsprop, true, [&](int64_t, double&) { return f; });
}

void adagrad(Group& group, double lr, double lr_decay, double decay, double eps, bool maximize) {
  OptimFactors f = common(lr, decay, false, maximize);
  f.eps = static_cast<float>(eps);
  group.step(OptimRule::adagrad, true, [&](int64_t t, double&) {
    f.rate = static_cast<float>(lr / (1 + static_cast<double>(t - 1) * lr_decay));
    return f;
  });
}

void nadam(Group& group, double lr, double beta1, double beta2, double eps, double decay, double momentum_decay,
           bool decoupled, bool maximize) {
  OptimFactors f = common(lr, decay, decoupled, maximize);
  set_moments(f, beta1, beta2, eps);
  make_states(group, 2);
  const auto mu = [&](int64_t t) {
    return beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(t) * momentum_decay));
  };
  group.step(OptimRule::nadam, true, [&](int64_t t, double& product) {
    product *= mu(t);
    f.rate_g = static_cast<float>(lr * (1 - mu(t)) / (1 - product));
    f.rate = static_cast<float>(lr * mu(t + 1) / (1 - product * mu(t + 1)));
    f.scale_v = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t)));
    return f;
  });
}

void radam(Group& group, double lr, double beta1, double beta2, double eps, double decay, bool decoupled,
           bool maximize) {
  OptimFactors f = common(lr, decay, decoupled, maximize);
  set_moments(f, beta1, beta2, eps);
  make_states(group, 2);
  const double longest = 2 / (1 - beta2) - 1;
  group.step(OptimRule::radam, true, [&](int64_t t, double&) {
    const double bias2 = 1 - std::pow(beta2, t);
    const double length = longest - 2 * static_cast<double>(t) * std::pow(beta2, t) / bias2;
    f.option = length > 5;
    double rate = lr / (1 - std::pow(beta1, t));
    if (f.option) {
      rate *= std::sqrt(bias2 * (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length));
    }
    f.rate = static_cast<float>(rate);
    return f;
  });
}

void adadelta(Group& group, double lr, double rho, double eps, double decay, bool maximize) {
  OptimFactors f = common(lr, decay, false, maximize);
  set_moments(f, 0, rho, eps);
  make_states(group, 2);
  group.step(OptimRule::adadelta, true, [&](int64_t, double&) { return f; });
}

void adamax(Group& group, double lr, double beta1, double beta2, double eps, double decay, bool maximize) {
  OptimFactors f = common(lr, decay, false, maximize);
  set_moments(f, beta1, beta2, eps);
  make_states(group, 2);
  group.step(OptimRule::adamax, true, [&](int64_t t, double&) {
    f.rate = static_cast<float>(lr / (1 - std::pow(beta1, t)));
    return f;
  });
}

void bind_steps(py::class_<Group>& group) {
  group
      .def("sgd", &sgd, py::arg("lr"), py::arg("momentum"), py::arg("dampening"), py::arg("weight_decay"),
           py::arg("nesterov"), py::arg("maximize"))
      .def("adam", &adam, py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"),
           py::arg("amsgrad"), py::arg("maximize"), py::arg("decoupled"))
      .def("rmsprop", &rmsprop, py::arg("lr"), py::arg("alpha"), py::arg("eps"), py::arg("weight_decay"),
           py::arg("momentum"), py::arg("centered"), py::arg("maximize"))
      .def("adagrad", &adagrad, py::arg("lr"), py::arg("lr_decay"), py::arg("weight_decay"), py::arg("eps"),
           py::arg("maximize"))
      .def("nadam", &nadam, py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"),
           py::arg("momentum_decay"), py::arg("decoupled"), py::arg("maximize"))
      .def("radam", &radam, py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"),
           py::arg("decoupled"), py::arg("maximize"))
      .def("adadelta", &adadelta, py::arg("lr"), py::arg("rho"), py::arg("eps"), py::arg("weight_decay"),
           py::arg("maximize"))
      .def("adamax", &adamax, py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"),
           py::arg("weight_decay"), py::arg("maximize"));
}

}  // namespace

void bind_optim(py::module_& m) {
  py::class_<Group> group(m, "OptimGroup", "The parameters of one optimizer group as flat runs of memory.");
  group.def(py::init<std::vector<py::object>, const std::vector<bool>&>(), py::arg("params"), py::arg("movable"))
      .def_property_readonly("device", [](Group& g) { return g.core().device(); })
      .def(
          "param", [](Group& g, int64_t i) { return g.core().param(i); }, py::arg("index"))
      .def(
          "slot", [](Group& g, int64_t i) { return if_defined(g.core().slot(i)); }, py::arg("index"))
      .def(
          "steps", [](Group& g, int64_t i) { return g.core().steps(i); }, py::arg("index"))
      .def(
          "product", [](Group& g, int64_t i) { return g.core().product(i); }, py::arg("index"))
      .def(
          "set_progress",
          [](Group& g, int64_t i, int64_t steps, double product) { g.core().set_progress(i, steps, product); },
          py::arg("index"), py::arg("steps"), py::arg("product"))
      .def(
          "state", [](Group& g, int k, int64_t i) { return if_defined(g.core().state(k, i)); }, py::arg("k"),
          py::arg("index"))
      .def(
          "make_state", [](Group& g, int k, float value) { g.core().make_state(k, value); }, py::arg("k"),
          py::arg("value") = 0.f);
  bind_steps(group);

  m.def("total_norm", &total_norm, py::arg("arrays"), py::arg("p"), no_gil());
  m.def("scale_to_norm", &scale_to_norm, py::arg("arrays"), py::arg("norm"), py::arg("max_norm"), no_gil());
  m.def("clamp_values", &clamp_values, py::arg("arrays"), py::arg("bound"), no_gil());
}

}  // namespace nonet
