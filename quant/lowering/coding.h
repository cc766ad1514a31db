#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/grid.h"

/// How an edge of an integer network writes reals as u8 codes.
namespace nibble {

/// On an equally spaced grid value = scale * (code - zero) for the codes 0, unit, 2 unit, ..., (levels - 1) unit. On
/// any other the code is a string of bits: value = offset + sum over k of basis[k] * bit k.
struct Coding {
  float scale = 1;  ///< positive and finite
  int zero = 0;     ///< 0..255: the code of 0, with which images are padded
  int unit = 1;     ///< 2 for grids such as {-1, 1}, of which 0 is no level but lies half way between two
  int levels = 256;
  double offset = 0;
  std::vector<double> basis = {};  ///< empty: equally spaced; else scale, zero and unit mean nothing
  bool ladder = false;             ///< only the codes 0, 1, 3, 7, ... are levels, in ascending order

  bool uniform() const { return basis.empty(); }
  int highest() const { return uniform() ? (levels - 1) * unit : (1 << basis.size()) - 1; }
  float value(int code) const;
  bool is_level(int code) const;
  /// The code of 0; nothing if 0 is no level.
  std::optional<int> zero_code() const;
  /// The codes of the levels by ascending value; of equal values the smallest.
  std::vector<uint8_t> ascending() const;
  bool operator==(const Coding&) const = default;
  /// Declares the members as options, under names that begin with `prefix`.
  void fields(Fields& f, const std::string& prefix = "");
  /// Throws Error unless 0 <= zero <= 255, the codes fit 8 bits, the scale is positive and all numbers are finite.
  void check() const;
};

/// The coding of an activation grid, or nothing with the reason in `why`: the grid must be the same for all channels.
/// It is equally spaced if it has at most 256 levels at one distance and 0 is one of them or lies half way between two;
/// else bits of the grid's planes, or of a ladder of up to 9 levels.
std::optional<Coding> coding_of(const Grid& grid, std::string& why);
/// u8 codes of encode() with that grid -> codes of coding_of() with it.
std::array<uint8_t, 256> code_table(const Grid& grid, const Coding& coding);

/// A grid as steps: what x becomes is codes[number of thresholds below x].
struct Steps {
  std::vector<float> thresholds;
  std::vector<uint8_t> codes;  ///< of the coding, by ascending value
};
/// Exactly what encode() does with a grid that is the same for all channels.
Steps steps_of(const Grid& grid, const Coding& coding);

/// A grid as JSON: {"uniform": {...}}, {"planes": {...}} or {"codebook": {...}}, and back. Both throw Error unless the
/// grid is well formed and the same for all channels.
Json grid_json(const Grid& grid);
Grid grid_from_json(const Config& config);

}  // namespace nibble
