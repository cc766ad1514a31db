#include "quant/lowering/lower.h"
#include "quant/lowering/lowered_layer.h"
#include "quant/lowering/lowered_model.h"
#include "tests/fuzz/damage.h"

namespace {

using namespace nibble;

const char* const kNetwork = R"({
  "type": "graph", "input": [6, 5, 3],
  "nodes": [
    {"name": "stem", "type": "conv2d", "in": 3, "out": 4, "kernel": 3, "stride": 2, "pad": "same"},
    {"name": "act", "type": "relu"},
    {"name": "dw", "type": "conv2d", "in": 4, "out": 4, "kernel": 3, "pad": 1, "groups": 4},
    {"name": "sum", "type": "add", "inputs": ["act", "dw"]},
    {"name": "high", "type": "max_pool", "inputs": "sum", "kernel": 3, "stride": 1, "pad": 1},
    {"name": "mean", "type": "avg_pool", "inputs": "sum", "kernel": 3, "stride": 1, "pad": 1},
    {"name": "join", "type": "concat", "inputs": ["high", "mean"]},
    {"name": "pool", "type": "max_pool", "kernel": 2, "stride": 2, "ceil_mode": true},
    {"name": "flat", "type": "flatten"},
    {"name": "fc", "type": "linear", "in": 32, "out": 3},
    {"name": "shares", "type": "softmax"}
  ]})";

/// What `nibble lower` would write of a network with these quantizers.
TensorFile lowered_file(const Json& rule, const std::string& engine = "any") {
  return fuzz::file_of(
      lower(fuzz::quantized_network(kNetwork, Json::array({rule})), LowerOptions{.engine = engine}).graph);
}

const std::vector<TensorFile>& valid_files() {
  static const std::vector<TensorFile> files = [] {
    const Json affine{{"type", "affine"}}, lsq{{"type", "lsq"}, {"bits", 4}};
    const Json dorefa{{"type", "dorefa"}, {"bits", 1}}, few{{"type", "lsq"}, {"bits", 2}};
    const Json learned{{"type", "lq"}, {"bits", 2}};
    return std::vector<TensorFile>{
        lowered_file({{"match", "*"}, {"place", "outputs"}, {"weight", affine}, {"act", affine}}),
        lowered_file({{"match", "*"}, {"weight", lsq}, {"act", lsq}}),
        lowered_file({{"match", "*"}, {"weight", dorefa}, {"act", {{"type", "dorefa"}, {"bits", 2}}}}),
        lowered_file({{"match", "*"}, {"weight", learned}, {"act", learned}}, "bits"),
        lowered_file({{"match", "*"}, {"weight", few}, {"act", few}}, "bits"),
        lowered_file({{"match", "*"}, {"weight", {{"type", "bnn"}}}, {"act", {{"type", "bnn"}}}}, "bits"),
        lowered_file({{"match", "*"}, {"weight", learned}, {"act", learned}}, "float")};
  }();
  return files;
}

}  // namespace

/// A lowered model with any damage to its nodes and tensors: an Error, or a network that runs, from the codes of the
/// image to values. The first byte chooses the model.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Bytes bytes(data, size);
  TensorFile file = valid_files()[bytes.below(valid_files().size())];
  if (!fuzz::damage(file, bytes)) return 0;
  try {
    const Checkpoint checkpoint = checkpoint_from(std::move(file), "fuzz");
    check_lowered(checkpoint.graph);
    checkpoint.graph.forward(fuzz::noise(2), {Mode::eval});
  } catch (const Error&) {
  }
  return 0;
}
