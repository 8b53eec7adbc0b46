// Channels to pixels and back: moves of elements, each the other's gradient. nhwc images keep their format.
#pragma once

#include <cstdint>

namespace nonet {

class Array;

// x [..., C r^2, H, W] -> y [..., C, H r, W r], y[c, h r + i, w r + j] = x[c r^2 + i r + j, h, w] (Shi et al.,
// "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", 2016).
// Errors: ValueError for shapes.
Array pixel_shuffle(const Array& x, int64_t factor);
// The inverse.
Array pixel_unshuffle(const Array& x, int64_t factor);
// x [N, G K, ...] -> y [N, K G, ...], y[k G + g] = x[g K + k]. The inverse is the shuffle with K groups.
Array channel_shuffle(const Array& x, int64_t groups);

}  // namespace nonet
