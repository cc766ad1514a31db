#include "quant/promises.h"

#include <algorithm>
#include <cmath>

namespace nibble {

namespace {

std::string text_of(const std::vector<float>& values) {
  constexpr size_t kShown = 5;
  std::string text;
  for (size_t i = 0; i < std::min(values.size(), kShown); ++i) text += concat_text(i > 0 ? ", " : "", values[i]);
  return text + (values.size() > kShown ? ", ..." : "");
}

}  // namespace

std::vector<float> distinct_values(std::span<const float> w, size_t limit) {
  std::vector<float> values;
  for (const float v : w) {
    const auto place = std::ranges::lower_bound(values, v);
    if (place != values.end() && *place == v) continue;
    values.insert(place, v + 0.0f);
    if (values.size() > limit) break;
  }
  return values;
}

Complaints levels_promise(const Tensor& w, int64_t parts, bool zero, bool mirrored) {
  const auto all = w.data<float>();
  const size_t width = all.size() / static_cast<size_t>(parts);
  const std::string expected = zero ? (mirrored ? "the three values -a, 0, a" : "the three values -b, 0, a")
                                    : (mirrored ? "the two values -a, a" : "the two values -b, a");
  for (size_t c = 0; c < static_cast<size_t>(parts); ++c) {
    const auto part = all.subspan(c * width, width);
    const std::vector<float> values = distinct_values(part, 5);
    int negative = 0, positive = 0, zeros = 0;
    for (const float v : values) {
      negative += v < 0;
      positive += v > 0;
      zeros += v == 0;
    }
    const bool finite = std::ranges::all_of(values, [](float v) { return std::isfinite(v); });
    const bool few = finite && negative <= 1 && positive <= 1 && (zero || zeros == 0);
    const bool even = !mirrored || negative == 0 || positive == 0 || values.front() == -values.back();
    if (few && even) continue;
    return {concat_text("expected ", expected, parts > 1 ? concat_text(" in channel ", c) : "", ", found ",
                        values.size() > 5 ? "more than 5" : std::to_string(values.size()), ": ", text_of(values))};
  }
  return {};
}

Complaints positive_promise(std::string_view name, const Tensor& parameter) {
  const auto values = parameter.data<float>();
  for (size_t i = 0; i < values.size(); ++i)
    if (!(values[i] > 0 && std::isfinite(values[i])))
      return {concat_text("expected a positive, finite ", name, ", found ", values[i], " at ", i)};
  return {};
}

Complaints started_promise(bool started) {
  if (started) return {};
  return {"expected a state set by training or calibration, found the one it was built with"};
}

}  // namespace nibble
