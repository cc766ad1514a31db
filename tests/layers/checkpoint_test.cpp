#include "layers/checkpoint.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// A path in the temporary folder whose file is removed at the end.
struct TempFile {
  std::string path = (std::filesystem::temp_directory_path() /
                      ("nibble_checkpoint_test_" + std::to_string(std::random_device{}()) + ".safetensors"))
                         .string();
  ~TempFile() { std::filesystem::remove(path); }
};

const Json kSmall{{"type", "small_resnet"}, {"width", 4}, {"input", {8, 8, 3}}};
const Json kSmallB{{"type", "resnet_cifar"}, {"depth", 8}, {"width", 4}, {"shortcut", "B"}, {"input", {8, 8, 3}}};

/// The state as another program would have saved it; `rename` may return "" to leave a tensor out.
TensorFile saved(const Graph& graph, const std::function<std::string(const std::string&)>& rename) {
  TensorFile file;
  for (const NamedTensor& entry : state_of(graph))
    if (const std::string name = rename(entry.name); !name.empty()) file.tensors.emplace_back(name, entry.tensor);
  return file;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  if (const size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

bool same_state(const Graph& a, const Graph& b) {
  const auto left = state_of(a), right = state_of(b);
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const auto& l, const auto& r) { return l.name == r.name && same_bits(l.tensor, r.tensor); });
}

}  // namespace

TEST_CASE("checkpoint: what is saved comes back bit for bit, with the config and the trainer's tensors") {
  const TempFile file;
  const Graph graph = trained_model(kSmall);
  const Tensor steps = Tensor::from<int64_t>({1}, std::vector<int64_t>{17});
  save_checkpoint(file.path, graph, {{"seed", 3}}, {{"train/step", steps}});
  const Checkpoint loaded = load_checkpoint(file.path);
  CHECK(same_state(graph, loaded.graph));
  CHECK(loaded.graph.to_json() == graph.to_json());
  CHECK(loaded.graph.input_shape() == Shape{8, 8, 3});
  CHECK(loaded.config.json == Json{{"seed", 3}});
  CHECK(same_bits(*loaded.file.find("train/step"), steps));
  CHECK(loaded.file.metadata.count("nibble.version") == 1);
}

TEST_CASE("checkpoint: the trainer's names must be its own") {
  const TempFile file;
  const Graph graph = trained_model(kSmall);
  const Tensor t = Tensor::of({1});
  CHECK(mentions(message_of([&] { save_checkpoint(file.path, graph, {}, {{"step", t}}); }), {"train/", "'step'"}));
  CHECK(mentions(message_of([&] {
                   save_checkpoint(file.path, graph, {}, {{"train/a", t}, {"train/a", t}});
                 }),
                 {"'train/a'"}));
  CHECK_FALSE(std::filesystem::exists(file.path));
}

TEST_CASE("checkpoint: missing, extra, misshapen and mistyped tensors are named, and nothing is half loaded") {
  const TempFile file;
  const Graph graph = trained_model(kSmall);
  save_checkpoint(file.path, graph, Json::object());
  const TensorFile good = read_safetensors(file.path);
  const auto loads = [&](const std::function<void(TensorFile&)>& spoil) {
    TensorFile bad = good;
    spoil(bad);
    write_safetensors(file.path, bad);
    return message_of([&] { load_checkpoint(file.path); });
  };
  CHECK(loads([](TensorFile&) {}) == "");
  CHECK(mentions(loads([](TensorFile& f) { f.tensors.erase(f.tensors.begin()); }),
                 {file.path, "missing", "'conv1.weight'"}));
  CHECK(mentions(loads([](TensorFile& f) { f.tensors.emplace_back("odd", Tensor::of({1})); }), {file.path, "'odd'"}));
  CHECK(mentions(loads([](TensorFile& f) { f.tensors[1].second = Tensor::zeros({5}); }),
                 {file.path, "'bn1.weight'", "[5]", "[4]"}));
  CHECK(mentions(loads([](TensorFile& f) { f.tensors[1].second = Tensor::zeros({4}, DType::i32); }),
                 {file.path, "'bn1.weight'", "i32", "f32"}));
  const std::string many = loads([](TensorFile& f) { f.tensors.clear(); });
  CHECK(mentions(many, {"more"}));
  CHECK(many.size() < 1000);

  const Graph other = trained_model(kSmall, 99), before = other.clone();
  TensorFile half = good;
  half.tensors.pop_back();
  CHECK_THROWS_AS(load_state(other, half, "half"), Error);
  CHECK(same_state(other, before));
}

TEST_CASE("checkpoint: damaged metadata is an error that names the file, not a misuse") {
  const TempFile file;
  save_checkpoint(file.path, trained_model(kSmall), Json::object());
  const TensorFile good = read_safetensors(file.path);
  for (const char* text : {"{", "", "[]", "7", "{\"nodes\": 3}", "{\"nodes\": [{\"name\": \"a\", \"type\": \"b\"}]}"}) {
    CAPTURE(text);
    TensorFile bad = good;
    bad.metadata["nibble.graph"] = text;
    write_safetensors(file.path, bad);
    CHECK_THROWS_AS(load_checkpoint(file.path), Error);
    try {
      load_checkpoint(file.path);
    } catch (const UsageError&) {
      FAIL("a damaged checkpoint is no bad usage");
    } catch (const Error& error) {
      CHECK(mentions(error.what(), {file.path, "nibble.graph"}));
    }
  }
  TensorFile foreign = good;
  foreign.metadata.clear();
  write_safetensors(file.path, foreign);
  CHECK(mentions(message_of([&] { load_checkpoint(file.path); }), {file.path, "no nibble checkpoint", "import"}));
  CHECK(mentions(message_of([] { load_checkpoint("/nowhere/x.safetensors"); }), {"/nowhere/x.safetensors"}));
}

TEST_CASE("import: names of other projects are understood") {
  const Graph source = trained_model(kSmallB);
  const auto imports = [&](const std::function<std::string(const std::string&)>& rename) {
    const Graph target = build_model(Config(kSmallB));
    TensorFile file = saved(source, rename);
    file.tensors.emplace_back("bn1.num_batches_tracked", Tensor::zeros({}, DType::i64));
    import_state(target, file, "weights");
    return same_state(source, target);
  };
  CHECK(imports([](const std::string& name) { return name; }));
  CHECK(imports([](const std::string& name) { return "module." + name; }));
  CHECK(imports([](const std::string& name) { return replaced(name, "linear.", "fc."); }));
  CHECK(imports([](const std::string& name) {
    return "module.module." + replaced(replaced(name, "linear.", "fc."), ".shortcut.", ".downsample.");
  }));
}

/// What three projects call a tensor of mobilenet_v1.
std::string mobilenet_name(const std::string& project, const std::string& ours) {
  const char* const timm[] = {"0.0", "1.0", "1.1", "2.0", "2.1", "3.0", "3.1",
                              "3.2", "3.3", "3.4", "3.5", "4.0", "4.1"};
  const size_t dot = ours.rfind('.');
  const std::string tensor = ours.substr(dot), node = ours.substr(0, dot);
  if (node == "fc") return (project == "sequential" ? "fc" : "classifier") + tensor;
  const int block = node.compare(0, 5, "block") == 0 ? std::stoi(node.substr(5)) : 0;
  const std::string part = node.substr(node.rfind('.') + 1);
  const bool conv = part[0] == 'c', second = part.back() == '2';
  if (project == "transformers") {
    const std::string layer = block == 0 ? "conv_stem" : "layer." + std::to_string(2 * block - (second ? 1 : 2));
    return "mobilenet_v1." + layer + (conv ? ".convolution" : ".normalization") + tensor;
  }
  if (project == "sequential")
    return "model." + std::to_string(block) + "." + std::to_string((second ? 3 : 0) + (conv ? 0 : 1)) + tensor;
  if (block == 0) return (conv ? "conv_stem" : "bn1") + tensor;
  return std::string("blocks.") + timm[block - 1] + "." + (!conv ? part : second ? "conv_pw" : "conv_dw") + tensor;
}

TEST_CASE("import: MobileNet-v1 is understood in the names of transformers, timm and nn.Sequential") {
  const Json model{{"type", "mobilenet_v1"}, {"multiplier", 0.25}, {"input", {32, 32, 3}}, {"classes", 3}};
  const Graph source = trained_model(model);
  for (const std::string project : {"transformers", "timm", "sequential"}) {
    CAPTURE(project);
    const Graph target = build_model(Config(model));
    import_state(target, saved(source, [&](const std::string& name) { return mobilenet_name(project, name); }), "w");
    CHECK(same_state(source, target));
  }
}

TEST_CASE("import: the names in torchvision's published DenseNet-121 are understood") {
  const Json model{{"type", "densenet121"}, {"multiplier", 0.25}, {"input", {32, 32, 3}}, {"classes", 3}};
  const Graph source = trained_model(model), target = build_model(Config(model));
  const auto published = [](std::string name) {
    for (const char* kind : {".norm", ".conv"})
      for (const char* id : {"1.", "2."})
        if (name.find("denselayer") != std::string::npos)
          name = replaced(name, std::string(kind) + id, std::string(kind) + "." + id);
    return name;
  };
  CHECK(published("features.denseblock1.denselayer1.norm2.bias") == "features.denseblock1.denselayer1.norm.2.bias");
  import_state(target, saved(source, published), "w");
  CHECK(same_state(source, target));
}

TEST_CASE("import: the error says what a well-known file wants, or that there is no such network") {
  const auto refusal = [](const Json& model, const char* stranger) {
    const Graph graph = trained_model(model);
    TensorFile file = saved(graph, [](const std::string& name) { return name; });
    file.tensors.emplace_back(stranger, Tensor::of({1}));
    return message_of([&] { import_state(graph, file, "w"); });
  };
  Json narrow = kSmallB;
  narrow["shortcut"] = "A";
  CHECK(mentions(refusal(narrow, "layer2.0.shortcut.0.weight"), {"does not have", "\"shortcut\": \"B\""}));
  CHECK(mentions(refusal(kSmall, "inception3a.branch4.1.conv.weight"), {"does not have", "GoogLeNet-Variant"}));
  CHECK(mentions(refusal(kSmall, "features.1.conv.0.0.weight"), {"does not have", "MobileNet-v2"}));
  CHECK(mentions(refusal(kSmall, "AuxLogits.conv0.conv.weight"), {"does not have", "\"aux\": true"}));
  CHECK_FALSE(mentions(refusal(kSmall, "odd.weight"), {". "}));
}

TEST_CASE("import: what does not fit is listed by the names in the file") {
  const Graph source = trained_model(kSmallB);
  const auto refusal = [&](const Json& model, const std::function<std::string(const std::string&)>& rename) {
    const Graph target = build_model(Config(model));
    return message_of([&] { import_state(target, saved(source, rename), "w.safetensors"); });
  };
  const auto same = [](const std::string& name) { return name; };
  CHECK(mentions(refusal(kSmall, same), {"w.safetensors", "does not have", "'layer2.0.shortcut.0.weight'"}));
  Json deeper = kSmallB;
  deeper["depth"] = 14;
  CHECK(mentions(refusal(deeper, same), {"missing", "'layer1.1.conv1.weight'", "more"}));
  Json wider = kSmallB;
  wider["width"] = 8;
  CHECK(mentions(refusal(wider, same), {"do not fit", "'conv1.weight'", "[4,3,3,3]", "[8,3,3,3]"}));
  CHECK(mentions(refusal(kSmallB, [](const std::string& name) { return name == "linear.bias" ? std::string() : name; }),
                 {"missing", "'linear.bias'"}));
  const Graph target = build_model(Config(kSmallB));
  TensorFile twice = saved(source, same);
  twice.tensors.emplace_back("module.conv1.weight", twice.tensors[0].second);
  CHECK(mentions(message_of([&] { import_state(target, twice, "w"); }), {"'conv1.weight' and 'module.conv1.weight'"}));
}

TEST_CASE("import: the published ResNet-20 fits") {
  const char* data = std::getenv("NIBBLE_DATA");
  const std::string path = std::string(data != nullptr ? data : NIBBLE_SOURCE_DIR "/build/data-cache") +
                           "/pretrained/resnet20-cifar10.safetensors";
  if (!std::filesystem::exists(path)) {
    MESSAGE("skipped, set NIBBLE_DATA to the unpacked data: there is no ", path);
    return;
  }
  const Graph graph = build_model(Config(Json{{"type", "resnet20"}}));
  import_state(graph, read_safetensors(path), path);
  CHECK(graph.forward(random_tensor({1, 32, 32, 3}, 1), {}).shape() == Shape{1, 10});
  const Graph b = build_model(Config(Json{{"type", "resnet20"}, {"shortcut", "B"}}));
  CHECK(mentions(message_of([&] { import_state(b, read_safetensors(path), path); }), {"layer2.0.shortcut.0.weight"}));
}
