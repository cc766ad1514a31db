#include "core/file.h"
#include "core/safetensors.h"
#include "tests/apps/outcome.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

using test::Outcome;
using test::run;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

constexpr const char* kFloat = R"({
  "name": "tiny",
  "model": {"type": "small_resnet", "width": 4},
  "data": {"type": "embedded", "train": 256, "test": 60, "batch": 32},
  "optim": {"type": "sgd", "lr": 0.05, "momentum": 0.9},
  "train": {"epochs": 1}
})";

constexpr const char* kAffine = R"([{"match": "*", "weight": {"type": "affine"}, "act": {"type": "affine"},
                                     "place": "outputs", "fold_batch_norm": {}}])";
constexpr const char* kLsq = R"([{"match": "*", "weight": {"type": "lsq", "bits": 4},
                                  "act": {"type": "lsq", "bits": 4}}])";

/// A folder with a short float run in "run" and configs with rules.
struct Fixture {
  test::Scratch folder{"quantize"};
  std::string checkpoint = folder / "run/last.safetensors", q8 = folder / "q8.safetensors";
  Fixture() {
    write_file_atomically(folder / "float.json", kFloat);
    const auto rules = [&](const char* name, const char* text) {
      write_file_atomically(folder / name, std::string("{\"quant\": ") + text + "}");
    };
    rules("affine.json", kAffine);
    rules("lsq.json", kLsq);
    const Outcome trained = run({"train", folder / "float.json", "--out", folder / "run"});
    REQUIRE(trained.code == 0);
  }
  Outcome quantize(const std::string& config, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {"quantize", folder / "run", "--config", folder / config, "-o", q8};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }
};

}  // namespace

TEST_CASE("quantize: every method gives a checkpoint that eval, predict's loader, inspect, audit and pack take") {
  const Fixture f;
  const int64_t real = run({"eval", f.checkpoint, "--json"}).json()["correct"].get<int64_t>();
  for (const std::string method : {"min_max", "percentile", "mse", "kl"}) {
    CAPTURE(method);
    const Outcome made = f.quantize("affine.json", {"--method", method, "--calibrate", "100"});
    CAPTURE(made.err);
    REQUIRE(made.code == 0);
    CHECK(has(made.out, method + " of 100 images"));
    CHECK(has(made.out, "weights in float: none"));
    CHECK(has(made.out, "nibble eval " + f.q8));
    const Outcome measured = run({"eval", f.q8, "--json"});
    REQUIRE(measured.code == 0);
    CHECK(std::abs(measured.json()["correct"].get<int64_t>() - real) <= 3);
    CHECK(run({"audit", f.q8}).code == 0);
  }
  const Json table = run({"inspect", f.q8, "--json"}).json();
  CHECK(table["ratio"].get<double>() > 3);
  CHECK(table["size_bytes"].get<int64_t>() * 8 >= table["size_bits"].get<int64_t>());
  CHECK(has(run({"inspect", f.q8}).out, "affine"));

  const std::string packed = f.folder / "packed.safetensors";
  const Outcome written = run({"pack", f.q8, "-o", packed, "--json"});
  REQUIRE(written.code == 0);
  Json before = run({"eval", f.q8, "--json"}).json(), after = run({"eval", packed, "--json"}).json();
  before.erase("checkpoint");
  after.erase("checkpoint");
  CHECK(before == after);
  const Outcome audited = run({"audit", packed, "--json"});
  CHECK(audited.code == 0);
  const Json file = audited.json()["file"];
  CHECK(file["bytes"].get<int64_t>() == file["header_bytes"].get<int64_t>() + file["tensor_bytes"].get<int64_t>());
  CHECK(file["code_bytes"] == file["packed_weights"]);
  CHECK(file["quantized_weights_in_f32"] == 0);
  CHECK(run({"inspect", packed, "--json"}).json()["size_bits"] == table["size_bits"]);
  CHECK(has(run({"inspect", packed}).out, "[affine]"));
}

TEST_CASE("quantize: the result starts a training with the same rules") {
  const Fixture f;
  REQUIRE(f.quantize("lsq.json").code == 0);
  const std::string config = f.folder / "train.json";
  Json json = Json::parse(kFloat);
  json["quant"] = Json::parse(kLsq);
  json["optim"]["lr"] = 1e-9;
  write_file_atomically(config, json.dump());
  const Outcome trained = run({"train", config, "--set", "/train/init=" + f.q8, "--out", f.folder / "tuned"});
  CAPTURE(trained.err);
  REQUIRE(trained.code == 0);
  const auto step = [](const std::string& path) {
    return read_safetensors(path).find("conv1.weight_quantizer.step")->item();
  };
  CHECK(step(f.folder / "tuned/last.safetensors") == doctest::Approx(step(f.q8)).epsilon(1e-4));
  CHECK(run({"audit", f.folder / "tuned"}).code == 0);
  // A training config serves as rules, too; its images are normalised as the network's were.
  CHECK(f.quantize("train.json", {"--calibrate", "7", "--json"}).json()["images"] == 7);
  json["data"]["mean"] = {0.1, 0.2, 0.3};
  write_file_atomically(config, json.dump());
  const Outcome other = f.quantize("train.json");
  CHECK(other.code == 2);
  CHECK(has(other.err, "was trained with"));
}

TEST_CASE("quantize: bad input is one clear error") {
  const Fixture f;
  const auto fails = [](const Outcome& outcome, int code, const std::string& part) {
    CAPTURE(outcome.err);
    CHECK(outcome.code == code);
    CHECK(has(outcome.err, part));
    CHECK(outcome.err.find('\n') == outcome.err.size() - 1);
  };
  fails(f.quantize("float.json"), 2, "no \"quant\" section");
  fails(f.quantize("none.json"), 2, "none.json");
  fails(f.quantize("affine.json", {"--calibrate", "0"}), 2, "--calibrate");
  fails(f.quantize("affine.json", {"--calibrate", "257"}), 2, "256 training images");
  fails(f.quantize("affine.json", {"--method", "best"}), 2, "min_max");
  fails(f.quantize("affine.json", {"--percentile", "99"}), 2, "--method percentile");
  fails(f.quantize("affine.json", {"--method", "percentile", "--percentile", "x"}), 2, "expects a number");
  fails(f.quantize("affine.json", {"--method", "percentile", "--percentile", "101"}), 2, "100");
  fails(f.quantize("affine.json", {"--data", R"({"type": "cifar10", "root": "/nowhere"})"}), 1, "/nowhere");
  fails(f.quantize("affine.json", {"--set", "/quant=[]"}), 2, "no quantizer");
  fails(f.quantize("affine.json", {"--set", "/qant=[]"}), 2, "qant");
  fails(run({"quantize", f.checkpoint, "-o", f.q8}), 2, "--config");
  fails(run({"quantize", f.checkpoint, "--config", f.folder / "affine.json"}), 2, "--out");
  fails(run({"quantize", f.folder / "float.json", "--config", f.folder / "affine.json", "-o", f.q8}), 1, "float.json");
  REQUIRE(f.quantize("affine.json").code == 0);
  fails(run({"quantize", f.q8, "--config", f.folder / "affine.json", "-o", f.folder / "again"}), 2,
        "quantized already");
  fails(run({"pack", f.checkpoint, "-o", f.folder / "p"}), 1, "no layer has a quantized weight");
  fails(run({"pack", f.checkpoint}), 2, "--out");
}

TEST_CASE("audit: a float network, a tampered and a shortened checkpoint fail with a line that says why") {
  const Fixture f;
  const Outcome real = run({"audit", f.checkpoint});
  CHECK(real.code == 1);
  CHECK(has(real.out, "FAIL file: expected a quantized network"));
  REQUIRE(f.quantize("lsq.json").code == 0);
  const Outcome good = run({"audit", f.q8});
  CHECK(good.code == 0);
  CHECK(has(good.out, "ok   conv1: weight, lsq, 4 bits, 16 levels"));
  CHECK_FALSE(has(good.out, "FAIL"));

  TensorFile file = read_safetensors(f.q8);
  for (auto& [name, tensor] : file.tensors)
    if (name == "conv1.weight_quantizer.step") tensor.mutable_data<float>()[0] = -1;
  const std::string bad = f.folder / "bad.safetensors";
  write_safetensors(bad, file);
  const Outcome tampered = run({"audit", bad});
  CHECK(tampered.code == 1);
  CHECK(has(tampered.out, "FAIL conv1: weight, lsq: expected a positive, finite step, found -1"));
  CHECK(has(tampered.out, "ok   conv1.act"));
  CHECK(run({"audit", bad, "--json"}).json()["ok"] == false);

  std::string bytes = read_text_file(f.q8);
  bytes.resize(bytes.size() - 10);
  write_file_atomically(bad, bytes);
  const Outcome shortened = run({"audit", bad});
  CHECK(shortened.code == 1);
  CHECK(has(shortened.out, "FAIL file: "));
  CHECK(has(shortened.out, "truncated"));
  CHECK(run({"audit", f.folder / "missing"}).code == 2);
}

TEST_CASE("inspect: a config is shown with the quantizers of its rules") {
  const test::Scratch folder("inspect");
  Json json = Json::parse(kFloat);
  json["quant"] = Json::parse(kLsq);
  write_file_atomically(folder / "a.json", json.dump());
  const Outcome outcome = run({"inspect", folder / "a.json", "--json"});
  REQUIRE(outcome.code == 0);
  const Json table = outcome.json();
  int64_t bits = 0;
  for (const Json& layer : table["layers"]) {
    bits += layer["size_bits"].get<int64_t>();
    if (layer["weights"].get<int64_t>() == 0) continue;
    CHECK(layer["weight_bits"] == 4);
    CHECK(layer["weight_quantizer"]["type"] == "lsq");
    CHECK(layer["input_quantizer"]["bits"] == 4);
  }
  CHECK(table["size_bits"] == bits);
  CHECK(table["ratio"].get<double>() ==
        doctest::Approx(table["float_bytes"].get<double>() * 8 / static_cast<double>(bits)).epsilon(1e-3));
  const Outcome text = run({"inspect", folder / "a.json"});
  CHECK(has(text.out, "size: " + std::to_string(bits) + " bits"));
}

}  // namespace nibble
