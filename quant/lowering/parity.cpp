#include "quant/lowering/parity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "quant/lowering/lower.h"
#include "quant/lowering/lowered_layer.h"

namespace nibble {

namespace {

using Values = std::map<std::string, Tensor>;

/// The levels of a coding in ascending order, and where a value lies among them.
class Levels {
 public:
  /// `grid` is what rounds values to the levels, or Real if nothing does here.
  Levels(const Coding& coding, const Grid& grid) : coding_(coding) {
    if (coding.uniform()) return;
    codes_ = coding.ascending();
    for (const uint8_t code : codes_) values_.push_back(coding.value(code));
    for (size_t l = 1; l < values_.size(); ++l) bounds_.push_back((double{values_[l - 1]} + values_[l]) / 2);
    if (std::holds_alternative<Real>(grid)) return;
    const Steps steps = steps_of(grid, coding);
    bounds_.assign(steps.thresholds.begin(), steps.thresholds.end());
  }

  int64_t count() const { return coding_.uniform() ? coding_.levels : static_cast<int64_t>(codes_.size()); }
  int rank(uint8_t code) const {
    if (coding_.uniform()) return code / coding_.unit;
    return static_cast<int>(std::ranges::find(codes_, code) - codes_.begin());
  }
  float value(int rank) const {
    return coding_.uniform() ? coding_.value(coding_.unit * rank) : values_[static_cast<size_t>(rank)];
  }
  uint8_t code(int rank) const {
    return coding_.uniform() ? static_cast<uint8_t>(coding_.unit * rank) : codes_[static_cast<size_t>(rank)];
  }
  /// The level nearest to a value.
  int nearest(float value) const {
    if (coding_.uniform()) return static_cast<int>(std::nearbyint(position(value)));
    const auto distance = [value](float level) { return std::abs(double{level} - value); };
    return static_cast<int>(std::ranges::min_element(values_, {}, distance) - values_.begin());
  }
  /// Where a value lies: half a level from the ranks between which it is on the boundary.
  double position(float value) const {
    const double most = static_cast<double>(count() - 1);
    if (coding_.uniform())
      return std::clamp((static_cast<double>(value) / coding_.scale + coding_.zero) / coding_.unit, 0.0, most);
    const auto above = static_cast<size_t>(std::ranges::lower_bound(bounds_, double{value}) - bounds_.begin());
    const double lower = above == 0 ? values_.front() : bounds_[above - 1];
    const double upper = above == bounds_.size() ? values_.back() : bounds_[above];
    const double within = upper > lower ? (value - lower) / (upper - lower) : 0.5;
    return std::clamp(static_cast<double>(above) - 0.5 + within, 0.0, most);
  }

 private:
  Coding coding_;
  std::vector<uint8_t> codes_;
  std::vector<float> values_;
  std::vector<double> bounds_;
};

Tensor nearest_codes(const Tensor& values, const Levels& levels) {
  Tensor codes = Tensor::empty(values.shape(), DType::u8);
  const auto from = values.data<float>();
  const auto to = codes.mutable_data<uint8_t>();
  for (size_t i = 0; i < from.size(); ++i) to[i] = levels.code(levels.nearest(from[i]));
  return codes;
}

/// Counts where codes differ; `each(i, rank)` is called for those.
template <class Each>
EdgeDifference of_code_pairs(const Tensor& found, const Tensor& expected, const Levels& levels, const Each& each) {
  EdgeDifference d;
  const auto a = found.data<uint8_t>(), b = expected.data<uint8_t>();
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const int from = levels.rank(a[i]), to = levels.rank(b[i]);
    ++d.codes_differ;
    d.max_code_gap = std::max(d.max_code_gap, std::abs(from - to));
    d.max_abs = std::max(d.max_abs, std::abs(double{levels.value(from)} - levels.value(to)));
    each(i, from);
  }
  d.relative = static_cast<double>(d.max_code_gap) / static_cast<double>(std::max<int64_t>(1, levels.count() - 1));
  return d;
}

/// `before` is what was rounded to `expected`, or `expected` itself.
EdgeDifference of_codes(const Tensor& found, const Tensor& expected, const Tensor& before, const Levels& levels) {
  const auto real = before.data<float>();
  double excess = 0;
  EdgeDifference d = of_code_pairs(found, expected, levels, [&](size_t i, int rank) {
    excess = std::max(excess, std::abs(levels.position(real[i]) - rank) - 0.5);
  });
  d.excess = excess;
  return d;
}

EdgeDifference of_values(const Tensor& found, const Tensor& expected) {
  EdgeDifference d;
  float lowest = 0, highest = 0;
  const auto a = found.data<float>(), b = expected.data<float>();
  for (size_t i = 0; i < a.size(); ++i) {
    lowest = std::min(lowest, b[i]);
    highest = std::max(highest, b[i]);
    const double gap = std::abs(static_cast<double>(a[i]) - b[i]);
    d.max_abs = std::isnan(gap) ? std::numeric_limits<double>::infinity() : std::max(d.max_abs, gap);
  }
  const double range = static_cast<double>(highest) - lowest;
  d.relative = range > 0 ? d.max_abs / range : d.max_abs;
  return d;
}

/// A lowered node's output against that of the node of the same name in another network.
EdgeDifference of_networks(const Tensor& found, const Values& others, const std::string& name,
                           const std::optional<Coding>& coding) {
  const auto other = others.find(name);
  NIBBLE_CHECK(
      other != others.end() && other->second.shape() == found.shape() && other->second.dtype() == found.dtype(),
      "compare: the evaluation on codes has no edge '", name, "' ", name_of(found.dtype()), found.shape());
  if (!coding) return of_values(found, other->second);
  return of_code_pairs(found, other->second, Levels(*coding, Real{}), [](size_t, int) {});
}

/// Every edge of the trained network, and of each quantizer what it rounds and how.
struct Reference {
  Values values, before;
  std::map<std::string, Grid> grids;
  Tensor output;

  Reference(const Graph& eval, const Tensor& x) {
    values["input"] = x;
    output = eval.forward(x, {Mode::eval}, [this](const Node& node, const Tensor& y) {
      values[node.name] = y;
      const std::optional<Grid> grid = node.layer->facts().snaps_to;
      before[node.name] = grid ? values.at(node.inputs[0]) : y;
      grids[node.name] = grid.value_or(Real{});
    });
  }
};

/// Compares one node's outputs.
class EdgeComparison {
 public:
  EdgeComparison(const Reference& reference, const std::string& name, const std::optional<Coding>& coding)
      : before_(reference.before.at(name)) {
    const Tensor& value = reference.values.at(name);
    if (coding) levels_.emplace(*coding, reference.grids.at(name));
    expected_ = levels_ ? nearest_codes(value, *levels_) : value;
  }
  const Tensor& expected() const { return expected_; }
  EdgeDifference against(const Tensor& found) const {
    NIBBLE_CHECK(found.shape() == expected_.shape() && found.dtype() == expected_.dtype(), "compare: expected ",
                 name_of(expected_.dtype()), expected_.shape(), ", found ", name_of(found.dtype()), found.shape());
    return levels_ ? of_codes(found, expected_, before_, *levels_) : of_values(found, expected_);
  }

 private:
  std::optional<Levels> levels_;
  Tensor before_, expected_;
};

}  // namespace

void EdgeDifference::merge(const EdgeDifference& other) {
  codes_differ += other.codes_differ;
  max_code_gap = std::max(max_code_gap, other.max_code_gap);
  excess = std::max(excess, other.excess);
  max_abs = std::max(max_abs, other.max_abs);
  relative = std::max(relative, other.relative);
}

Comparison compare(const Graph& trained, const Graph& on_codes, const Graph& lowered, const Tensor& x) {
  const NoRecord guard;
  const Reference reference(trained, x);
  const std::vector<std::optional<Coding>> codings = codings_of(lowered);
  Values wanted;
  Comparison found;
  found.on_codes = on_codes.forward(x, {Mode::eval}, [&](const Node& node, const Tensor& y) { wanted[node.name] = y; });
  Values given{{"input", x}};  // what each node would get from the trained network
  // Of the nodes that lowering put in between: the slack that reaches their readers.
  std::map<std::string, double> passed_on;
  size_t i = 0;
  found.trained = reference.output;
  found.lowered = lowered.forward(x, {Mode::eval}, [&](const Node& node, const Tensor& running) {
    const auto* layer = dynamic_cast<const LoweredLayer*>(node.layer.get());
    std::vector<Tensor> inputs;
    double before = 0;
    for (const std::string& input : node.inputs) {
      inputs.push_back(given.at(input));
      before = std::max(before, passed_on[input]);
    }
    const double slack = before + (layer != nullptr ? layer->slack() : 0);
    const Tensor alone = node.layer->forward(inputs, {Mode::eval});
    const std::optional<Coding>& coding = codings[i++];
    if (!reference.values.contains(node.name)) {
      given[node.name] = alone;  // a node that lowering put in between
      passed_on[node.name] = slack;
      return;
    }
    const EdgeComparison comparison(reference, node.name, coding);
    given[node.name] = comparison.expected();
    found.edges.push_back({node.name, std::string(node.layer->type()), coding.has_value(), running.numel(), slack,
                           of_networks(running, wanted, node.name, coding), comparison.against(alone),
                           comparison.against(running)});
  });
  return found;
}

void merge(std::vector<EdgeParity>& total, const std::vector<EdgeParity>& batch) {
  if (total.empty()) {
    total = batch;
    return;
  }
  NIBBLE_CHECK(total.size() == batch.size(), "compare: expected ", total.size(), " edges, got ", batch.size());
  for (size_t i = 0; i < total.size(); ++i) {
    NIBBLE_CHECK(total[i].node == batch[i].node, "compare: expected the edge '", total[i].node, "', got '",
                 batch[i].node, "'");
    total[i].values += batch[i].values;
    total[i].codes.merge(batch[i].codes);
    total[i].alone.merge(batch[i].alone);
    total[i].running.merge(batch[i].running);
  }
}

std::string broken(const EdgeParity& edge) {
  constexpr double kMostRelative = 1e-4;
  if (edge.codes.codes_differ > 0)
    return concat_text(edge.codes.codes_differ, " of ", edge.values, " codes are not those of the evaluation on codes");
  if (edge.codes.max_abs > 0)
    return concat_text("values differ by ", edge.codes.max_abs, " from the evaluation on codes");
  const EdgeDifference& d = edge.alone;
  if (!edge.coded)
    return d.relative <= kMostRelative ? "" : concat_text("values differ by ", d.relative, " of their range");
  if (d.max_code_gap > 1) return concat_text("codes differ by ", d.max_code_gap, " levels");
  if (d.excess > edge.slack)
    return concat_text("a code is ", d.excess, " levels beyond a rounding boundary, expected at most ", edge.slack);
  return "";
}

}  // namespace nibble
