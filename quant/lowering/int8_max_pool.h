#pragma once

#include <algorithm>

#include "quant/lowering/lowered_layer.h"
#include "quant/lowering/pool_window.h"

namespace nibble {

/// The largest code of each window; padding never wins. (N, H, W, C) -> (N, OH, OW, C), u8.
class Int8MaxPool final : public LoweredLayer {
 public:
  using Options = PoolWindow;
  explicit Int8MaxPool(const Options& options) : options_(options) {}

  std::string_view type() const override { return "int8_max_pool"; }
  Json config() const override { return written_options(options_, {}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override {
    const Coding& in = only_coding(*this, inputs);
    NIBBLE_CHECK(std::ranges::is_sorted(in.ascending()), "int8_max_pool: the codes do not ascend with their values");
    return in;
  }

 private:
  Tensor compute(Inputs in) override;

  Options options_;
};

}  // namespace nibble
