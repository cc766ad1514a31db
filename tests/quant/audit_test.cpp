#include "quant/audit.h"

#include <limits>

#include "layers/checkpoint.h"
#include "quant/pack.h"
#include "quant/promises.h"
#include "quant/start.h"
#include "tests/quant/finished.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Graph finished(const Json& rule) {
  const Graph graph = quantized_net(rule);
  const Tensor batch = images(20);
  start_quantizers(graph, {&batch, 1});
  finish_phases(graph);
  return graph;
}

/// All complaints about one node, joined.
std::string complaints(const Graph& graph, const std::string& node) {
  std::string text;
  for (const AuditLine& line : audit(graph))
    if (line.node == node)
      for (const std::string& complaint : line.complaints) text += complaint + "; ";
  return text;
}

/// Sets one number of a finished graph's state; what the audit says of the node then.
std::string after(const Json& rule, const std::string& name, size_t at, float value, const std::string& node) {
  const Graph graph = finished(rule);
  CHECK(complaints(graph, node) == "");
  state(graph, name).mutable_data<float>()[at] = value;
  return complaints(graph, node);
}

Json weight_rule(const char* text) { return {{"weight", Json::parse(text)}}; }
Json act_rule(const char* text) { return {{"act", Json::parse(text)}}; }

}  // namespace

TEST_CASE("audit: what every method makes of its weights passes, and is counted") {
  for (const Json& method : weight_methods()) {
    CAPTURE(method.dump());
    const Graph graph = finished({{"weight", method}});
    const auto lines = audit(graph);
    REQUIRE(lines.size() == 2);
    for (const AuditLine& line : lines) {
      CHECK(line.complaints == Complaints{});
      CHECK(line.method == method["type"]);
      CHECK(line.used >= 2);
      CHECK(line.used <= line.levels);
      CHECK(line.elements == (line.node == "conv" ? 72 : 108));
    }
  }
}

TEST_CASE("audit: what every method makes of activations passes") {
  for (const char* text : {R"({"type": "lsq", "bits": 3})", R"({"type": "lq", "bits": 2})", R"({"type": "affine"})",
                           R"({"type": "pact", "bits": 4})", R"({"type": "dorefa", "bits": 2})", R"({"type": "hwgq"})",
                           R"({"type": "qil", "bits": 4})", R"({"type": "abc", "bits": 3})", R"({"type": "bnn"})",
                           R"({"type": "xnor"})"}) {
    CAPTURE(text);
    const auto lines = audit(finished(act_rule(text)));
    CHECK(lines.size() == 2);
    for (const AuditLine& line : lines) {
      CHECK(line.complaints == Complaints{});
      CHECK(line.role == "activation");
      CHECK(line.levels >= 2);
    }
  }
}

TEST_CASE("audit: steps, levels and bases that are negative or no numbers are found") {
  const std::string slot = "conv.weight_quantizer.";
  for (const float bad : {-0.1f, 0.0f, kNan, std::numeric_limits<float>::infinity()}) {
    CAPTURE(bad);
    CHECK(mentions(after(weight_rule(R"({"type": "lsq"})"), slot + "step", 0, bad, "conv"), {"step"}));
    CHECK(mentions(after(weight_rule(R"({"type": "lq"})"), slot + "basis", 3, bad, "conv"), {"basis"}));
    CHECK(mentions(after(weight_rule(R"({"type": "ttq"})"), slot + "wn", 0, bad, "conv"), {"wn"}));
    CHECK(mentions(after(weight_rule(R"({"type": "qil"})"), slot + "width", 0, bad, "conv"), {"width"}));
    CHECK(mentions(after(weight_rule(R"({"type": "elq"})"), slot + "centre", 0, bad, "conv"), {"centre"}));
    CHECK(mentions(after(weight_rule(R"({"type": "inq"})"), slot + "centre", 0, bad, "conv"), {"centre"}));
    CHECK(mentions(after(act_rule(R"({"type": "lsq"})"), "fc.act.step", 0, bad, "fc.act"), {"step"}));
    CHECK(mentions(after(act_rule(R"({"type": "lq"})"), "fc.act.basis", 1, bad, "fc.act"), {"basis"}));
    CHECK(mentions(after(act_rule(R"({"type": "pact"})"), "fc.act.alpha", 0, bad, "fc.act"), {"alpha"}));
    CHECK(mentions(after(act_rule(R"({"type": "abc"})"), "fc.act.beta", 0, bad, "fc.act"), {"beta"}));
  }
  CHECK(mentions(after(act_rule(R"({"type": "affine"})"), "fc.act.range", 0, 0.5f, "fc.act"), {"holds 0", "0.5"}));
  CHECK(mentions(after(act_rule(R"({"type": "affine"})"), "fc.act.range", 1, kNan, "fc.act"), {"'range'", "nan"}));
}

TEST_CASE("audit: a weight that is stored off the levels of elq or inq is found, one that is no number in all") {
  for (const char* text : {R"({"type": "elq"})", R"({"type": "elq", "levels": "binary"})", R"({"type": "inq"})"}) {
    CAPTURE(text);
    CHECK(mentions(after(weight_rule(text), "conv.weight", 17, 0.0123f, "conv"), {"levels", "0.0123", "17"}));
  }
  for (const Json& method : weight_methods()) {
    CAPTURE(method.dump());
    CHECK(after({{"weight", method}}, "conv.weight", 5, kNan, "conv") != "");
  }
}

TEST_CASE("audit: incremental methods that have not gone through all phases are not finished") {
  for (const char* text : {R"({"type": "elq"})", R"({"type": "inq"})"})
    CHECK(mentions(complaints(quantized_net(weight_rule(text)), "conv"), {"phases", "found 0"}));
}

TEST_CASE("audit: learned state that nothing has set is found") {
  const Graph graph = quantized_net({{"weight", {{"type", "lsq"}}}, {"act", {{"type", "affine"}}}});
  CHECK(mentions(complaints(graph, "conv"), {"calibration"}));
  CHECK(mentions(complaints(graph, "conv.act"), {"calibration"}));
}

TEST_CASE("audit: a packed weight off its method's levels, more levels than bits and a bad table are found") {
  const auto packed = [](const char* text, const std::function<void(const Tensor& table)>& spoil) {
    const Graph graph = pack(finished(weight_rule(text)));
    CHECK(complaints(graph, "conv") == "");
    spoil(state(graph, "conv.weight_quantizer.table"));
    return complaints(graph, "conv");
  };
  const auto set = [](size_t at, float value) {
    return [=](const Tensor& table) { table.mutable_data<float>()[at] = value; };
  };
  CHECK(mentions(packed(R"({"type": "twn"})", set(0, -1)), {"scale", "positive"}));
  CHECK(mentions(packed(R"({"type": "inq"})", set(0, -0.3f)), {"level"}));
  CHECK(mentions(packed(R"({"type": "lq"})", set(2, kNan)), {"'table'", "nan"}));
  const auto stretch = [](const Tensor& table) { table.mutable_data<float>()[0] *= 1.01f; };
  CHECK(mentions(packed(R"({"type": "lsq"})", stretch), {"16 levels"}));
}

TEST_CASE("audit: with weights decoded anew, a changed level breaks the promise of its method") {
  // As after loading a packed file with a tampered table: the weight follows the table.
  const auto tampered = [](const char* text, size_t at, float factor, float shift) {
    const Graph graph = pack(finished(weight_rule(text)));
    const Tensor weight = state(graph, "conv.weight"), table = state(graph, "conv.weight_quantizer.table");
    const float before = table.data<float>()[at];
    const float value = before * factor + shift;
    table.mutable_data<float>()[at] = value;
    for (float& w : weight.mutable_data<float>())
      if (w == before) w = value;
    return complaints(graph, "conv");
  };
  CHECK(mentions(tampered(R"({"type": "inq"})", 4, 0.8f, 0), {"powers of two"}));
  CHECK(mentions(tampered(R"({"type": "ttq"})", 1, 1, 0.001f), {"the three values"}));
}

TEST_CASE("promises: two and three values, with one magnitude or two") {
  const auto check = [](std::initializer_list<float> values, bool zero, bool mirrored = true, int64_t parts = 1) {
    return levels_promise(Tensor::of(values), parts, zero, mirrored).empty();
  };
  CHECK(check({1, 0, -1, 1}, true));
  CHECK(check({1, 0, 0, -0.0f}, true));
  CHECK_FALSE(check({1, 0, -1, 0.5f}, true));
  CHECK_FALSE(check({1, 0, -0.5f}, true));
  CHECK(check({1, 0, -0.5f}, true, false));
  CHECK_FALSE(check({1, 0, -0.5f, -0.25f}, true, false));
  CHECK_FALSE(check({1, -1, 0}, false));
  CHECK(check({1, -1}, false));
  CHECK(check({1, -1, 2, -2}, false, true, 2));
  CHECK_FALSE(check({1, -1, 2, -2}, false));
  CHECK_FALSE(check({1, -1, kNan}, false));
  CHECK(distinct_values(std::vector<float>{3, 1, 3, 2, 1}, 9) == std::vector<float>{1, 2, 3});
  CHECK(distinct_values(std::vector<float>{1, 2, 3, 4, 5}, 2).size() == 3);
}
