#pragma once

#include "layers/layer.h"

namespace nibble {

/// In training zeroes each element with probability p and scales the rest by 1 / (1 - p); the identity in evaluation.
/// Throws in training if the pass has no random generator.
class Dropout final : public Layer {
 public:
  struct Options {
    float p = 0.5f;
    void fields(Fields& f);
  };
  explicit Dropout(const Options& options);

  std::string_view type() const override { return "dropout"; }
  Tensor forward(Inputs in, const Pass& pass) override;
  Json config() const override { return write_options(options_); }
  Facts facts() const override {
    Facts facts;
    facts.selects = true;
    facts.move = MoveForm{};
    return facts;
  }

 private:
  Options options_;
};

}  // namespace nibble
