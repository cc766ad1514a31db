#include <cstdio>
#include <cstdlib>

#include "quant/lowering/lower.h"
#include "quant/lowering/lowered_model.h"
#include "tests/fuzz/damage.h"

namespace {

using namespace nibble;

const char* const kNetwork = R"({
  "type": "graph", "input": [6, 5, 3],
  "nodes": [
    {"name": "stem", "type": "conv2d", "in": 3, "out": 4, "kernel": 3, "stride": 2, "pad": "same"},
    {"name": "bn", "type": "batch_norm", "channels": 4},
    {"name": "act", "type": "relu6"},
    {"name": "dw", "type": "conv2d", "in": 4, "out": 4, "kernel": 3, "pad": 1, "groups": 4},
    {"name": "sum", "type": "add", "inputs": ["act", "dw"]},
    {"name": "high", "type": "max_pool", "inputs": "sum", "kernel": 3, "stride": 1, "pad": 1},
    {"name": "join", "type": "concat", "inputs": ["high", "sum"]},
    {"name": "mean", "type": "global_avg_pool"},
    {"name": "fc", "type": "linear", "in": 8, "out": 3}
  ]})";

Json rule(const Json& weight, const Json& act, const Json& more = Json::object()) {
  Json json{{"match", "*"}, {"weight", weight}, {"act", act}};
  json.update(more);
  return json;
}

const std::vector<TensorFile>& valid_files() {
  static const std::vector<TensorFile> files = [] {
    const Json affine{{"type", "affine"}}, per_channel{{"type", "affine"}, {"per_channel", true}};
    const Json lsq{{"type", "lsq"}, {"bits", 4}}, dorefa{{"type", "dorefa"}, {"bits", 2}};
    const Json lq{{"type", "lq"}, {"bits", 2}}, few{{"type", "lsq"}, {"bits", 2}};
    const Json outputs{{"place", "outputs"}};
    Json folded = rule(affine, affine, outputs);
    folded["match"] = "stem";
    folded["fold_batch_norm"] = Json::object();
    const std::vector<Json> policies{Json::array({folded, rule(affine, affine, outputs)}),
                                     Json::array({rule(per_channel, affine, outputs)}),
                                     Json::array({rule(lsq, lsq)}),
                                     Json::array({rule(dorefa, dorefa)}),
                                     Json::array({rule({{"type", "twn"}}, {{"type", "pact"}, {"bits", 4}})}),
                                     Json::array({rule({{"type", "bnn"}}, {{"type", "bnn"}})}),
                                     Json::array({rule(lq, lq)}),
                                     Json::array({rule(few, few)})};
    std::vector<TensorFile> list;
    for (const Json& rules : policies) list.push_back(fuzz::file_of(fuzz::quantized_network(kNetwork, rules)));
    return list;
  }();
  return files;
}

/// The network of the damaged file, if it is one that evaluates an image; else an Error.
Graph evaluable(TensorFile file) {
  Graph graph = checkpoint_from(std::move(file), "fuzz").graph;
  graph.forward(fuzz::noise(2), {Mode::eval});
  return graph;
}

}  // namespace

/// A checkpoint of a quantized network with any damage to its nodes, quantizers and tensors that still evaluates:
/// lower() throws an Error, or gives a network that passes what is asked of a loaded one, and runs. The first byte
/// chooses the checkpoint, the second the epilogue, the third the engine.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Bytes bytes(data, size);
  TensorFile file = valid_files()[bytes.next() % valid_files().size()];
  const char* const epilogues[] = {"auto", "fixed", "float"};
  LowerOptions options;
  const char* const engines[] = {"any", "bits", "float"};
  options.epilogue = epilogues[bytes.next() % 3];
  options.engine = engines[bytes.next() % 3];
  if (!fuzz::damage(file, bytes)) return 0;
  Graph lowered;
  try {
    lowered = lower(evaluable(std::move(file)), options).graph;
  } catch (const Error&) {
    return 0;
  }
  try {
    check_lowered(lowered);
    lowered.forward(fuzz::noise(2), {Mode::eval});
    checkpoint_from(fuzz::file_of(lowered), "lowered");
  } catch (const Error& error) {
    std::fprintf(stderr, "lower() gave a network that is refused: %s\n", error.what());
    std::abort();
  }
  return 0;
}
