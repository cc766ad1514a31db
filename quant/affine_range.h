#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/grid.h"
#include "core/tensor.h"
#include "quant/statistics.h"

/// The affine scheme r = S (q - Z) of "Quantization and Training of Neural Networks for Efficient
/// Integer-Arithmetic-Only Inference" (Jacob et al., CVPR 2018), eq. 1: from a range to scale and zero point.
namespace nibble {

/// Scale and zero point of one array, and the range that its codes qmin..qmax cover.
struct AffineRange {
  float scale = 1;                ///< S, positive and finite
  int zero = 0;                   ///< Z, the code of 0: within qmin..qmax
  int lo = 0, hi = 0;             ///< qmin - Z and qmax - Z: the values are scale * lo .. scale * hi, 0 among them
  float lowest = 0, highest = 0;  ///< the nudged range: (qmin - Z) S and (qmax - Z) S, formed in double
};

/// Widens [min, max] to contain 0, divides it into qmax - qmin steps, and shifts it by less than half a step so that 0
/// is a code; the real zero point is rounded half away from 0. An empty range gives S = 1 and Z = qmin. S is kept
/// between the smallest normal float and what leaves every value finite. Throws unless min and max are finite and qmin
/// < qmax.
AffineRange nudge(double min, double max, int qmin, int qmax);

/// The same codes with S rounded to 24 - 8 bits, so that every product of S with a difference of codes is exact in
/// f32: grids with a zero point per channel need it to hold 0 exactly.
AffineRange with_short_scale(const AffineRange& range);

/// The grid of one range per channel (or one in all), which must agree in hi - lo. Ranges whose zero points differ
/// must have short scales. 0 is on the grid, exactly. Values half way between two codes go up, as in eq. 12, unless
/// `ties` says otherwise.
Uniform grid_of(std::span<const AffineRange> ranges, Ties ties = Ties::up);

/// Smallest and largest element of each of `parts` equal parts along axis 0, and 0. Throws Error naming `who` and the
/// element if one is NaN or infinite.
std::vector<Extremes> finite_extremes(const char* who, const Tensor& x, int64_t parts);

/// A bias in the units of the accumulator, S1 * S2 (eq. 11): rounded half away from 0, saturated to 32 bits.
int32_t bias_code(double bias, double weight_scale, double input_scale);

}  // namespace nibble
