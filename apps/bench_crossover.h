#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "apps/progress.h"
#include "core/json.h"

namespace nibble {

/// A 3x3 convolution from `channels` to as many, of an image of size x size.
struct CrossoverLayer {
  int64_t channels, size;
};

/// "64x56,16x32": channels x size. Throws UsageError unless there is a layer and all numbers are 1 to 4096.
std::vector<CrossoverLayer> crossover_layers(const std::string& text);

/// Bitwise kernels against int8 and float with the instructions that this process may use: {"isa", "kernels" (variants
/// by contract), "clock_ghz", "layers": [{"channels", "size", "int8_macs_per_cycle"}], "rows": [{"w_bits", "a_bits",
/// "learned", "cells": [{"path" ("planes" or "tables"), "seconds", "over_int8", "over_float", "engine"}]}]}, one cell
/// per layer. All of a cell are sampled in turns, `steps` times, and the fastest samples count. "over_int8" is against
/// int8 kernels on weights of 8 bits, "over_float" against conv2d; "engine" is the fastest that gives the row's values,
/// what engine "auto" would take: "bits", "int8" (on the weights of few bits; not for learned levels), or "float"
/// (which needs a convolution for every pair of bits of learned levels).
Json bench_crossover(const std::string& isa, const std::vector<CrossoverLayer>& layers, int64_t steps,
                     Progress& progress);

/// The instruction sets that this processor has and that differ in some kernel of the table, without scalar.
std::vector<std::string> crossover_isas();

/// {"command", "date", "steps", "machine", "isas": [of bench_crossover]} as Markdown.
void print_crossover(const Json& json, std::ostream& out);

}  // namespace nibble
