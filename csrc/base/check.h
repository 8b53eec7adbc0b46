// Typed errors. A message names the op, the argument, what was expected and what was given:
//   check(w.dim(1) == c, "conv2d: weight must have shape [out, in/groups, kh, kw] = ", want, ", got ", w.shape());
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace nonet {

// Python's ValueError, TypeError, IndexError, RuntimeError.
struct ValueError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct TypeError : std::logic_error {
  using std::logic_error::logic_error;
};
struct IndexError : std::out_of_range {
  using std::out_of_range::out_of_range;
};
struct RuntimeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class Error, class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const Parts&... parts) {
  throw Error(message(parts...));
}

// The parts are only formatted when the check fails.
template <class Error = ValueError, class... Parts>
inline void check(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail<Error>(parts...);
}

}  // namespace nonet
