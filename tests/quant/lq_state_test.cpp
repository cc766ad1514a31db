#include "tests/quant/lq_support.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("lq: the de-biased average is the authors' accumulator divided by 1 - 0.9^t") {
  const auto lq = make_lq(act_json(2, {{"ema_debias", true}}));
  Doubles accumulator{0, 0};
  for (int t = 1; t <= 5; ++t) {
    const Tensor x = random_tensor({700}, 30u + static_cast<uint64_t>(t), 0, 2);
    const Doubles fitted = Paper{0, basis_of(*lq)}.solve(doubles_of(x), 1e-4);
    run(*lq, x);
    for (size_t k = 0; k < 2; ++k) accumulator[k] = 0.9 * accumulator[k] + 0.1 * fitted[k];
    const double weight = 1 - std::pow(0.9, t);
    CHECK(compare(basis_of(*lq), {accumulator[0] / weight, accumulator[1] / weight}, 1e-6) == "");
  }
}

TEST_CASE("lq: eval leaves the state alone, and a copy by JSON and state goes on bit for bit") {
  for (const char* train : {"qem", "bp"}) {
    for (const char* init : {"normal", "data"}) {
      Graph graph(Shape{4});
      graph.add("lq", act_json(3, {{"train", train}, {"init", init}, {"ema_debias", true}}), {"input"});
      const auto input = [](uint64_t seed) { return random_tensor({8, 4}, seed, 0, 5); };
      graph.forward(input(1), kTrain);
      Graph copy = Graph::from_json(Config(graph.to_json()));
      CHECK(copy.to_json() == graph.to_json());
      const auto from = state_of(graph), to = state_of(copy);
      REQUIRE(from.size() == to.size());
      for (size_t i = 0; i < from.size(); ++i) to[i].tensor.copy_from(from[i].tensor);
      const Graph before = graph.clone();
      CHECK(same_bits(graph.forward(input(2), {}), copy.forward(input(2), {})));
      for (size_t i = 0; i < from.size(); ++i) CHECK(same_bits(state_of(before)[i].tensor, state_of(graph)[i].tensor));
      for (uint64_t step = 3; step < 6; ++step) {
        CHECK(same_bits(graph.forward(input(step), kTrain), copy.forward(input(step), kTrain)));
        for (size_t i = 0; i < from.size(); ++i) CHECK(same_bits(from[i].tensor, to[i].tensor));
      }
    }
  }
}

TEST_CASE("lq: a basis that starts from the data fits them at once") {
  const auto error = [](const Json& json, const Tensor& x) {
    const auto lq = make_lq(json);
    const Tensor y = run(*lq, x);
    double sum = 0;
    for (size_t i = 0; i < x.data<float>().size(); ++i) sum += std::pow(y.data<float>()[i] - x.data<float>()[i], 2.0);
    return sum / static_cast<double>(x.numel());
  };
  for (const float scale : {1e-3f, 1.0f, 1e4f}) {
    // The best four levels for normal data leave 0.1175 of the variance (Max 1960).
    const Tensor w = normal_tensor({2, 20000}, 40, 0, scale);
    CHECK(error(weights_json(2, 2, {{"init", "data"}}), w) < 0.125 * scale * scale);
    std::vector<float> half = values_of(w);
    for (float& v : half) v = std::max(v, 0.0f);
    CHECK(error(act_json(2, {{"init", "data"}}), tensor(half)) < 0.03 * scale * scale);
  }
}

TEST_CASE("lq: a basis that would leave the positive numbers is held there and counted") {
  const auto dead = make_lq(weights_json(1, 1, {{"average", 0}}), {0.01f});
  run(*dead, Tensor::zeros({1000}));
  CHECK(values_of(tensor_of(*dead, "basis"))[0] == 1e-8f);
  CHECK(tensor_of(*dead, "state").data<int64_t>()[1] == 1);
  const auto trained = make_lq(act_json(4, {{"train", "bp"}}));
  const auto basis = tensor_of(*trained, "basis").mutable_data<float>();
  basis[0] = -1;
  basis[1] = NAN;
  basis[2] = kInf;
  trained->after_update();
  CHECK(values_of(tensor_of(*trained, "basis"))[0] == 1e-8f);
  CHECK(values_of(tensor_of(*trained, "basis"))[1] == 1e-8f);
  CHECK(values_of(tensor_of(*trained, "basis"))[2] == 1e37f);
  CHECK(tensor_of(*trained, "state").data<int64_t>()[1] == 3);
  for (const float v : values_of(run(*trained, Tensor::of({-1, 0, 3e38f})))) CHECK(std::isfinite(v));
}

TEST_CASE("lq: NaN and infinity are refused in both modes and change nothing") {
  for (const float bad : {NAN, kInf, -kInf}) {
    for (const Json& json :
         {act_json(2), act_json(7), weights_json(3), act_json(2, {{"init", "data"}}), act_json(2, {{"train", "bp"}})}) {
      std::vector<float> values(5000, 0.5f);
      for (const size_t at : {3u, 4999u}) {
        values[at] = bad;
        const auto lq = make_lq(json);
        const Tensor before = tensor_of(*lq, "basis").clone();
        for (const Mode mode : {Mode::train, Mode::eval}) {
          const std::string message = message_of([&] { run(*lq, tensor(values), {.mode = mode}); });
          CHECK(mentions(message, {"lq", "element " + std::to_string(at)}));
        }
        CHECK(same_bits(tensor_of(*lq, "basis"), before));
        values[at] = 0.5f;
      }
    }
  }
}

TEST_CASE("lq: any finite data leave a valid grid and an output on it") {
  const std::vector<Tensor> inputs{Tensor::zeros({2, 40}),
                                   Tensor::full({2, 40}, 0.7f),
                                   Tensor::full({2, 40}, -0.7f),
                                   Tensor::of({0.3f, -2}).view({2, 1}),
                                   Tensor::full({2, 40}, 3e38f),
                                   normal_tensor({2, 40}, 1, 0, 5e37f),
                                   normal_tensor({2, 40}, 1, 0, 1e-39f),
                                   Tensor::full({2, 40}, 1e-45f)};
  for (int bits : {1, 2, 3, 8}) {
    for (const char* init : {"normal", "data"}) {
      for (const Json& json : {weights_json(bits, 2, {{"init", init}}), act_json(bits, {{"init", init}})}) {
        for (const Tensor& x : inputs) {
          const auto lq = make_lq(json);
          for (int step = 0; step < 30; ++step) run(*lq, x);
          check_grid(lq->grid(), 2);
          const Tensor y = run(*lq, x, {});
          CHECK(same_bits(y, snap(y, lq->grid())));
          for (const double v : basis_of(*lq)) CHECK((v > 0 && std::isfinite(v)));
        }
      }
    }
  }
}

TEST_CASE("lq: sums that leave the range of float, or that float could not count, are right") {
  const Json now{{"average", 0}, {"proximal", 0}};
  const auto huge = make_lq(act_json(2, now), {1e36f, 2e36f});
  std::vector<float> values(1000, 1.8e36f);
  for (size_t i = 0; i < 500; ++i) values[i] = -3e38f;
  for (size_t i = 500; i < 600; ++i) values[i] = 9e35f;
  run(*huge, tensor(values));
  CHECK(compare(basis_of(*huge), {9e35, 1.8e36}, 1e-6) == "");
  const auto many = make_lq(act_json(1, now));
  run(*many, Tensor::full({1 << 20}, 1.1f));
  CHECK(compare(basis_of(*many), {1.1f}, 3e-7) == "");
}

TEST_CASE("lq: a pass leaves its basis on the grid until the update is over, or the next pass begins") {
  const auto one = make_lq(act_json(2)), two = make_lq(act_json(2));
  const Doubles before = basis_of(*one);
  const Tensor x = random_tensor({500}, 70, 0, 3);
  for (const auto& lq : {one, two}) {
    const Tensor y = lq->forward({&x, 1}, kTrain);
    CHECK(off_grid(y, lq->grid()) == "");
    CHECK(basis_of(*lq) == before);
  }
  one->after_update();
  CHECK(basis_of(*one) != before);
  const Tensor y = one->forward({&x, 1}, kTrain);
  CHECK(same_bits(two->forward({&x, 1}, kTrain), y));
  CHECK(basis_of(*two) == basis_of(*one));
}

TEST_CASE("lq: what every quantizer promises, threads included") {
  for (const int bits : {1, 2, 3, 7}) {
    for (const char* train : {"qem", "bp"}) {
      const Json more{{"train", train}, {"fan_out", 20}, {"iterations", 1}};
      CHECK(broken_promise(act_json(bits, more), normal_tensor({6, 33333}, 60)) == "");
      CHECK(broken_promise(weights_json(bits, 6, more), normal_tensor({6, 33333}, 60)) == "");
      CHECK(breaks_at_edges(act_json(bits, more)) == "");
      CHECK(breaks_at_edges(weights_json(bits, 1, more)) == "");
    }
  }
}

TEST_CASE("lq: options come back, and what cannot be is refused") {
  const auto lq = make_lq(weights_json(3, 5, {{"iterations", 2}, {"backward", "hard_tanh"}, {"per_channel", false}}));
  const Json config = lq->config();
  CHECK(config["bits"] == 3);
  CHECK(config["backward"] == "hard_tanh");
  CHECK(tensor_of(*lq, "basis").shape() == Shape{1, 3});
  Json again = config;
  again["type"] = "lq";
  CHECK(make_layer(again)->config() == config);
  CHECK(mentions(message_of([] { make_layer(act_json(9)); }), {"/bits"}));
  CHECK(mentions(message_of([] { make_layer(act_json(0)); }), {"/bits"}));
  CHECK(mentions(message_of([] { make_layer(act_json(2, {{"backward", "no"}})); }), {"/backward", "no"}));
  const auto per_channel = make_lq(weights_json(2, 4));
  CHECK(mentions(message_of([&] { run(*per_channel, Tensor::zeros({3, 4})); }), {"4 channels", "[3,4]"}));
  const auto signed_act = make_lq(act_json(1, {{"signed", true}}), {0.5f});
  CHECK(values_of(run(*signed_act, Tensor::of({-1, 1}))) == std::vector<float>{-0.5f, 0.5f});
}

TEST_CASE("lq: one and two threads refit to the same bits") {
  const int before = threads();
  for (const int bits : {2, 7}) {
    std::vector<Tensor> found;
    for (const int n : {1, 2}) {
      set_threads(n);
      for (const Json& json : {act_json(bits), weights_json(bits, 6, {{"fan_out", 20}})}) {
        const auto lq = make_lq(json);
        run(*lq, normal_tensor({6, 33333}, 60));
        found.push_back(tensor_of(*lq, "basis"));
      }
    }
    CHECK(same_bits(found[0], found[2]));
    CHECK(same_bits(found[1], found[3]));
  }
  set_threads(before);
}
