#pragma once

#include "quant/lowering/lowered_layer.h"

namespace nibble {

/// Joins the channels of tensors of codes. Inputs that share the output's coding are copied; the others go through a
/// table of their own. Buffer "tables" (inputs with "own", 256) u8.
class Int8Concat final : public LoweredLayer {
 public:
  struct Options {
    Coding out;
    std::vector<int> own;  ///< for each input 1 if it has a table
    void fields(Fields& f);
  };
  explicit Int8Concat(const Options& options);
  /// The tables one after the other. Throws Error if a code is out of the coding's range.
  void set_tables(std::span<const uint8_t> tables);

  std::string_view type() const override { return "int8_concat"; }
  void visit(StateVisitor& visitor) override;
  void after_load() override;
  Json config() const override { return written_options(options_, {"own"}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 private:
  Tensor compute(Inputs in) override;

  Options options_;
  Tensor tables_;
};

}  // namespace nibble
