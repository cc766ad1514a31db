#pragma once

#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "core/tensor.h"

/// How real numbers become small codes. Channel c is axis 0 of a weight; activations have one entry per list.
namespace nibble {

/// Any float, no codes.
struct Real {};
/// Where a value half way between two codes of a Uniform grid goes: to the even one, or to the higher one, which is
/// floor(x + 0.5).
enum class Ties { even, up };
/// value = offset[c] + scale[c] * q with lo <= q <= hi; the code is q - lo. scale > 0.
struct Uniform {
  std::vector<float> scale, offset;
  int lo = 0, hi = 0;
  Ties ties = Ties::even;
};
/// value = offset[c] + sum over k of basis[k][c] * bit k of the code. The nearest level wins, ties go to the lower
/// level (LQ-Nets); of equal levels the one with the smallest code.
struct BitPlanes {
  std::vector<float> offset;
  std::vector<std::vector<float>> basis;
};
/// value = levels[code], code = number of thresholds < x. One set for all channels; both lists ascend and levels has
/// one entry more.
struct Codebook {
  std::vector<float> levels, thresholds;
};
/// Closed: a new kind of grid is a change of the architecture.
using Grid = std::variant<Real, Uniform, BitPlanes, Codebook>;

/// Number of codes a channel has; 0 for Real.
int64_t level_count(const Grid& grid);
/// Entries of the longest per-channel list; 1 if there are none.
int64_t channel_count(const Grid& grid);
/// The value of every code of a channel, in the order of the codes: formed in double, rounded once. Empty for Real.
std::vector<float> levels_of(const Grid& grid, int64_t channel);
/// Throws Error unless the grid is well formed (positive finite scales, at most 256 levels, ascending lists, ...) and
/// has one channel or `channels` of them; every list may have one entry or one per channel.
void check_grid(const Grid& grid, int64_t channels);

/// f32 -> u8 codes, any shape. Channels lie along axis 0 if the grid has more than one. This is the one definition of
/// rounding. Throws on Real, on a channel count that does not fit and on NaN.
Tensor encode(const Tensor& x, const Grid& grid);
/// u8 codes -> f32.
Tensor decode(const Tensor& codes, const Grid& grid);
/// decode(encode(x)); x itself for Real.
Tensor snap(const Tensor& x, const Grid& grid);
/// The same for quantizers, which refuse infinities, too: throws Error naming `who` and the first element that is not
/// finite.
Tensor snap_finite(std::string_view who, const Tensor& x, const Grid& grid);

/// The same codes and the same values in another form, or nothing: decode agrees for every code. Encoding is the
/// business of the original, since the kinds differ in what they do with ties and a codebook's thresholds are free.
std::optional<Uniform> as_uniform(const Grid& grid);
std::optional<BitPlanes> as_bitplanes(const Grid& grid);

}  // namespace nibble
