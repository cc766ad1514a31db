#pragma once

#include <span>
#include <string>
#include <vector>

#include "layers/graph.h"
#include "quant/statistics.h"

/// Ranges for post-training quantization.
namespace nibble {

/// How often values fell into equal parts of [lowest, highest].
struct Histogram {
  double lowest = 0, highest = 0;
  std::vector<int64_t> counts;

  Histogram() = default;
  Histogram(double from, double to, int bins) : lowest(from), highest(to), counts(static_cast<size_t>(bins)) {}
  /// Counts the values; those outside fall into the first or last part.
  void add(std::span<const float> values);
  double width() const { return (highest - lowest) / static_cast<double>(counts.size()); }
  double center(size_t bin) const { return lowest + (static_cast<double>(bin) + 0.5) * width(); }
};

struct CalibrateOptions {
  std::string method = "min_max";
  double percentile = 99.99;
  int bins = 2048;
  void fields(Fields& f);
};

/// The range, with 0 in it, that a method of "min_max", "percentile", "mse" and "kl" picks for codes qmin..qmax:
///   min_max     all of the histogram
///   percentile  what is left when (100 - percentile) % of the values are cut off at each end
///   mse         the least mean squared difference of the values and their quantized values, of ranges that shrink from
///               min_max, both ends together and then each alone
///   kl          the least Kullback-Leibler divergence of the clipped distribution, the values beyond counted at its
///               ends, from the one that is left after its parts were merged into levels
///               (Migacz, "8-bit Inference with TensorRT", GTC 2017), of ranges that shrink likewise; values that are
///               0 do not count; min_max if there are too few values to tell the levels apart (16 per level)
/// An empty histogram, or one without extent, gives [min(lowest, 0), max(highest, 0)]. A pure function.
Extremes choose_range(const Histogram& histogram, const CalibrateOptions& options, int qmin, int qmax,
                      bool symmetric = false);

/// Sets the ranges of all "affine" quantizers of a graph: those of weights from the weights, those of activations from
/// what enters them on the given inputs of the network, with all activation quantizers left out. With min_max, and with
/// kl, for whose distributions a weight has too few values (Migacz, too, takes the largest), weights go on following
/// their extremes. Throws Error if there are activation quantizers but no batches.
void calibrate(const Graph& graph, std::span<const Tensor> batches, const CalibrateOptions& options = {});

}  // namespace nibble
