#include "quant/affine.h"

#include <algorithm>
#include <cmath>

#include "core/ops/map.h"
#include "quant/affine_op.h"
#include "quant/promises.h"
#include "quant/surrogate.h"

namespace nibble {

namespace {

constexpr int64_t kBlock = 4096;  ///< elements that one call works on
constexpr int64_t kManyBatches = int64_t{1} << 40;
constexpr float kInitialBound = 6;

/// body(part, begin, count) for blocks of elements of one part that together cover all, from several threads.
template <class Body>
void each_block(int64_t elements, int64_t parts, const Body& body) {
  const int64_t width = elements / parts, blocks = (width + kBlock - 1) / kBlock;
  parallel_for(0, parts * blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const int64_t part = b / blocks, begin = part * width + b % blocks * kBlock;
      body(static_cast<size_t>(part), begin, std::min(kBlock, (part + 1) * width - begin));
    }
  });
}

Tensor input_gradient(const Tensor& x, const Tensor& dy, const std::vector<AffineRange>& ranges,
                      const BackwardRule& rule) {
  Tensor dx = reuse(dy);
  const float *values = x.data<float>().data(), *gradient = dy.data<float>().data();
  float* to = dx.mutable_data<float>().data();
  each_block(x.numel(), static_cast<int64_t>(ranges.size()), [&](size_t part, int64_t begin, int64_t count) {
    affine_gradient(values + begin, gradient + begin, to + begin, count, ranges[part], rule);
  });
  return dx;
}

}  // namespace

void Affine::Options::fields(Fields& f) {
  f("bits", bits, "width of the codes", {4, 8});
  f.choice("role", role, {"act", "weight"}, "what is quantized; a rule fills it in");
  f("per_channel", per_channel, "one range per output channel instead of one per tensor (weights only)");
  f("channels", channels, "number of output channels; a rule fills it in", {1, 1 << 20});
  f("symmetric", symmetric, "the range is [-m, m], so that the zero point lies in the middle");
  f("decay", decay, "weight of the old value in the running range of activations, below 1", kFraction);
  f("delay", delay, "training passes in which values go through while ranges are collected",
    {0, static_cast<double>(int64_t{1} << 50)});
  f.choice("ties", ties, {"up", "even"}, "how halves are rounded: floor(x + 0.5) as in the paper, or half to even");
  f.raw("backward", backward, "a backward rule", "gradient of the input; by default \"clipped_ste\", the paper's");
}

Affine::Affine(const Options& options)
    : options_(options),
      rule_(make_backward_rule(options.backward, "clipped_ste")),
      state_(Tensor::zeros({3}, DType::i64)) {
  NIBBLE_CHECK(options.decay < 1, "affine: decay must be below 1, got ", options.decay);
  NIBBLE_CHECK(!options.per_channel || options.role == "weight", "affine: per_channel is for weights only");
  range_ = Tensor::empty({parts(), 2});
  for (size_t i = 0; i < range_.data<float>().size(); ++i)
    range_.mutable_data<float>()[i] = i % 2 == 0 ? -kInitialBound : kInitialBound;
}

std::vector<Extremes> Affine::stored_ranges() const {
  std::vector<Extremes> ranges;
  const auto bounds = range_.data<float>();
  for (size_t i = 0; i + 1 < bounds.size(); i += 2) ranges.push_back({bounds[i], bounds[i + 1]});
  return ranges;
}

std::vector<AffineRange> Affine::ranges_for(std::span<const Extremes> found) const {
  std::vector<AffineRange> ranges;
  ranges.reserve(found.size());
  for (Extremes e : found) {
    if (options_.symmetric) {
      e.highest = std::max(-e.lowest, e.highest);
      e.lowest = -e.highest;
    }
    const AffineRange range = nudge(e.lowest, e.highest, qmin(), qmax());
    ranges.push_back(options_.per_channel && !options_.symmetric ? with_short_scale(range) : range);
  }
  return ranges;
}

void Affine::average(const Extremes& batch) {
  // sum over i of (1 - d) d^(t - i) v_i / (1 - d^t), written as a step from the old average.
  const double t = static_cast<double>(++counter(kAveraged)), decay = options_.decay;
  const double weight = (1 - decay) / (1 - std::pow(decay, t));
  const auto move = [weight](float& old, double value) {
    old = static_cast<float>(old + weight * (value - static_cast<double>(old)));
  };
  move(range_.mutable_data<float>()[0], batch.lowest);
  move(range_.mutable_data<float>()[1], batch.highest);
}

void Affine::set_ranges(std::span<const Extremes> ranges) {
  NIBBLE_CHECK(static_cast<int64_t>(ranges.size()) == parts(), "affine: expected ", parts(), " ranges, got ",
               ranges.size());
  for (const Extremes& r : ranges)
    NIBBLE_CHECK(std::isfinite(r.lowest) && std::isfinite(r.highest), "affine: a range must be finite, got [", r.lowest,
                 ", ", r.highest, "]");
  for (size_t i = 0; i < ranges.size(); ++i) {
    range_.mutable_data<float>()[2 * i] = std::min(ranges[i].lowest, 0.0f);
    range_.mutable_data<float>()[2 * i + 1] = std::max(ranges[i].highest, 0.0f);
  }
  counter(kAveraged) = kManyBatches;
  if (is_weight()) counter(kFixed) = 1;
}

Grid Affine::grid(const Tensor& x) const {
  if (!is_weight() || counter(kFixed) != 0) return grid_of(ranges_for(stored_ranges()), ties());
  if (!x.defined()) return Real{};
  return grid_of(ranges_for(finite_extremes("affine", x, parts())), ties());
}

Tensor Affine::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  const Tensor& x = in[0];
  check_f32("affine", x);
  NIBBLE_CHECK(x.numel() % parts() == 0 && (parts() == 1 || (x.rank() > 0 && x.dim(0) == parts())), "affine: expected ",
               parts(), " channels along axis 0, got ", x.shape());
  if (watch_) watch_(x);
  const bool train = pass.mode == Mode::train, fixed = counter(kFixed) != 0;
  std::vector<Extremes> found;
  if (is_weight() ? !fixed : train) {
    const std::optional<ValueRange>& known = x.known_range();
    found = known && parts() == 1 ? std::vector<Extremes>{{known->lowest, known->highest}}
                                  : finite_extremes("affine", x, parts());
  }
  if (train) {
    if (!is_weight() && x.numel() > 0) average(found[0]);
    if (++counter(kPasses) <= options_.delay) return x;
  }
  const auto ranges = ranges_for(is_weight() && !fixed ? std::span<const Extremes>(found) : stored_ranges());
  const Tensor y = snap_finite("affine", x, grid_of(ranges, ties()));
  return record("affine", y, {x}, [x, ranges, rule = rule_](const Tensor& dy) -> Grads {
    return {input_gradient(x, dy, ranges, *rule)};
  });
}

std::shared_ptr<const ElementwiseOp> Affine::training_op(const Shape& x, const ValueRange& range) {
  if (is_weight() || watch_ || x.numel() == 0 || counter(kPasses) < options_.delay) return {};
  average({range.lowest, range.highest});
  ++counter(kPasses);
  return std::make_shared<AffineOp>(ranges_for(stored_ranges()).front(), ties(), rule_);
}

bool Affine::passes_all() const { return is_weight() && counter(kFixed) == 0 && options_.backward.json.empty(); }

Surrogate Affine::surrogate(const Tensor& x) const {
  if (counter(kPasses) <= options_.delay) return elementwise(1, [](size_t, double v) { return v; });
  return rule_surrogate(rule_, grid(x));
}

void Affine::visit(StateVisitor& visitor) {
  visitor.buffer("range", range_);
  visitor.buffer("state", state_);
}

Complaints Affine::audit_state(const Tensor&) const {
  for (const Extremes& range : stored_ranges())
    if (!(std::isfinite(range.lowest) && std::isfinite(range.highest) && range.lowest <= 0 && range.highest >= 0))
      return {concat_text("expected a finite range that holds 0, found [", range.lowest, ", ", range.highest, "]")};
  return is_weight() ? Complaints{} : started_promise(counter(kAveraged) > 0);
}

NIBBLE_REGISTER_LAYER(Affine, "affine",
                      "Affine quantization with a nudged zero point: weights or activations, 4 to 8 bits.");

}  // namespace nibble
