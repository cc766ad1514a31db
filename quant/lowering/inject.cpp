#include "quant/lowering/inject.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/lowering/int8_conv.h"

namespace nibble {

namespace {

/// Half a code off the value that is rounded.
void round_down(const Int8ConvLayer::State& state) {
  if (state.offset.defined()) {
    for (float& offset : state.offset.mutable_data<float>()) offset -= 0.5f;
    return;
  }
  const auto bias = state.bias.mutable_data<int32_t>();
  for (size_t c = 0; c < bias.size(); ++c) {
    const double m = std::ldexp(state.multiplier.data<int32_t>()[c], state.shift.data<int32_t>()[c] - 31);
    bias[c] -= static_cast<int32_t>(std::min(0.5 / m, 1e6));
  }
}

void change_multiplier(const Int8ConvLayer::State& state) {
  if (state.scale.defined()) {
    float& scale = state.scale.mutable_data<float>()[0];
    scale = std::nextafter(scale, std::numeric_limits<float>::max());
    return;
  }
  int32_t& multiplier = state.multiplier.mutable_data<int32_t>()[0];
  multiplier += multiplier == std::numeric_limits<int32_t>::max() ? -1 : 1;
}

}  // namespace

const std::vector<std::string>& faults() {
  static const std::vector<std::string> names{"rounding", "zero_point", "multiplier"};
  return names;
}

std::string inject(const Graph& lowered, const std::string& fault) {
  NIBBLE_CHECK(std::ranges::count(faults(), fault) == 1, "inject: expected rounding, zero_point or multiplier, got '",
               fault, "'");
  for (const Node& node : lowered.nodes()) {
    auto* layer = dynamic_cast<Int8ConvLayer*>(node.layer.get());
    if (layer == nullptr || layer->options().real) continue;
    const Int8ConvLayer::State& state = layer->state();
    if (fault == "rounding") {
      round_down(state);
    } else if (fault == "zero_point") {
      for (int32_t& zero : state.weight_zero.mutable_data<int32_t>()) zero += zero > 0 ? -1 : 1;
    } else {
      change_multiplier(state);
    }
    layer->after_load();
    return node.name;
  }
  throw Error("inject: the network has no int8_conv whose output is codes");
}

}  // namespace nibble
