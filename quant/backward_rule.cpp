#include "quant/backward_rule.h"

#include <algorithm>

namespace nibble {

double BackwardRule::step(View u, View code, View dy, float lo, float hi) const {
  constexpr size_t kStretch = 512, kLanes = 8;
  float part[kStretch];
  double sums[kLanes] = {};
  for (size_t first = 0; first < u.size(); first += kStretch) {
    const size_t n = std::min(kStretch, u.size() - first), whole = n / kLanes * kLanes;
    const float *at = u.data() + first, *to = code.data() + first, *gradient = dy.data() + first;
    // A factor of 0 or 1 instead of a choice, and several sums side by side: both for the sake of vector instructions.
    for (size_t i = 0; i < n; ++i) part[i] = at[i] > lo && at[i] < hi ? 1.0f : 0.0f;
    for (size_t i = 0; i < n; ++i) part[i] = gradient[i] * (to[i] - part[i] * at[i]);
    for (size_t i = 0; i < whole; i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += part[i + lane];
    for (size_t i = whole; i < n; ++i) sums[0] += part[i];
  }
  double sum = 0;
  for (const double lane : sums) sum += lane;
  return sum;
}

std::shared_ptr<const BackwardRule> make_backward_rule(const Config& config, std::string_view fallback) {
  const bool absent = config.json.is_null() || (config.json.is_object() && config.json.empty());
  Config named = config;
  if (absent) named.json = Json(fallback);
  if (named.json.is_string()) named.json = Json{{"type", named.json}};
  return Registry<BackwardRule>::get().make(named);
}

}  // namespace nibble
