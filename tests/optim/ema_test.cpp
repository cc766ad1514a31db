#include "optim/ema.h"

#include <algorithm>
#include <map>

#include "third_party/doctest.h"

using namespace nibble;

namespace {

void set(const Tensor& x, std::initializer_list<float> values) {
  std::copy(values.begin(), values.end(), x.mutable_data<float>().begin());
}

}  // namespace

TEST_CASE("ema: the average follows the formula, with and without warm-up") {
  for (const bool warmup : {false, true}) {
    const Tensor w = Tensor::of({1, -2});
    Ema ema({.decay = 0.6, .warmup = warmup}, {{"w", w}});
    double want[2] = {1, -2};
    for (int t = 0; t < 20; ++t) {
      set(w, {float(t), float(t * t)});
      ema.update();
      const double decay = warmup ? std::min(0.6, (1.0 + t) / (10.0 + t)) : 0.6;
      for (int i = 0; i < 2; ++i) want[i] = decay * want[i] + (1 - decay) * double(w.data<float>()[size_t(i)]);
    }
    CHECK(ema.averaged()[0].data<float>()[0] == doctest::Approx(want[0]).epsilon(1e-5));
    CHECK(ema.averaged()[0].data<float>()[1] == doctest::Approx(want[1]).epsilon(1e-5));
  }
}

TEST_CASE("ema: buffers are copied or averaged as asked, integers always copied") {
  for (const char* buffers : {"copy", "average"}) {
    const Tensor mean = Tensor::of({0}), count = Tensor::zeros({1}, DType::i64);
    Ema ema({.decay = 0.5, .warmup = false, .buffers = buffers}, {{"mean", mean, true}, {"count", count}});
    set(mean, {4});
    count.mutable_data<int64_t>()[0] = 9;
    ema.update();
    CHECK(ema.averaged()[0].item() == (std::string(buffers) == "copy" ? 4.f : 2.f));
    CHECK(ema.averaged()[1].data<int64_t>()[0] == 9);
  }
}

TEST_CASE("ema: inside a scope the network holds the averages, afterwards its own values") {
  const Tensor w = Tensor::of({1});
  Ema ema({.decay = 0.5, .warmup = false}, {{"w", w}});
  set(w, {3});
  ema.update();
  {
    const EmaScope scope(ema);
    CHECK(w.item() == 2.f);
    CHECK_THROWS_AS(ema.update(), Error);
  }
  CHECK(w.item() == 3.f);
  CHECK(ema.averaged()[0].item() == 2.f);
}

TEST_CASE("ema: one that takes over saved state goes on with the same bits") {
  const Tensor w = Tensor::of({1});
  Ema first({}, {{"w", w}}), second({}, {{"w", w}});
  for (int t = 0; t < 5; ++t) {
    set(w, {float(t)});
    first.update();
  }
  std::map<std::string, Tensor> saved;
  first.visit_state([&](const std::string& name, Tensor& tensor) { saved[name] = tensor.clone(); });
  second.visit_state([&](const std::string& name, Tensor& tensor) { tensor.copy_from(saved.at(name)); });
  set(w, {7});
  first.update();
  second.update();
  CHECK(first.averaged()[0].item() == second.averaged()[0].item());
}

TEST_CASE("ema: misuse is an error") {
  const Tensor w = Tensor::of({1});
  CHECK_THROWS_AS(Ema({.decay = 1.5}, {{"w", w}}), Error);
  CHECK_THROWS_AS(Ema({.buffers = "drop"}, {{"w", w}}), Error);
  CHECK_THROWS_WITH_AS(Ema({}, {{"w", w}, {"w", w}}), "ema: two tensors are named 'w'", Error);
  CHECK_THROWS_WITH_AS(Ema({}, {{"w", {}}}), "ema: tensor 'w' is undefined", Error);
  CHECK_THROWS_AS(read_options<Ema::Options>(parse_config(R"({"decay":2})", "ema.json")), UsageError);
}
