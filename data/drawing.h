#pragma once

#include <array>
#include <cstdint>

#include "core/rng.h"
#include "data/image.h"

namespace nibble {

/// The ten classes of the embedded data set.
enum class Figure { disc, ring, square, triangle, star, cross, stripes, checker, crescent, corner };
inline constexpr int kFigures = 10;
inline constexpr std::array<const char*, kFigures> kFigureNames = {"disc",  "ring",    "square",  "triangle", "star",
                                                                   "cross", "stripes", "checker", "crescent", "corner"};

/// A 32x32 picture of a figure of random colours, place, size and rotation in front of a cluttered background, with
/// noise. Only integer arithmetic: the same pixels on every machine.
Image draw_figure(Figure figure, Rng rng);

}  // namespace nibble
