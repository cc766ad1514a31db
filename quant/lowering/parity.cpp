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

/// The position of a value among the codes: an integer if it lies on the grid, within the codes' range.
double position(float value, const Coding& coding) {
  const double at = static_cast<double>(value) / coding.scale + coding.zero;
  return std::clamp(at, 0.0, static_cast<double>(coding.highest()));
}

Tensor nearest_codes(const Tensor& values, const Coding& coding) {
  Tensor codes = Tensor::empty(values.shape(), DType::u8);
  const auto from = values.data<float>();
  const auto to = codes.mutable_data<uint8_t>();
  for (size_t i = 0; i < from.size(); ++i)
    to[i] =
        static_cast<uint8_t>(coding.unit * static_cast<int>(std::nearbyint(position(from[i], coding) / coding.unit)));
  return codes;
}

/// `before` is what was rounded to `expected`, or `expected` itself.
EdgeDifference of_codes(const Tensor& found, const Tensor& expected, const Tensor& before, const Coding& coding) {
  EdgeDifference d;
  const auto codes = found.data<uint8_t>(), wanted = expected.data<uint8_t>();
  const auto real = before.data<float>();
  for (size_t i = 0; i < codes.size(); ++i) {
    const int gap = std::abs(int{codes[i]} - int{wanted[i]}) / coding.unit;
    d.codes_differ += gap != 0;
    d.max_code_gap = std::max(d.max_code_gap, gap);
    if (gap != 0) {
      const double off = std::abs(position(real[i], coding) - codes[i]) / coding.unit - 0.5;
      d.excess = std::max(d.excess, off);
    }
  }
  d.max_abs = static_cast<double>(d.max_code_gap) * coding.unit * coding.scale;
  d.relative = static_cast<double>(d.max_code_gap) / std::max(1, coding.levels - 1);
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

/// Every edge of the trained network, and of each quantizer what it rounds.
struct Reference {
  Values values, before;

  Reference(const Graph& eval, const Tensor& x) {
    values["input"] = x;
    eval.forward(x, {Mode::eval}, [this](const Node& node, const Tensor& y) {
      values[node.name] = y;
      const bool rounds = node.layer->facts().snaps_to.has_value();
      before[node.name] = rounds ? values.at(node.inputs[0]) : y;
    });
  }
};

/// Compares one node's outputs.
class EdgeComparison {
 public:
  EdgeComparison(const Reference& reference, const std::string& name, const std::optional<Coding>& coding)
      : coding_(coding), before_(reference.before.at(name)) {
    const Tensor& value = reference.values.at(name);
    expected_ = coding ? nearest_codes(value, *coding) : value;
  }
  const Tensor& expected() const { return expected_; }
  EdgeDifference against(const Tensor& found) const {
    NIBBLE_CHECK(found.shape() == expected_.shape() && found.dtype() == expected_.dtype(), "compare: expected ",
                 name_of(expected_.dtype()), expected_.shape(), ", found ", name_of(found.dtype()), found.shape());
    return coding_ ? of_codes(found, expected_, before_, *coding_) : of_values(found, expected_);
  }

 private:
  std::optional<Coding> coding_;
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

std::vector<EdgeParity> compare(const Graph& eval, const Graph& lowered, const Tensor& x) {
  const NoRecord guard;
  const Reference reference(eval, x);
  const std::vector<std::optional<Coding>> codings = codings_of(lowered);
  std::vector<EdgeParity> edges;
  Values given{{"input", x}};  // what each node would get from the trained network
  size_t i = 0;
  lowered.forward(x, {Mode::eval}, [&](const Node& node, const Tensor& running) {
    std::vector<Tensor> inputs;
    for (const std::string& input : node.inputs) inputs.push_back(given.at(input));
    const Tensor alone = node.layer->forward(inputs, {Mode::eval});
    const std::optional<Coding>& coding = codings[i++];
    if (!reference.values.contains(node.name)) {
      given[node.name] = alone;  // a node that lowering put in between
      return;
    }
    const EdgeComparison comparison(reference, node.name, coding);
    given[node.name] = comparison.expected();
    const auto* layer = dynamic_cast<const LoweredLayer*>(node.layer.get());
    edges.push_back({node.name, std::string(node.layer->type()), coding.has_value(), running.numel(),
                     layer != nullptr ? layer->slack() : 0, comparison.against(alone), comparison.against(running)});
  });
  return edges;
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
    total[i].alone.merge(batch[i].alone);
    total[i].running.merge(batch[i].running);
  }
}

std::string broken(const EdgeParity& edge, bool fixed) {
  constexpr double kMostRelative = 1e-4;
  const EdgeDifference& d = edge.alone;
  if (!edge.coded)
    return d.relative <= kMostRelative ? "" : concat_text("values differ by ", d.relative, " of their range");
  if (d.max_code_gap > 1) return concat_text("codes differ by ", d.max_code_gap, " levels");
  if (d.excess > edge.slack)
    return concat_text("a code is ", d.excess, " levels beyond a rounding boundary, expected at most ", edge.slack);
  // A single code may differ on a small edge.
  const bool few = d.codes_differ <= 1 || static_cast<double>(d.codes_differ) < 1e-4 * static_cast<double>(edge.values);
  return fixed || few ? "" : concat_text(d.codes_differ, " of ", edge.values, " codes differ");
}

}  // namespace nibble
