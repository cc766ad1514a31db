#include "quant/backward_rule.h"

namespace nibble {

double BackwardRule::step(View u, View code, View dy, float lo, float hi) const {
  double sum = 0;
  for (size_t i = 0; i < u.size(); ++i) {
    const bool inside = u[i] > lo && u[i] < hi;
    sum += dy[i] * (inside ? code[i] - u[i] : code[i]);
  }
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
