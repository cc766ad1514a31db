#pragma once

#include "core/kernels/conv_f32/driver.h"

/// 3x3 convolutions and their gradients by Winograd's F(4x4, 3x3) (Lavin and Gray, CVPR 2016): 36 products of small
/// matrices where the direct way has 144. Not exact even for whole numbers, with an error of some 1e-6 of the largest
/// result where the direct way has 1e-7, so conv_forward() never uses it: a quantized network is to compute in training
/// what its integer form computes later.
namespace nibble::conv_f32 {

/// Whether this shape is to be computed here: stride and dilation 1, one group, at least 16 channels on both sides, and
/// so many tiles of 4x4 that transforming the weights pays.
bool winograd_pays(const ConvShape& shape, ConvPass pass);

/// As conv_forward, without a bias.
void winograd_forward(const Kernels& kernels, const ConvShape& shape, const float* x, const float* w, float* y);
/// As conv_backward_data.
void winograd_backward_data(const Kernels& kernels, const ConvShape& shape, const float* dy, const float* w, float* dx);
/// As conv_backward_weights.
void winograd_backward_weights(const Kernels& kernels, const ConvShape& shape, const float* x, const float* dy,
                               float* dw);

}  // namespace nibble::conv_f32
