#pragma once

namespace nonet {

// How a loss per element or per position becomes the result.
enum class Reduction { none, mean, sum };

}  // namespace nonet
