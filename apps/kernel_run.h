#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace nibble {

/// A convolution of one square image; one group, or as many as channels.
struct ConvLayer {
  const char* network;
  int64_t in, out;
  int kernel, stride;
  int64_t size;
  bool depthwise = false;

  int64_t group_in() const { return depthwise ? 1 : in; }
  int64_t out_size() const { return (size + 2 * (kernel / 2) - kernel) / stride + 1; }
  double macs() const { return static_cast<double>(out_size() * out_size() * out * group_in()) * kernel * kernel; }
  /// "3x3 64-64, 56x56"
  std::string name() const;
};

/// Codes of a network of few bits. Equally spaced: weights 1 - 2^w .. 2^w - 1 by twos, inputs 0 .. 2^a - 1. Learned:
/// levels that are sums of bits (LQ-Nets, eq. 6), other ones for every output channel's weights.
struct FewBits {
  int w_bits = 1, a_bits = 1;
  bool learned = false;
  /// "2x2" or "2x2 learned"
  std::string name() const;
};

/// A convolution with its data, ready to run again and again on all threads(), from codes to codes.
struct KernelRun {
  std::string kernel;
  double peak = 0;  ///< multiply-adds per cycle and thread; 0: not known
  std::function<void()> run;
};

/// On weights of 8 bits.
KernelRun int8_run(const ConvLayer& layer);
/// On weights of few bits, whose products leave more room in 16 bits on processors without dot products of bytes.
KernelRun int8_run(const ConvLayer& layer, int w_bits);
/// On bit planes or tables, whichever the plan finds faster.
KernelRun bit_run(const ConvLayer& layer, const FewBits& few);
/// conv2d from f32 to f32.
KernelRun float_run(const ConvLayer& layer);

}  // namespace nibble
