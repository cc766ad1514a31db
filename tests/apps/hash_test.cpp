#include <cstdio>

#include "core/cpu.h"
#include "core/json.h"
#include "layers/checkpoint.h"
#include "tests/apps/scratch.h"
#include "tests/quant/lowering/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// What the program says with --json; an empty object if it fails.
Json run_nibble(const std::string& arguments) {
  FILE* pipe = popen(("'" NIBBLE_PROGRAM "' " + arguments + " --json").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  char part[4096];
  for (size_t n; (n = std::fread(part, 1, sizeof part, pipe)) > 0;) text.append(part, n);
  return pclose(pipe) == 0 ? Json::parse(text) : Json::object();
}

std::string hash_of(const std::string& arguments) {
  CAPTURE(arguments);
  const Json json = run_nibble(arguments);
  REQUIRE(json.contains("logits_hash"));
  return json["logits_hash"].get<std::string>();
}

/// Those that this processor has.
std::vector<std::string> tiers() {
  std::vector<std::string> names;
  for (const char* tier :
       {"scalar", "sse4", "avx2", "avxvnni", "avx512", "avx512vnni", "avx512bits", "amx", "neon", "dotprod", "i8mm"})
    if (message_of([&] { cpu::limit_to_tier(cpu::detected(), tier); }).empty())
      names.emplace_back(tier);
    else
      MESSAGE("not run on this processor: " << std::string(tier));
  return names;
}

/// A network for 32x32 images of ten classes, lowered; the data are the program's own.
std::string write_model(const Scratch& folder, const std::string& name, const Json& rules, uint64_t seed) {
  Json model = resnet_json("post", "B");
  model["input"] = {32, 32, 3};
  model["classes"] = 10;
  const Json data{{"type", "embedded"}, {"train", 64}, {"test", 24}, {"batch", 16}};
  save_checkpoint(folder / name, lower(quantized_network(model, rules, seed)).graph, {{"data", data}});
  return folder / name;
}

}  // namespace

TEST_CASE("eval --hash: whole networks give the same bits on every instruction set, for every batch and thread count") {
  const Scratch folder("hash");
  const Json lsq{{"type", "lsq"}, {"bits", 4}};
  const std::vector<Json> methods{integer_rules({{"type", "affine"}}, true), input_rules(lsq, lsq)};
  std::vector<std::string> hashes;
  for (const Json& rules : methods) {
    const std::string eval = "eval '" + write_model(folder, "model", rules, 7) + "' --hash ";
    const std::string expected = hash_of(eval);
    for (const std::string& tier : tiers()) CHECK(hash_of(eval + "--isa " + tier) == expected);
    CHECK(hash_of(eval + "--batch 1 --threads 1") == expected);
    CHECK(hash_of(eval + "--batch 7 --threads 3 --isa scalar") == expected);
    hashes.push_back(expected);
  }
  CHECK(hashes[0] != hashes[1]);
  const std::string other = "eval '" + write_model(folder, "other", methods[0], 8) + "' --hash";
  CHECK(hash_of(other) != hashes[0]);
}

TEST_CASE("bench: prints the hash, the time to load and the memory of a lowered model") {
  const Scratch folder("hash");
  const std::string bench =
      "bench '" + write_model(folder, "model", integer_rules({{"type", "affine"}}, true), 7) + "' --steps 1 --hash";
  const Json json = run_nibble(bench);
  CHECK(json["logits_hash"].get<std::string>() == hash_of(bench + " --isa scalar --threads 1"));
  CHECK(json["start_seconds"].get<double>() > 0);
  const Json& memory = json["memory"];
  CHECK(memory["model_bytes"].get<int64_t>() > 1000);
  CHECK(memory["network_bytes"].get<int64_t>() > 1000);
  CHECK(memory["run_bytes"].get<int64_t>() >= memory["two_largest_activations_bytes"].get<int64_t>());
  CHECK(memory["two_largest_activations_bytes"].get<int64_t>() == 32 * 32 * 3 * 4 + 32 * 32 * 5);
}
