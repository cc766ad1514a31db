#include "quant/best_step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/rounding.h"
#include "quant/blocks.h"
#include "quant/statistics.h"

namespace nibble {

namespace {

constexpr int kCoarse = 64, kPerOctave = 8, kFine = 32;

/// Sum of squared errors of each part with its step, in units of that step's square.
std::vector<double> squared_errors(const Tensor& x, const std::vector<double>& steps, float lo, float hi) {
  constexpr int64_t kRun = 256;  // elements whose errors are added in f32
  const float* values = x.data<float>().data();
  return Blocks(x.numel(), static_cast<int64_t>(steps.size())).sum<double>([&](const Block& block) {
    const auto step = static_cast<float>(steps[static_cast<size_t>(block.channel)]);
    if (!(step > 0) || std::isinf(step)) return std::numeric_limits<double>::infinity();
    double sum = 0;
    for (int64_t first = block.begin; first < block.begin + block.count; first += kRun) {
      const int64_t count = std::min(kRun, block.begin + block.count - first);
      float error[kRun];
      for (int64_t i = 0; i < count; ++i) {
        const float u = values[first + i] / step;
        const float difference = round_half_even(std::min(std::max(u, lo), hi)) - u;
        error[i] = difference * difference;
      }
      for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(error[i]);
    }
    return sum;
  });
}

/// The largest element that codes reach out for, over the code that should stand for it.
std::vector<double> largest_steps(const Tensor& x, int64_t channels, int lo, int hi) {
  std::vector<double> largest;
  for (const Extremes& e : extremes(x, channels)) {
    const double above = std::max(0.0, static_cast<double>(e.highest)) / hi;
    const double below = lo < 0 ? std::max(0.0, -static_cast<double>(e.lowest)) / -lo : 0.0;
    largest.push_back(std::max(above, below));
  }
  return largest;
}

}  // namespace

std::vector<double> best_steps(const Tensor& x, int64_t channels, int lo, int hi) {
  NIBBLE_CHECK(hi >= 1 && lo <= 0, "best_steps: expected codes with lo <= 0 < hi, got ", lo, "..", hi);
  const std::vector<double> largest = largest_steps(x, channels, lo, hi);
  std::vector<double> best(largest.size()), lowest(largest.size(), std::numeric_limits<double>::infinity());
  const auto consider = [&](const std::vector<double>& steps) {
    const std::vector<double> errors = squared_errors(x, steps, static_cast<float>(lo), static_cast<float>(hi));
    for (size_t c = 0; c < steps.size(); ++c) {
      const double error = errors[c] * steps[c] * steps[c];
      if (!(steps[c] > 0) || !(error < lowest[c])) continue;
      lowest[c] = error;
      best[c] = steps[c];
    }
  };
  std::vector<double> steps = largest;
  for (int k = 0; k <= kCoarse; ++k) {
    for (size_t c = 0; c < steps.size(); ++c) steps[c] = largest[c] * std::exp2(-static_cast<double>(k) / kPerOctave);
    consider(steps);
  }
  const std::vector<double> coarse = best;
  for (int k = 1 - kFine / 2; k < kFine / 2; ++k) {
    for (size_t c = 0; c < steps.size(); ++c) steps[c] = coarse[c] * std::exp2(k / (kFine / 2.0) / kPerOctave);
    consider(steps);
  }
  return best;
}

}  // namespace nibble
