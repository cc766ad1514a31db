#pragma once

#include "layers/geometry.h"
#include "layers/layer.h"

namespace nibble {

/// Mean of each window. (N, H, W, C) -> (N, OH, OW, C).
class AvgPool final : public Layer {
 public:
  struct Options {
    Extent2 kernel{2, 2};
    Extent2 stride{0, 0};  ///< 0: the kernel
    PadOption pad{};
    bool ceil_mode = false;
    bool count_padding = false;
    void fields(Fields& f);
  };
  explicit AvgPool(const Options& options);

  std::string_view type() const override { return "avg_pool"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Json config() const override { return write_options(options_); }
  Facts facts() const override;

 private:
  Options options_;
};

}  // namespace nibble
