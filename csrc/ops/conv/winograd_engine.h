// The table of winograd.h on products of `Values` (winograd_tiles.h).
#pragma once

#include "ops/conv/winograd_forward.h"
#include "ops/conv/winograd_gradient.h"

namespace nonet::NONET_NS {

template <class Values>
constexpr WinogradKernels winograd_on{matrix_floats<Values>, forward_workspace<Values>,  forward<Values>,
                                      weights<Values>,       gradient_workspace<Values>, gradient<Values>,
                                      gradient_weights};

}  // namespace nonet::NONET_NS
