#include "apps/engine_times.h"
#include "core/file.h"
#include "layers/checkpoint.h"
#include "tests/apps/outcome.h"
#include "tests/apps/scratch.h"
#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// An affine checkpoint of the small network, and the lowered model beside it.
struct Pair {
  explicit Pair(const Scratch& folder) : checkpoint(folder / "a.safetensors"), model(folder / "a.nib") {
    const Graph graph =
        quantized_network({{"type", "small_resnet"}, {"width", 4}}, integer_rules({{"type", "affine"}}, true), 3);
    save_checkpoint(checkpoint, graph, {{"data", {{"type", "embedded"}, {"train", 64}, {"test", 60}}}});
    lowering = run({"lower", checkpoint, "-o", model});
  }
  std::string checkpoint, model;
  Outcome lowering;
};

}  // namespace

TEST_CASE("nibble lower: writes a model that eval, inspect, audit and verify take") {
  const Scratch folder("lower");
  const Pair pair(folder);
  REQUIRE(pair.lowering.code == 0);
  CHECK(mentions(pair.lowering.out, {"fixed-point", "int8_conv", "bytes"}));
  const Outcome evaluated = run({"eval", pair.model, "--json"});
  REQUIRE(evaluated.code == 0);
  CHECK(evaluated.json()["total"] == 60);
  const Json before = run({"inspect", pair.checkpoint, "--json"}).json();
  const Json after = run({"inspect", pair.model, "--json"}).json();
  CHECK(after["macs"] == before["macs"]);
  const auto weights = [](const Json& table) {
    int64_t sum = 0;
    for (const Json& layer : table["layers"]) sum += layer["weights"].get<int64_t>();
    return sum;
  };
  CHECK(weights(after) == weights(before));
  const Outcome audited = run({"audit", pair.model, "--json"});
  CHECK(audited.code == 0);
  const Json file = audited.json()["file"];
  CHECK(file["packed_weights"] == weights(before));
  CHECK(file["code_bytes"] == weights(before));  // 8 bits each
  CHECK(file["bytes"] == file["header_bytes"].get<int64_t>() + file["tensor_bytes"].get<int64_t>());
  const Outcome verified = run({"verify", pair.checkpoint, pair.model, "--images", "60", "--json"});
  CHECK(verified.code == 0);
  CHECK(verified.json()["holds"] == true);
  CHECK(verified.json()["lowered"]["correct"] == evaluated.json()["correct"]);
  CHECK(verified.json()["edges"].size() > 10);
}

TEST_CASE("nibble eval: a quantized checkpoint gives exactly what its lowered model does") {
  const Scratch folder("lower-eval");
  const Pair pair(folder);
  Json before = run({"eval", pair.checkpoint, "--json"}).json(), after = run({"eval", pair.model, "--json"}).json();
  CHECK(before["on_codes"] == true);
  CHECK(after["on_codes"] == true);
  for (Json* json : {&before, &after}) json->erase("checkpoint");
  CHECK(before == after);  // the loss, too, to the last bit
  const std::string other = folder / "float.nib";
  REQUIRE(run({"lower", pair.checkpoint, "-o", other, "--engine", "float"}).code == 0);
  CHECK(run({"verify", pair.checkpoint, other, "--images", "60"}).code == 0);
  CHECK(run({"lower", pair.checkpoint, "-o", other, "--engine", "steam"}).code == 2);
}

TEST_CASE("nibble lower: what engines take is measured once") {
  const Scratch folder("lower-clock");
  const Pair pair(folder);
  const std::string cache = folder / "cache/engines.json";
  const Graph graph = load_checkpoint(pair.checkpoint).graph;
  CachedClock first(cache);
  const Lowered measured = lower(graph, {.engine = "auto"}, &first);
  CHECK(first.save() == "");
  CachedClock second(cache);
  const Lowered again = lower(graph, {.engine = "auto"}, &second);
  for (size_t i = 0; i < measured.report.size(); ++i)
    for (size_t k = 0; k < measured.report[i].times.size(); ++k)
      CHECK(again.report[i].times[k].seconds == measured.report[i].times[k].seconds);
  CHECK(again.graph.to_json() == measured.graph.to_json());
  write_file_atomically(cache, std::string_view("no JSON"));
  CachedClock damaged(cache);
  CHECK(lower(graph, {.engine = "auto"}, &damaged).report.size() == again.report.size());
  CachedClock nowhere("/proc/nibble/engines.json");
  lower(graph, {.engine = "auto"}, &nowhere);
  CHECK(mentions(nowhere.save(), {"/proc/nibble"}));
}

TEST_CASE("nibble lower: explains without writing, and asks for an output otherwise") {
  const Scratch folder("lower-explain");
  const Pair pair(folder);
  const Outcome explained = run({"lower", pair.checkpoint, "--explain"});
  CHECK(explained.code == 0);
  CHECK(mentions(explained.out, {"input.out: encode", " for ", " + ", "epilogue: fixed-point"}));
  CHECK(run({"lower", pair.checkpoint}).code == 2);
  CHECK(run({"lower", pair.checkpoint, "-o", folder / "x", "--epilogue", "both"}).code == 2);
  CHECK(mentions(run({"lower", pair.model, "-o", folder / "x"}).err, {"lowered already"}));
}

TEST_CASE("nibble verify: every injected fault breaks the contract, as does another checkpoint's model") {
  const Scratch folder("verify");
  const Pair pair(folder);
  for (const std::string fault : {"rounding", "zero_point", "multiplier"}) {
    const Outcome broken = run({"verify", pair.checkpoint, pair.model, "--images", "60", "--inject", fault});
    CHECK(broken.code == 1);
    CHECK(mentions(broken.out, {"BROKEN", "the contract is broken"}));
  }
  CHECK(run({"verify", pair.checkpoint, pair.model, "--inject", "luck"}).code != 0);
  CHECK(mentions(run({"verify", pair.checkpoint, pair.checkpoint}).err, {"no lowered model"}));
}
