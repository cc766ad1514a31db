#include "layers/layer.h"

namespace nibble {
namespace {

class ParameterCounter final : public StateVisitor {
 public:
  int64_t count = 0;

 private:
  void on_param(const std::string&, Tensor& tensor, const ParamTraits&) override {
    if (tensor.defined()) count += tensor.numel();
  }
  void on_buffer(const std::string&, Tensor&) override {}
};

}  // namespace

void StateVisitor::child(std::string_view name, Layer& layer) {
  const std::string before = prefix_;
  prefix_ = before + std::string(name) + ".";
  layer.visit(*this);
  prefix_ = before;
}

int64_t parameter_count(Layer& layer) {
  ParameterCounter counter;
  layer.visit(counter);
  return counter.count;
}

void check_inputs(const Layer& layer, Inputs in, size_t expected) {
  NIBBLE_CHECK(in.size() == expected, layer.type(), ": expected ", expected, expected == 1 ? " input" : " inputs",
               ", got ", in.size());
  for (const Tensor& x : in) NIBBLE_CHECK(x.defined(), layer.type(), ": got an undefined tensor");
}

}  // namespace nibble
