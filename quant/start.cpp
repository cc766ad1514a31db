#include "quant/start.h"

#include <algorithm>
#include <limits>
#include <map>

#include "layers/packed.h"
#include "layers/quantizer.h"
#include "layers/weight_slot.h"
#include "quant/affine.h"

namespace nibble {

namespace {

constexpr uint64_t kSeed = 1;  ///< of quantizers that draw random numbers in training

/// Passes after which a moving average with weight 0.9 (LQ-Nets) has forgotten 99 % of where it began.
constexpr size_t kSettled = 50;

/// Everything that a training pass may ask for; the first step of the first phase.
class FirstStep {
 public:
  explicit FirstStep(const Quantizer& quantizer) : rng_(kSeed) { clock_.phases = quantizer.phases(); }
  Pass pass() { return {.mode = Mode::train, .rng = &rng_, .step = 0, .clock = &clock_}; }

 private:
  Rng rng_;
  TrainClock clock_;
};

/// One pass as at the start of training.
Tensor train_once(Quantizer& quantizer, const Tensor& x) {
  FirstStep first(quantizer);
  const Tensor y = quantizer.forward({&x, 1}, first.pass());
  quantizer.after_update();
  return y;
}

/// Stands for an activation quantizer in a graph that is evaluated.
class InTraining final : public Layer {
 public:
  explicit InTraining(std::shared_ptr<Layer> layer) : layer_(std::move(layer)) {}
  std::string_view type() const override { return layer_->type(); }
  Tensor forward(Inputs in, const Pass&) override {
    check_inputs(*this, in, 1);
    // Affine quantizers are calibrated afterwards, from values that none of them has touched.
    if (dynamic_cast<const Affine*>(layer_.get()) != nullptr) return in[0];
    return train_once(dynamic_cast<Quantizer&>(*layer_), in[0]);
  }

 private:
  std::shared_ptr<Layer> layer_;
};

/// The same layers, with activation quantizers in training mode.
Graph starting(const Graph& graph) {
  Graph result(graph.input_shape());
  for (const Node& node : graph.nodes()) {
    const bool quantizes = dynamic_cast<const Quantizer*>(node.layer.get()) != nullptr;
    result.add(node.name, quantizes ? std::make_shared<InTraining>(node.layer) : node.layer, node.inputs);
  }
  result.set_outputs(graph.outputs());
  return result;
}

class StateCopy final : public StateVisitor {
 public:
  explicit StateCopy(Layer& layer) { layer.visit(*this); }
  bool operator==(const StateCopy& other) const { return bytes_ == other.bytes_; }
  bool empty() const { return bytes_.empty(); }

 private:
  void on_param(const std::string&, Tensor& tensor, const ParamTraits&) override { add(tensor); }
  void on_buffer(const std::string&, Tensor& tensor) override { add(tensor); }
  void add(const Tensor& tensor) {
    if (tensor.defined()) bytes_.append(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
  }
  std::string bytes_;
};

/// A quantizer of the graph; `latent` is defined for weights.
struct Place {
  const Node* node = nullptr;
  Quantizer* quantizer = nullptr;
  bool weight = false;
};

std::vector<Place> places_of(const Graph& graph) {
  std::vector<Place> places;
  for (const Node& node : graph.nodes()) {
    if (auto* quantizer = dynamic_cast<Quantizer*>(node.layer.get())) places.push_back({&node, quantizer, false});
    const WeightSlot* slot = node.layer->weight_slot();
    if (slot != nullptr && !slot->empty()) places.push_back({&node, slot->get(), true});
  }
  return places;
}

GemmForm gemm_of(const Place& place) {
  std::optional<GemmForm> gemm = place.node->layer->facts().gemm;
  NIBBLE_CHECK(gemm && gemm->latent.defined(), "quantize: layer '", place.node->name, "' does not show its weight");
  return *std::move(gemm);
}

bool waits_for_phases(const Place& place) { return place.quantizer->mask().defined(); }

std::vector<StateCopy> copies_of(const std::vector<Place>& places) {
  std::vector<StateCopy> copies;
  for (const Place& place : places) copies.emplace_back(*place.quantizer);
  return copies;
}

/// Repeats `body`, which makes so many passes, until no state changes any more, or for kSettled passes.
template <class Body>
void settle(const std::vector<Place>& places, const Body& body, size_t passes) {
  for (size_t done = 0; done < kSettled; done += passes) {
    const std::vector<StateCopy> before = copies_of(places);
    body();
    if (before == copies_of(places)) break;
  }
}

std::string how_text(const Place& place, bool changed, bool has_state, int64_t images,
                     const CalibrateOptions& options) {
  const std::string seen = concat_text(images, images == 1 ? " image" : " images");
  if (const auto* affine = dynamic_cast<const Affine*>(place.quantizer)) {
    if (!place.weight) return concat_text(options.method, " of ", seen);
    const bool follows = options.method == "min_max" || options.method == "kl";
    return concat_text(follows ? "min_max" : options.method, " of the weight",
                       affine->parts() > 1 ? ", per channel" : "");
  }
  if (waits_for_phases(place)) return "centres of the weight; training fixes it phase by phase";
  if (changed) return place.weight ? "as training starts, from the weight" : "as training starts, from " + seen;
  if (has_state) return "as its options say";
  return place.weight ? "worked out from the weight at every use" : "has fixed levels";
}

StartLine line_of(const Place& place, const std::string& how) {
  StartLine line{place.node->name,
                 place.weight ? "weight" : "activation",
                 std::string(place.quantizer->type()),
                 0,
                 how,
                 0,
                 0,
                 0,
                 0};
  const Grid grid = place.weight ? gemm_of(place).weight_grid : place.quantizer->grid();
  line.bits = packed_bits(grid);
  if (std::holds_alternative<Real>(grid)) return line;
  const auto* uniform = std::get_if<Uniform>(&grid);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  line.lowest = line.smallest_step = kInfinity;
  line.highest = -kInfinity;
  for (int64_t c = 0; c < channel_count(grid); ++c) {
    std::vector<float> levels = levels_of(grid, c);
    std::ranges::sort(levels);
    line.lowest = std::min(line.lowest, levels.front());
    line.highest = std::max(line.highest, levels.back());
    for (size_t i = 1; i < levels.size(); ++i) {
      // Differences of rounded levels would not be equal where the scale is one.
      const float step = uniform == nullptr           ? levels[i] - levels[i - 1]
                         : uniform->scale.size() == 1 ? uniform->scale[0]
                                                      : uniform->scale[static_cast<size_t>(c)];
      line.smallest_step = std::min(line.smallest_step, step);
      line.largest_step = std::max(line.largest_step, step);
    }
  }
  return line;
}

}  // namespace

std::vector<StartLine> start_quantizers(const Graph& graph, std::span<const Tensor> batches,
                                        const CalibrateOptions& options) {
  NIBBLE_CHECK(!batches.empty(), "quantize: calibration needs at least one batch of inputs");
  const NoRecord no_record;
  const std::vector<Place> places = places_of(graph);
  const std::vector<StateCopy> before = copies_of(places);
  int64_t images = 0;
  for (const Tensor& batch : batches) images += batch.dim(0);

  for (const Place& place : places) {
    if (!place.weight || waits_for_phases(place) || dynamic_cast<const Affine*>(place.quantizer) != nullptr) continue;
    const Tensor latent = gemm_of(place).latent;
    settle(
        std::vector<Place>{place}, [&] { train_once(*place.quantizer, latent); }, 1);
  }
  const Graph first = starting(graph);
  const auto all_batches = [&] {
    for (const Tensor& batch : batches) first.forward(batch, {});
  };
  settle(places, all_batches, batches.size());
  calibrate(graph, batches, options);

  std::vector<StartLine> lines;
  for (size_t i = 0; i < places.size(); ++i) {
    const bool changed = !(before[i] == StateCopy(*places[i].quantizer));
    lines.push_back(line_of(places[i], how_text(places[i], changed, !before[i].empty(), images, options)));
  }
  return lines;
}

}  // namespace nibble
