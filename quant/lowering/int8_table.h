#pragma once

#include "quant/lowering/lowered_layer.h"

namespace nibble {

/// Any function of single codes: y = table[x]. (any shape) u8 -> u8. Buffer "table" (256) u8. An activation function
/// or a change of grid, exactly.
class Int8Table final : public LoweredLayer {
 public:
  struct Options {
    Coding coding;
    void fields(Fields& f) { coding.fields(f); }
  };
  explicit Int8Table(const Options& options);
  /// Throws Error if a code is out of the coding's range.
  void set_table(std::span<const uint8_t> table);

  std::string_view type() const override { return "int8_table"; }
  void visit(StateVisitor& visitor) override { visitor.buffer("table", table_); }
  void after_load() override;
  Json config() const override { return written_options(options_, {}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 private:
  Tensor compute(Inputs in) override;

  Options options_;
  Tensor table_;
};

}  // namespace nibble
