#include "quant/calibrate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>

#include "core/parallel.h"
#include "layers/weight_slot.h"
#include "quant/affine.h"

namespace nibble {

namespace {

constexpr int kCandidates = 100;

/// Mean squared difference of the values and their quantized values, each part taken at its centre.
double squared_error(const Histogram& h, double lowest, double highest, int qmin, int qmax) {
  const AffineRange range = nudge(lowest, highest, qmin, qmax);
  double error = 0;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    if (h.counts[i] == 0) continue;
    const double v = h.center(i);
    const double code = std::clamp<double>(std::floor(v / range.scale + 0.5), range.lo, range.hi);
    const double difference = code * range.scale - v;
    error += static_cast<double>(h.counts[i]) * difference * difference;
  }
  return error;
}

/// sum p log(p / q) over the parts within the range, p clipped and q merged into levels and spread evenly again over
/// the parts that are not empty.
double divergence(const Histogram& h, double lowest, double highest, int qmin, int qmax) {
  const AffineRange range = nudge(lowest, highest, qmin, qmax);
  const auto levels = static_cast<size_t>(range.hi - range.lo + 1);
  std::vector<double> p(h.counts.size()), inside(levels), occupied(levels);
  std::vector<size_t> level(h.counts.size());
  size_t first = h.counts.size(), last = 0;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    const double code = std::floor(h.center(i) / range.scale + 0.5);
    level[i] = static_cast<size_t>(std::clamp<double>(code, range.lo, range.hi) - range.lo);
    if (code < range.lo || code > range.hi) continue;
    first = std::min(first, i);
    last = i;
  }
  if (first > last) return std::numeric_limits<double>::infinity();
  double total = 0, kept = 0;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    const auto count = static_cast<double>(h.counts[i]);
    const size_t at = std::clamp(i, first, last);
    p[at] += count;
    total += count;
    if (at == i) {
      inside[level[i]] += count;
      kept += count;
    }
  }
  if (kept <= 0) return std::numeric_limits<double>::infinity();
  for (size_t i = first; i <= last; ++i) occupied[level[i]] += p[i] > 0;
  // A part that only clipped values fill has no counterpart in q; a little mass for it makes its divergence large
  // rather than infinite.
  constexpr double kFloor = 1e-4;
  double sum = 0;
  for (size_t i = first; i <= last; ++i) {
    if (p[i] <= 0) continue;
    const double q = std::max(inside[level[i]] / occupied[level[i]], kFloor) / kept;
    sum += p[i] / total * std::log(p[i] / total / q);
  }
  return sum;
}

/// The histogram with as few parts as leave kFewest values to each on average: a distribution in which most parts are
/// empty or hold one value says nothing.
Histogram well_filled(const Histogram& h) {
  constexpr double kFewest = 8;
  double total = 0;
  for (const int64_t count : h.counts) total += static_cast<double>(count);
  Histogram result = h;
  while (result.counts.size() % 2 == 0 && total < kFewest * static_cast<double>(result.counts.size())) {
    for (size_t i = 0; i < result.counts.size() / 2; ++i)
      result.counts[i] = result.counts[2 * i] + result.counts[2 * i + 1];
    result.counts.resize(result.counts.size() / 2);
  }
  return result;
}

/// Without the peak at 0, which activation functions make and every range represents exactly: the part that holds 0 has
/// no more values than the fuller of its neighbours.
Histogram without_zeros(Histogram h) {
  if (h.counts.size() < 2) return h;
  const double at = std::clamp(-h.lowest / h.width(), 0.0, static_cast<double>(h.counts.size() - 1));
  const auto zero = static_cast<size_t>(at);
  int64_t neighbour = 0;
  if (zero > 0) neighbour = h.counts[zero - 1];
  if (zero + 1 < h.counts.size()) neighbour = std::max(neighbour, h.counts[zero + 1]);
  h.counts[zero] = std::min(h.counts[zero], neighbour);
  return h;
}

template <class Cost>
Extremes shrink(const Extremes& widest, bool symmetric, const Cost& cost) {
  double best = cost(widest.lowest, widest.highest);
  double low = widest.lowest, high = widest.highest;
  const auto consider = [&](double a, double b) {
    if (const double c = cost(a, b); c < best) {
      best = c;
      low = a;
      high = b;
    }
  };
  const auto fraction = [](int i) { return static_cast<double>(i) / kCandidates; };
  for (int i = kCandidates - 1; i > 0; --i) consider(fraction(i) * widest.lowest, fraction(i) * widest.highest);
  if (!symmetric && widest.lowest < 0 && widest.highest > 0) {
    for (int i = kCandidates; i > 0; --i) consider(fraction(i) * widest.lowest, high);
    for (int i = kCandidates; i > 0; --i) consider(low, fraction(i) * widest.highest);
  }
  return {static_cast<float>(low), static_cast<float>(high)};
}

Extremes percentile_range(const Histogram& h, double percentile) {
  double total = 0;
  for (const int64_t count : h.counts) total += static_cast<double>(count);
  const double cut = total * (100 - percentile) / 100;
  size_t first = 0, last = h.counts.size() - 1;
  for (double below = 0; first < last; ++first) {
    below += static_cast<double>(h.counts[first]);
    if (below > cut) break;
  }
  for (double above = 0; last > first; --last) {
    above += static_cast<double>(h.counts[last]);
    if (above > cut) break;
  }
  const double low = h.lowest + static_cast<double>(first) * h.width();
  const double high = h.lowest + static_cast<double>(last + 1) * h.width();
  return {static_cast<float>(std::min(low, 0.0)), static_cast<float>(std::max(high, 0.0))};
}

/// The affine quantizers among the nodes of a graph.
std::map<std::string, Affine*> activation_quantizers(const Graph& graph) {
  std::map<std::string, Affine*> found;
  for (const Node& node : graph.nodes()) {
    if (auto* affine = dynamic_cast<Affine*>(node.layer.get())) found[node.name] = affine;
  }
  return found;
}

/// The graph without them, all layers shared; `source` tells what each of them reads.
Graph without(const Graph& graph, const std::map<std::string, Affine*>& left_out,
              std::map<std::string, std::string>& source) {
  Graph result(graph.input_shape());
  const auto real = [&](std::string name) {
    if (const auto found = source.find(name); found != source.end()) name = found->second;
    return name;
  };
  for (const Node& node : graph.nodes()) {
    std::vector<std::string> inputs;
    for (const std::string& input : node.inputs) inputs.push_back(real(input));
    if (left_out.contains(node.name))
      source[node.name] = inputs[0];
    else
      result.add(node.name, node.layer, inputs);
  }
  return result;
}

/// Calls seen(name, tensor) for the input and every node's output on every batch.
template <class Seen>
void run(const Graph& graph, std::span<const Tensor> batches, const Seen& seen) {
  for (const Tensor& batch : batches) {
    seen("input", batch);
    if (!graph.nodes().empty())
      graph.forward(batch, {}, [&](const Node& node, const Tensor& y) { seen(node.name, y); });
  }
}

void calibrate_activations(const Graph& graph, std::span<const Tensor> batches, const CalibrateOptions& options) {
  const std::map<std::string, Affine*> quantizers = activation_quantizers(graph);
  if (quantizers.empty()) return;
  NIBBLE_CHECK(!batches.empty(), "calibrate: the activations of '", quantizers.begin()->first,
               "' need at least one batch of inputs");
  std::map<std::string, std::string> source;
  const Graph real = without(graph, quantizers, source);
  std::map<std::string, Extremes> widest;
  for (const auto& [name, from] : source) widest[from] = {};
  run(real, batches, [&](const std::string& name, const Tensor& y) {
    const auto found = widest.find(name);
    if (found == widest.end()) return;
    const Extremes e = finite_extremes("calibrate", y, 1)[0];
    found->second = {std::min(found->second.lowest, e.lowest), std::max(found->second.highest, e.highest)};
  });
  std::map<std::string, Histogram> histograms;
  for (const auto& [name, e] : widest) histograms.emplace(name, Histogram(e.lowest, e.highest, options.bins));
  if (options.method != "min_max") {
    run(real, batches, [&](const std::string& name, const Tensor& y) {
      if (const auto found = histograms.find(name); found != histograms.end()) found->second.add(y.data<float>());
    });
  }
  for (const auto& [name, quantizer] : quantizers) {
    const Extremes range = choose_range(histograms.at(source.at(name)), options, quantizer->qmin(), quantizer->qmax(),
                                        quantizer->options().symmetric);
    quantizer->set_ranges({&range, 1});
  }
}

void calibrate_weight(Affine& quantizer, const Tensor& weight, const CalibrateOptions& options) {
  const std::vector<Extremes> widest = finite_extremes("calibrate", weight, quantizer.parts());
  const size_t width = weight.data<float>().size() / widest.size();
  std::vector<Extremes> ranges;
  for (size_t c = 0; c < widest.size(); ++c) {
    Histogram histogram(widest[c].lowest, widest[c].highest, options.bins);
    histogram.add(weight.data<float>().subspan(c * width, width));
    ranges.push_back(
        choose_range(histogram, options, quantizer.qmin(), quantizer.qmax(), quantizer.options().symmetric));
  }
  quantizer.set_ranges(ranges);
}

}  // namespace

void Histogram::add(std::span<const float> values) {
  const double inverse = highest > lowest ? static_cast<double>(counts.size()) / (highest - lowest) : 0;
  const auto last = static_cast<double>(counts.size() - 1);
  std::mutex mutex;
  parallel_for(0, static_cast<int64_t>(values.size()), 1 << 16, [&](int64_t from, int64_t to) {
    std::vector<int64_t> own(counts.size());
    for (int64_t i = from; i < to; ++i) {
      const double at = (values[static_cast<size_t>(i)] - lowest) * inverse;
      ++own[static_cast<size_t>(at > 0 ? std::min(at, last) : 0)];
    }
    const std::lock_guard lock(mutex);  // the sums are of integers: their order does not matter
    for (size_t b = 0; b < own.size(); ++b) counts[b] += own[b];
  });
}

void CalibrateOptions::fields(Fields& f) {
  f.choice("method", method, {"min_max", "percentile", "mse", "kl"}, "how ranges are chosen");
  f("percentile", percentile, "for \"percentile\": what of the values lies below the upper end, in percent", {50, 100});
  f("bins", bins, "parts of the histogram", {256, 1 << 16});
}

Extremes choose_range(const Histogram& histogram, const CalibrateOptions& options, int qmin, int qmax, bool symmetric) {
  NIBBLE_CHECK(std::isfinite(histogram.lowest) && std::isfinite(histogram.highest),
               "calibrate: a histogram's bounds must be finite, are ", histogram.lowest, " and ", histogram.highest);
  Extremes widest{static_cast<float>(std::min(histogram.lowest, 0.0)),
                  static_cast<float>(std::max(histogram.highest, 0.0))};
  if (options.method == "percentile" && histogram.highest > histogram.lowest && !histogram.counts.empty())
    widest = percentile_range(histogram, options.percentile);
  if (symmetric) {
    widest.highest = std::max(-widest.lowest, widest.highest);
    widest.lowest = -widest.highest;
  }
  const bool nothing = std::ranges::all_of(histogram.counts, [](int64_t count) { return count == 0; });
  if (nothing || !(histogram.lowest < histogram.highest)) return widest;
  if (options.method == "mse")
    return shrink(widest, symmetric, [&](double a, double b) { return squared_error(histogram, a, b, qmin, qmax); });
  if (options.method == "kl") {
    const Histogram filled = well_filled(without_zeros(histogram));
    if (filled.counts.size() < 2 * static_cast<size_t>(qmax - qmin + 1)) return widest;
    return shrink(widest, symmetric, [&](double a, double b) { return divergence(filled, a, b, qmin, qmax); });
  }
  NIBBLE_CHECK(options.method == "min_max" || options.method == "percentile", "calibrate: unknown method '",
               options.method, "' (known: min_max, percentile, mse, kl)");
  return widest;
}

void calibrate(const Graph& graph, std::span<const Tensor> batches, const CalibrateOptions& options) {
  for (const Node& node : graph.nodes()) {
    const WeightSlot* slot = node.layer->weight_slot();
    auto* quantizer = slot == nullptr ? nullptr : dynamic_cast<Affine*>(slot->get());
    if (quantizer == nullptr || options.method == "min_max" || options.method == "kl") continue;
    // What the quantizer sees may be more than the layer's weight: a batch norm may be folded into it.
    Tensor seen;
    quantizer->observe([&seen](const Tensor& weight) { seen = weight; });
    node.layer->facts();
    quantizer->observe({});
    NIBBLE_CHECK(seen.defined(), "calibrate: layer '", node.name, "' does not show its weight");
    calibrate_weight(*quantizer, seen, options);
  }
  calibrate_activations(graph, batches, options);
}

}  // namespace nibble
