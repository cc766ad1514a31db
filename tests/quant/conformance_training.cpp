#include <cmath>

#include "core/parallel.h"
#include "core/registry.h"
#include "tests/quant/conformance.h"

namespace nibble::test {

namespace {

/// Saved by visit() and config(), another one goes on with the same bits.
std::string check_state(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Json json{{"type", q->type()}};
  json.update(q->config());
  const auto rebuild = [&] { return std::dynamic_pointer_cast<Quantizer>(Registry<Layer>::get().make(Config(json))); };
  if (const auto twin = rebuild(); twin == nullptr || twin->config() != q->config()) return "its options do not return";
  Tensor x = subject.data(6);
  for (int phase = 0; phase < q->phases(); ++phase) {
    train_step(*q, subject, x, phase);
    const auto twin = rebuild();
    const auto from = StateList(*q).all(), to = StateList(*twin).all();
    if (from.size() != to.size()) return "the state of a new one has other tensors";
    for (size_t i = 0; i < from.size(); ++i) {
      if (from[i].first != to[i].first || from[i].second.shape() != to[i].second.shape() ||
          from[i].second.dtype() != to[i].second.dtype())
        return "state '" + from[i].first + "' has another name, shape or type in a new one";
      to[i].second.copy_from(from[i].second);
    }
    if (!same_bits(evaluate(*q, x), evaluate(*twin, x))) return "restored, it evaluates to other values";
    const std::vector<Tensor> before = copy_state(*twin);
    Tensor v = x.clone();
    const int next = std::min(phase + 1, q->phases() - 1);
    const auto expected = [&] {
      const auto again = rebuild();
      const auto state = StateList(*again).all();
      for (size_t i = 0; i < state.size(); ++i) state[i].second.copy_from(before[i]);
      Tensor u = x.clone();
      auto results = train_step(*again, subject, u, next);
      results.push_back(u);
      return results;
    }();
    Tensor original = x.clone();
    const std::vector<Tensor> own = copy_state(*q);
    auto results = train_step(*q, subject, original, next);
    results.push_back(original);
    for (size_t i = 0; i < results.size(); ++i)
      if (results[i].defined() != expected[i].defined() ||
          (results[i].defined() && !same_bits(results[i], expected[i])))
        return "restored, it trains on with other values";
    const auto state = StateList(*q).all();
    for (size_t i = 0; i < state.size(); ++i) state[i].second.copy_from(own[i]);
  }
  return "";
}

std::string check_eval_is_pure(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(7);
  for (int round = 0; round < 2; ++round) {
    const std::vector<Tensor> before = copy_state(*q);
    const Tensor copy = x.clone(), first = evaluate(*q, x);
    evaluate(*q, subject.data(8));
    if (const auto wrong = compare_state(*q, before); !wrong.empty()) return "evaluation: " + wrong;
    if (!same_bits(copy, x)) return "evaluation changes its input";
    if (!same_bits(first, evaluate(*q, x))) return "evaluation gives other values the second time";
    if (round == 0) train(*q, subject, x);
  }
  return "";
}

std::string check_threads(const Subject& subject) {
  const int before = threads();
  std::vector<std::vector<Tensor>> runs;
  for (const int count : {1, 2}) {
    set_threads(count);
    const Shape shape = subject.weight ? Shape{8, 900, 3, 3} : Shape{8, 9, 9, 100};
    const auto q = subject.make(shape);
    Tensor x = normal_tensor(shape, 9);
    std::vector<Tensor> results;
    for (int phase = 0; phase < std::min(2, q->phases()); ++phase) results = train_step(*q, subject, x, phase);
    results.push_back(x);
    results.push_back(evaluate(*q, x));
    for (const Tensor& tensor : copy_state(*q)) results.push_back(tensor);
    runs.push_back(results);
  }
  set_threads(before);
  for (size_t i = 0; i < runs[0].size(); ++i)
    if (runs[0][i].defined() && !same_bits(runs[0][i], runs[1][i]))
      return concat_text("result ", i, " depends on the number of threads");
  return "";
}

/// The gradient exists, is finite and is linear in dy.
std::string check_gradient(const Subject& subject) {
  std::vector<std::vector<Tensor>> runs;
  for (const float upstream : {1.0f, 2.0f}) {
    const auto q = subject.make(subject.shape());
    Tensor x = subject.data(10);
    runs.push_back(train_step(*q, subject, x, 0, 0, upstream));
  }
  for (size_t i = 1; i < runs[0].size(); ++i) {
    const Tensor &one = runs[0][i], &two = runs[1][i];
    if (!one.defined()) return concat_text("gradient ", i - 1, " is missing");
    for (size_t k = 0; k < one.data<float>().size(); ++k) {
      const float g = one.data<float>()[k];
      if (!std::isfinite(g)) return concat_text("gradient ", i - 1, " is not finite");
      if (two.data<float>()[k] != 2 * g) return concat_text("gradient ", i - 1, " is not linear in dy");
    }
  }
  return "";
}

/// dx against central differences of the surrogate that the quantizer declares, element by element. Elements at which
/// the surrogate itself has a kink or a jump are left out, but few of them.
std::string check_surrogate(const Subject& subject) {
  const auto q = subject.make(subject.small_shape());
  Tensor x = subject.data_of(subject.small_shape(), 16);
  const Tensor seen = x.clone();
  const std::vector<Tensor> results = train_step(*q, subject, x, 0, 0);
  if (!results[1].defined()) return "the input has no gradient";
  const Surrogate surrogate = q->surrogate(seen);
  if (!surrogate) return "it declares no surrogate";
  Doubles at = doubles_of(seen);
  const Doubles dy = doubles_of(upstream_gradient(x.shape())), dx = doubles_of(results[1]);
  const auto loss = [&] {
    const Doubles y = surrogate(at);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
    return sum;
  };
  const double step = 1e-7, middle = loss();
  double largest = 0;
  for (const double g : dx) largest = std::max(largest, std::abs(g));
  size_t kinks = 0;
  for (size_t i = 0; i < at.size(); ++i) {
    const double before = at[i];
    at[i] = before + step;
    const double above = loss();
    at[i] = before - step;
    const double below = loss();
    at[i] = before;
    const double allowed = 1e-4 * largest + 1e-6;
    if (std::abs(above - 2 * middle + below) / step > allowed) {
      ++kinks;
    } else if (const double slope = (above - below) / (2 * step); std::abs(slope - dx[i]) > 2 * allowed) {
      return concat_text("element ", i, ", ", before, ": the gradient is ", dx[i], ", the surrogate's ", slope);
    }
  }
  return kinks > at.size() / 10 ? concat_text(kinks, " of ", at.size(), " elements lie at kinks") : "";
}

}  // namespace

std::span<const Check> training_checks() {
  static constexpr Check table[] = {{"state", check_state},
                                    {"pure evaluation", check_eval_is_pure},
                                    {"threads", check_threads},
                                    {"gradient", check_gradient},
                                    {"surrogate", check_surrogate}};
  return table;
}

}  // namespace nibble::test
