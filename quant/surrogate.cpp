#include "quant/surrogate.h"

#include <algorithm>

namespace nibble {

namespace {

/// Where a channel's levels begin and end, in units of the rule.
struct Span {
  double scale = 1, offset = 0, lo = 0, hi = 0;
};

std::vector<Span> spans_of(const Grid& grid) {
  std::vector<Span> spans;
  const auto* uniform = std::get_if<Uniform>(&grid);
  for (int64_t c = 0; c < channel_count(grid); ++c) {
    const std::vector<float> levels = levels_of(grid, c);
    NIBBLE_CHECK(!levels.empty(), "surrogate: a real grid has no levels");
    const auto [lowest, highest] = std::ranges::minmax(levels);
    Span span{1, 0, lowest, highest};
    if (uniform != nullptr) {
      const auto entry = [c](const std::vector<float>& list) {
        return list[std::min(list.size() - 1, static_cast<size_t>(c))];
      };
      span = {entry(uniform->scale), entry(uniform->offset), static_cast<double>(uniform->lo),
              static_cast<double>(uniform->hi)};
    }
    spans.push_back(span);
  }
  return spans;
}

}  // namespace

Surrogate elementwise(size_t channels, std::function<double(size_t channel, double x)> f) {
  return [channels, f = std::move(f)](std::span<const double> x) {
    std::vector<double> y(x.size());
    const size_t width = std::max<size_t>(1, x.size() / channels);
    for (size_t i = 0; i < y.size(); ++i) y[i] = f(i / width, x[i]);
    return y;
  };
}

Surrogate rule_surrogate(std::shared_ptr<const BackwardRule> rule, const Grid& grid) {
  const std::vector<Span> spans = spans_of(grid);
  return elementwise(spans.size(), [spans, rule = std::move(rule)](size_t channel, double x) {
    const Span& at = spans[channel];
    return at.offset + at.scale * rule->surrogate((x - at.offset) / at.scale, at.lo, at.hi);
  });
}

}  // namespace nibble
