#pragma once

#include <optional>
#include <string>

#include "core/config.h"
#include "core/grid.h"

/// How an edge of an integer network writes reals as u8 codes.
namespace nibble {

/// value = scale * (code - zero) for the codes 0, unit, 2 unit, ..., (levels - 1) unit.
struct Coding {
  float scale = 1;  ///< positive and finite
  int zero = 0;     ///< 0..255: the code of 0, with which images are padded
  int unit = 1;     ///< 2 for grids such as {-1, 1}, of which 0 is no level but lies half way between two
  int levels = 256;

  int highest() const { return (levels - 1) * unit; }
  float value(int code) const { return static_cast<float>(static_cast<double>(scale) * (code - zero)); }
  bool operator==(const Coding&) const = default;
  /// Declares scale, zero, unit and levels as options, under names that begin with `prefix`.
  void fields(Fields& f, const std::string& prefix = "");
  /// Throws Error unless 0 <= zero <= 255, the codes fit 8 bits and the scale is positive and finite.
  void check() const;
};

/// The coding of an activation grid, or nothing with the reason in `why`: the grid must be uniform for all channels
/// together, have at most 256 levels, and 0 must be one of its levels or lie half way between two.
std::optional<Coding> coding_of(const Grid& grid, std::string& why);

/// A grid as JSON: {"uniform": {...}}, {"planes": {...}} or {"codebook": {...}}, and back. Both throw Error unless the
/// grid is well formed and the same for all channels.
Json grid_json(const Grid& grid);
Grid grid_from_json(const Config& config);

}  // namespace nibble
