#include <cstdlib>

#include "core/bit_hash.h"
#include "core/parallel.h"
#include "quant/kernels/int8_gemm/dispatch.h"
#include "quant/lowering/lowered_model.h"
#include "third_party/doctest.h"

using namespace nibble;

namespace {

/// Whole numbers of 64ths from -4 to 4: the same on every processor.
Tensor recorded_images(int64_t n) {
  const Tensor x = Tensor::empty({n, 11, 9, 3});
  uint32_t state = 1;
  for (float& v : x.mutable_data<float>()) {
    state = state * 1664525u + 1013904223u;
    v = (static_cast<float>(state >> 23) - 256.f) / 64.f;
  }
  return x;
}

/// Of the logits of all images, in batches of `batch`.
std::string hash_of(const Graph& graph, int64_t n, int64_t batch) {
  const Tensor x = recorded_images(n);
  const size_t sample = x.data<float>().size() / static_cast<size_t>(n);
  BitHash hash;
  for (int64_t i = 0; i < n; i += batch) {
    const Tensor part = Tensor::empty({batch, 11, 9, 3});
    const auto from = x.data<float>().subspan(static_cast<size_t>(i) * sample, static_cast<size_t>(batch) * sample);
    std::copy(from.begin(), from.end(), part.mutable_data<float>().begin());
    hash.add(graph.forward(part, {Mode::eval}));
  }
  return hash.text();
}

void check_hash(const std::string& name, const std::string& expected) {
  const Graph graph = load_lowered(NIBBLE_SOURCE_DIR "/tests/quant/lowering/recorded/" + name);
  const int before = threads();
  for (const int count : {1, 3}) {
    set_threads(count);
    for (const int64_t batch : {1, 4, 12}) {
      CAPTURE(count);
      CAPTURE(batch);
      CHECK(hash_of(graph, 12, batch) == expected);
    }
  }
  set_threads(before);
}

}  // namespace

TEST_CASE("whole networks give the recorded bits on every processor, for every batch and number of threads") {
  check_hash("fixed.safetensors", "0xe64cfeceadfb31cd");
  check_hash("float.safetensors", "0xe8799771384c1569");
}

TEST_CASE("the emulated processor runs the kernels that it was chosen for") {
  // Set by tests/aarch64.sh.
  const char* expected = std::getenv("NIBBLE_EXPECT_KERNEL");
  if (expected != nullptr) CHECK(int8::gemm_variant().name == std::string(expected));
}
