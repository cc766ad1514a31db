#include "tests/quant/lowering/support.h"
#include "tests/quant/small_networks.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("lower: every network of the zoo computes on integers from the image to its outputs, and keeps its codes") {
  const Json affine{{"type", "affine"}};
  const Json rules = Json::array({{{"match", "*"},
                                   {"place", "outputs"},
                                   {"weight", affine},
                                   {"act", affine},
                                   {"fold_batch_norm", Json::object()}}});
  for (const SmallNetwork& subject : small_networks()) {
    CAPTURE(subject.model.dump());
    const Graph eval = quantized_network(subject.model, rules);
    const Lowered lowered = lower(eval);
    CHECK(float_nodes(lowered) == "");
    CHECK(count_of(lowered.graph, "encode") == 1);
    CHECK(count_of(lowered.graph, "decode") == static_cast<int64_t>(eval.outputs().size()));
    CHECK(broken_edges(eval, lowered, images(eval, 2, 9)) == "");
  }
}
