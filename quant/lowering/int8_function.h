#pragma once

#include "quant/kernels/int8_elementwise/int8_elementwise.h"
#include "quant/lowering/lowered_layer.h"

/// Functions of codes in integer arithmetic without tables of reals (Jacob et al. 2018, App. A.1, as in gemmlowp).
namespace nibble {

/// The softmax of each row (N, K) of codes; the output has scale 1/256 and zero 0.
class Int8Softmax final : public LoweredLayer {
 public:
  struct Options {
    Coding in;
    void fields(Fields& f) { in.fields(f, "in_"); }
  };
  explicit Int8Softmax(const Options& options);

  std::string_view type() const override { return "int8_softmax"; }
  /// The exponential and the reciprocal are polynomials.
  double slack() const override { return 1; }
  Json config() const override { return written_options(options_, {}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 private:
  Tensor compute(Inputs in) override;

  Options options_;
};

/// What logistic and tanh share: a function of one code, worked out for all 256 when the layer is built.
class Int8Function : public LoweredLayer {
 public:
  struct Options {
    Coding in;
    void fields(Fields& f) { in.fields(f, "in_"); }
  };
  Json config() const override { return written_options(options_, {}); }
  std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const override;

 protected:
  using CodeFunction = uint8_t (*)(uint8_t code, double scale, int32_t zero);
  Int8Function(const Options& options, CodeFunction function, const Coding& out);

 private:
  Tensor compute(Inputs in) override;

  Options options_;
  Coding out_;
  int8::CodeTable table_;
};

/// 1 / (1 + exp(-x)); the output has scale 1/256 and zero 0.
class Int8Logistic final : public Int8Function {
 public:
  explicit Int8Logistic(const Options& options);
  std::string_view type() const override { return "int8_logistic"; }
};

/// tanh(x); the output has scale 1/128 and zero 128.
class Int8Tanh final : public Int8Function {
 public:
  explicit Int8Tanh(const Options& options);
  std::string_view type() const override { return "int8_tanh"; }
};

}  // namespace nibble
