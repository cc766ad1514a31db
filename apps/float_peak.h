#pragma once

namespace nibble {

/// Floating-point operations per second in f32 that all threads() do at once without memory, with the instructions that
/// this process may use: the best of some short runs, since other work on the machine only slows them down.
double measure_float_peak();

}  // namespace nibble
