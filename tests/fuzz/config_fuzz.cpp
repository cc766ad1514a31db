#include <cstdint>
#include <string_view>

#include "core/config.h"
#include "optim/learning_rate.h"

namespace {

using namespace nibble;

/// Every kind of field once.
struct Everything {
  bool flag = false;
  int small = 0;
  int64_t large = 0;
  uint64_t seed = 0;
  float single = 0;
  double wide = 0;
  std::string text, chosen = "a";
  std::vector<int> ints;
  std::vector<double> numbers;
  std::vector<std::string> texts;
  Config any;
  Warmup inner;
  void fields(Fields& f) {
    f("flag", flag, "")("small", small, "", {0, 9})("large", large, "")("seed", seed, "")("single", single, "");
    f("wide", wide, "", kPositive)("text", text, "")("ints", ints, "")("numbers", numbers, "")("texts", texts, "");
    f.choice("chosen", chosen, {"a", "b"}, "").raw("any", any, "anything", "").nested("inner", inner, "");
  }
};

template <class Try>
void ignoring_errors(Try&& attempt) {
  try {
    attempt();
  } catch (const Error&) {
  }
}

}  // namespace

/// Any bytes as a config: either a UsageError, or JSON that the optimizers and an options struct with every kind of
/// field accept or refuse, and write back. The bytes behind the first line break are also tried as a --set.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ignoring_errors([&] {
    Config config = parse_config(text, "fuzz.json");
    ignoring_errors([&] { set_option(config, text.substr(std::min(text.find('\n'), size))); });
    ignoring_errors([&] { (void)write_options(read_options<Everything>(config)).dump(); });
    ignoring_errors([&] {
      const auto optimizer = Registry<Optimizer>::get().make(config);
      (void)LearningRate(optimizer->options()).at({3, 2, 10});
      (void)optimizer->config().dump();
      optimizer->attach({{"fc.weight", Tensor::zeros({2})}, {"fc.bias", Tensor::zeros({1})}});
    });
  });
  return 0;
}
