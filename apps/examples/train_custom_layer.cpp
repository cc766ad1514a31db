// A layer and a training loop of one's own, on the images that nibble draws itself. usage: train_custom_layer [EPOCHS]
#include "data/loader.h"
#include "layers/graph.h"
#include "optim/optimizer.h"

#include <algorithm>
#include <cstdio>

using namespace nibble;

/// y = x where x > 0, else slope * x with one learned slope (He et al., ICCV 2015).
class ParametricRelu final : public Layer {
 public:
  struct Options {
    float slope = 0.25f;
    void fields(Fields& f) { f("slope", slope, "initial factor of negative inputs", kFraction); }
  };
  explicit ParametricRelu(const Options& options) : slope_(Tensor::scalar(options.slope).set_requires_grad()) {}
  std::string_view type() const override { return "parametric_relu"; }
  void visit(StateVisitor& visitor) override { visitor.param("slope", slope_, {.decay = false}); }
  Tensor forward(Inputs in, const Pass&) override {
    const Tensor x = in[0], slope = slope_, y = x.clone();
    const float a = slope.item();
    for (float& v : y.mutable_data<float>()) v = v > 0 ? v : a * v;
    return record("parametric_relu", y, {x, slope}, [x, a](const Tensor& dy) -> Grads {
      const Tensor dx = dy.clone();
      float dslope = 0;
      const auto v = x.data<float>();
      const auto d = dx.mutable_data<float>();
      for (size_t i = 0; i < v.size(); ++i)
        if (v[i] <= 0) dslope += d[i] * v[i], d[i] *= a;
      return {dx, Tensor::scalar(dslope)};
    });
  }

 private:
  Tensor slope_;
};
NIBBLE_REGISTER_LAYER(ParametricRelu, "parametric_relu", "x where positive, else a learned slope times x.");

int main(int argc, char** argv) try {
  const int epochs = argc > 1 ? std::stoi(argv[1]) : 4;
  const auto data = Registry<DataSource>::get().make(Json{{"type", "embedded"}, {"batch", 32}});
  const auto classes = static_cast<size_t>(data->classes());
  Loader train(*data, data->open(Split::train), {.batch = 64, .train = true}), test(*data, data->open(Split::test), {});
  Graph net({32, 32, 3});
  std::string x = "input";
  for (int in = 3, out = 16; out <= 128; in = out, out *= 2) {
    const std::string n = std::to_string(out);
    x = net.add("conv" + n, {{"type", "conv2d"}, {"in", in}, {"out", out}, {"stride", 2}, {"pad", 1}}, {x});
    x = net.add("norm" + n, {{"type", "batch_norm"}, {"channels", out}}, {x});
    x = net.add("relu" + n, {{"type", "parametric_relu"}, {"slope", 0.1}}, {x});
  }
  net.add("fc", {{"type", "linear"}, {"in", 512}, {"out", classes}}, {net.add("flat", {{"type", "flatten"}}, {x})});
  net.initialize(1);
  const auto optimizer = Registry<Optimizer>::get().make(Json{{"type", "sgd"}, {"lr", 0.1}, {"momentum", 0.9}});
  std::vector<Param> params;
  for (const NamedTensor& p : parameters_of(net)) params.push_back({p.name, p.tensor, p.traits.decay});
  optimizer->attach(params);
  for (int epoch = 0; epoch < epochs; ++epoch) {
    Batch batch;
    for (train.start(epoch); train.next(batch); zero_grads(optimizer->params())) {
      backward(softmax_cross_entropy(net.forward(batch.images, {Mode::train}), batch.labels));
      optimizer->step(optimizer->base_lr() * (1 - double(epoch) / epochs));
    }
    int64_t right = 0;
    for (test.start(0); test.next(batch);) {
      const Tensor logits = net.forward(batch.images, {});
      for (auto scores = logits.data<float>(); const int label : batch.labels.data<int32_t>()) {
        right += std::ranges::max_element(scores.first(classes)) - scores.begin() == label;
        scores = scores.subspan(classes);
      }
    }
    std::printf("epoch %d: test accuracy %.2f %%\n", epoch + 1, 100.0 * double(right) / double(test.samples()));
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "train_custom_layer: %s\n", error.what());
  return 1;
}
