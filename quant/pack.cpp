#include "quant/pack.h"

#include "layers/packed.h"
#include "layers/weight_slot.h"
#include "quant/fixed_grid.h"

namespace nibble {

namespace {

class Collector final : public StateVisitor {
 public:
  std::map<std::string, Tensor> found;
  explicit Collector(Layer& layer) { layer.visit(*this); }

 private:
  void on_param(const std::string& name, Tensor& tensor, const ParamTraits&) override { found[name] = tensor; }
  void on_buffer(const std::string& name, Tensor& tensor) override { found[name] = tensor; }
};

/// The options of the layer that computes a gemm, without its weight quantizer.
Json options_of(const GemmForm& gemm) {
  const Shape& w = gemm.weight.shape();
  if (w.rank() == 2) return {{"type", "linear"}, {"in", w[1]}, {"out", w[0]}, {"bias", !gemm.bias.empty()}};
  const ConvGeometry& g = gemm.geometry;
  const Json pad = gemm.same_padding ? Json("same") : Json{g.pad.top, g.pad.bottom, g.pad.left, g.pad.right};
  return {{"type", "conv2d"},
          {"in", w[1] * g.groups},
          {"out", w[0]},
          {"kernel", {w[2], w[3]}},
          {"stride", {g.stride_h, g.stride_w}},
          {"pad", pad},
          {"dilation", {g.dilation_h, g.dilation_w}},
          {"groups", g.groups},
          {"bias", !gemm.bias.empty()}};
}

std::shared_ptr<Layer> packed_layer(const GemmForm& gemm, const Config& source) {
  exact_codes(gemm.weight, gemm.weight_grid);
  std::shared_ptr<Layer> layer = Registry<Layer>::get().make(Config(options_of(gemm)));
  layer->weight_slot()->set(std::make_shared<FixedGrid>(gemm.weight_grid, source));
  const Collector state(*layer);
  state.found.at("weight").copy_from(gemm.weight);
  if (!gemm.bias.empty()) state.found.at("bias").copy_from(Tensor::from(state.found.at("bias").shape(), gemm.bias));
  return layer;
}

}  // namespace

Graph pack(const Graph& graph) {
  const Graph copy = graph.clone();
  Graph result(copy.input_shape());
  bool any = false;
  for (const Node& node : copy.nodes()) {
    const WeightSlot* slot = node.layer->weight_slot();
    std::shared_ptr<Layer> layer = node.layer;
    if (slot != nullptr && dynamic_cast<const FixedGrid*>(slot->get()) != nullptr) {
      any = true;  // packed before
    } else if (slot != nullptr && !slot->empty()) {
      try {
        const std::optional<GemmForm> gemm = node.layer->facts().gemm;
        if (gemm && !std::holds_alternative<Real>(gemm->weight_grid)) {
          layer = packed_layer(*gemm, slot->config());
          any = true;
        }
      } catch (const Error& error) {
        throw Error(concat_text("pack: layer '", node.name, "': ", error.what()));
      }
    }
    result.add(node.name, layer, node.inputs);
  }
  NIBBLE_CHECK(any, "pack: no layer has a quantized weight (see nibble quantize and \"quant\" in a training config)");
  result.set_outputs(copy.outputs());
  return result;
}

}  // namespace nibble
