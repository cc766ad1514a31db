#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/lq.h"
#include "tests/quant/baseline_support.h"

/// LQ-Nets by the paper's formulas, for the tests of quant/lq.cpp and what it is made of.
namespace nibble::test {

inline const Pass kTrain{.mode = Mode::train};
inline constexpr float kInf = std::numeric_limits<float>::infinity();

inline Json weights_json(int bits, int channels = 1, const Json& more = Json::object()) {
  Json json{{"type", "lq"}, {"role", "weight"}, {"signed", true}, {"bits", bits}, {"channels", channels}};
  json.update(more);
  return json;
}

inline Json act_json(int bits, const Json& more = Json::object()) {
  Json json{{"type", "lq"}, {"bits", bits}};
  json.update(more);
  return json;
}

inline Tensor tensor_of(Layer& lq, const std::string& name) { return States(lq).all.at(name); }

inline std::shared_ptr<Quantizer> make_lq(const Json& json, const std::vector<float>& basis = {}) {
  auto lq = make_quantizer(json);
  const Tensor stored = tensor_of(*lq, "basis");
  if (!basis.empty()) stored.copy_from(Tensor::from(stored.shape(), basis));
  return lq;
}

inline std::vector<double> basis_of(Layer& lq) { return doubles_of(tensor_of(lq, "basis")); }

/// A pass, and what an optimizer step does after it.
inline Tensor run(Layer& lq, const Tensor& x, const Pass& pass = kTrain) {
  const Tensor y = lq.forward({&x, 1}, pass);
  lq.after_update();
  return y;
}

/// The gradient of the input for a given gradient of the output.
inline Tensor input_gradient(Layer& lq, const Tensor& x, const Tensor& dy) {
  Tensor leaf = x.clone().set_requires_grad();
  backward(weighted_sum(run(lq, leaf), dy));
  return leaf.grad();
}

/// The paper by its formulas, in double, with B written out.
struct Paper {
  double lo;
  Doubles v;

  double level(size_t code) const {
    double sum = 0;
    for (size_t k = 0; k < v.size(); ++k) sum += v[k] * bit(code, k);
    return sum;
  }
  double bit(size_t code, size_t k) const { return (code >> k & 1) != 0 ? 1 : lo; }
  /// The code of the nearest level, of two the lower.
  size_t code(double x) const {
    size_t best = 0;
    for (size_t c = 1; c < size_t{1} << v.size(); ++c) {
      const double gain = std::abs(x - level(best)) - std::abs(x - level(c));
      if (gain > 1e-12 || (gain > -1e-12 && level(c) < level(best) - 1e-12)) best = c;
    }
    return best;
  }
  /// Minimises |B^T v' - x|^2 + delta |v' - v|^2 by Gauss's elimination.
  Doubles solve(const Doubles& x, double delta) const {
    const size_t n = v.size();
    std::vector<Doubles> rows(n, Doubles(n + 1, 0.0));
    for (size_t i = 0; i < n; ++i) {
      rows[i][i] = delta;
      rows[i][n] = delta * v[i];
    }
    for (const double value : x) {
      const size_t c = code(value);
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < n; ++j) rows[i][j] += bit(c, i) * bit(c, j);
        rows[i][n] += bit(c, i) * value;
      }
    }
    for (size_t p = 0; p < n; ++p) {
      for (size_t i = p + 1; i < n; ++i)
        if (std::abs(rows[i][p]) > std::abs(rows[p][p])) std::swap(rows[i], rows[p]);
      for (size_t i = 0; i < n; ++i) {
        if (i == p) continue;
        const double factor = rows[i][p] / rows[p][p];
        for (size_t j = p; j <= n; ++j) rows[i][j] -= factor * rows[p][j];
      }
    }
    Doubles solution;
    for (size_t i = 0; i < n; ++i) solution.push_back(rows[i][n] / rows[i][i]);
    return solution;
  }
  Doubles quantize(const Doubles& x) const {
    Doubles y;
    for (const double value : x) y.push_back(level(code(value)));
    return y;
  }
};

inline const std::vector<float> kWeights{-0.9f, -0.45f, -0.2f, -0.05f, 0.1f, 0.3f, 0.55f, 1.0f};
inline const std::vector<float> kActivations{0, 0, 0.1f, 0.3f, 0.5f, 0.8f, 1.2f, 1.7f, 2.5f, 0.05f};

inline Tensor tensor(const std::vector<float>& values) {
  return Tensor::from({static_cast<int64_t>(values.size())}, values);
}

}  // namespace nibble::test
