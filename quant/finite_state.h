#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "layers/quantizer.h"

namespace nibble {

/// Finds numbers of a layer's state that are not finite.
class FiniteState final : public StateVisitor {
 public:
  Complaints complaints;

 private:
  void on_param(const std::string& name, Tensor& tensor, const ParamTraits&) override { check(name, tensor); }
  void on_buffer(const std::string& name, Tensor& tensor) override { check(name, tensor); }
  void check(const std::string& name, const Tensor& tensor) {
    if (!tensor.defined() || tensor.dtype() != DType::f32) return;
    const auto values = tensor.data<float>();
    const auto bad = std::ranges::find_if(values, [](float v) { return !std::isfinite(v); });
    if (bad != values.end())
      complaints.push_back(
          concat_text("expected finite numbers in state '", name, "', found ", *bad, " at ", bad - values.begin()));
  }
};

}  // namespace nibble
