#include "quant/lowered_facts.h"

#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

const Json kRules = Json::array(
    {{{"match", "conv1"}, {"weight", {{"type", "twn"}}}},
     {{"match", "layer1*|layer2*"}, {"weight", {{"type", "lq"}, {"bits", 1}}}, {"act", {{"type", "lq"}, {"bits", 2}}}},
     {{"match", "*"}, {"weight", {{"type", "lsq"}, {"bits", 3}}}, {"act", {{"type", "lsq"}, {"bits", 4}}}}});

struct Network {
  Graph eval = quantized_network(resnet_json("post", "A"), kRules);
  Graph lowered = lower(eval).graph;
};

const NodeInfo* row_of(const std::vector<NodeInfo>& table, const std::string& name) {
  const auto found = std::ranges::find(table, name, &NodeInfo::name);
  return found == table.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("lowered facts: weights, their bits, multiply-accumulates and sizes are those of the network before") {
  const Network network;
  std::vector<NodeInfo> before = describe(network.eval), table = describe(network.lowered);
  const std::vector<NodeInfo> real = before;
  describe_lowered(network.eval, before);
  for (size_t i = 0; i < real.size(); ++i) CHECK(before[i].size_bits == real[i].size_bits);
  describe_lowered(network.lowered, table);
  int64_t macs[2] = {}, weights[2] = {}, codes[2] = {};
  for (const NodeInfo& row : real) {
    macs[0] += row.macs;
    weights[0] += row.weights;
    codes[0] += row.weights * row.weight_bits;
  }
  for (const NodeInfo& row : table) {
    macs[1] += row.macs;
    weights[1] += row.weights;
    codes[1] += row.weights * row.weight_bits;
    CHECK(row.size_bits >= row.weights * row.weight_bits);
    CHECK(row.float_bits >= 32 * row.weights);
  }
  CHECK(macs[0] == macs[1]);
  CHECK(weights[0] == weights[1]);
  CHECK(codes[0] == codes[1]);
  const NodeInfo* inner = row_of(table, "layer1.0.conv2.act");
  REQUIRE(inner != nullptr);
  CHECK(inner->weight_bits == 1);
  CHECK(inner->activation_bits == 2);
  const NodeInfo* sum = row_of(table, "layer1.0.relu2");
  REQUIRE(sum != nullptr);
  CHECK(sum->activation_bits == 32);
}

TEST_CASE("lowered facts: the audit has a line per weight and per layer that writes codes, and finds damage") {
  const Network network;
  CHECK(audit_lowered(network.eval).empty());
  const std::vector<AuditLine> lines = audit_lowered(network.lowered);
  int64_t weights = 0;
  for (const AuditLine& line : lines) {
    CAPTURE(line.node);
    CHECK(line.complaints.empty());
    CHECK(line.levels >= 2);
    weights += line.elements;
    if (line.role == "weight") CHECK(line.used >= 2);
  }
  CHECK(weights == 3 * 3 * 3 * 5 + 3 * 3 * (2 * 5 * 5 + 5 * 10 + 10 * 10 + 10 * 20 + 20 * 20) + 20 * 7);
  for (const NamedTensor& entry : state_of(network.lowered))
    if (entry.name == "layer1.0.relu2.scale") entry.tensor.mutable_data<float>()[2] = NAN;
  int64_t found = 0;
  for (const AuditLine& line : audit_lowered(network.lowered)) {
    if (line.complaints.empty()) continue;
    ++found;
    CHECK(line.node == "layer1.0.relu2");
    CHECK(line.complaints[0].find("scale") != std::string::npos);
  }
  CHECK(found == 1);
}
