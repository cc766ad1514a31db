#include <cmath>
#include <functional>
#include <vector>

#include "core/ops.h"
#include "core/tape.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

Tensor wave(const Shape& shape, float phase) {
  Tensor t = Tensor::empty(shape);
  float k = phase;
  for (float& v : t.mutable_data<float>()) v = std::sin(k += 0.7f);
  return t;
}

std::vector<double> doubles(const Tensor& t) {
  const auto v = t.data<float>();
  return {v.begin(), v.end()};
}

struct Problem {
  Shape x, w;
  bool bias;
  ConvGeometry geometry;
};

// sum over outputs of out(i)^2 / 2 + out(i) * i / 10, in double: a loss whose gradient differs at every output.
double loss_of(const Problem& p, const Shape& ys, const std::vector<double>& x, const std::vector<double>& w,
               const std::vector<double>& bias) {
  const ConvGeometry& g = p.geometry;
  const int64_t in = p.w[1], per = p.w[0] / g.groups;
  double loss = 0;
  size_t i = 0;
  for (int64_t n = 0; n < ys[0]; ++n)
    for (int64_t oh = 0; oh < ys[1]; ++oh)
      for (int64_t ow = 0; ow < ys[2]; ++ow)
        for (int64_t o = 0; o < ys[3]; ++o, ++i) {
          double sum = bias.empty() ? 0 : bias[static_cast<size_t>(o)];
          for (int64_t c = 0; c < in; ++c)
            for (int64_t kh = 0; kh < p.w[2]; ++kh)
              for (int64_t kw = 0; kw < p.w[3]; ++kw) {
                const int64_t r = oh * g.stride_h + kh * g.dilation_h - g.pad.top;
                const int64_t q = ow * g.stride_w + kw * g.dilation_w - g.pad.left;
                if (r < 0 || r >= p.x[1] || q < 0 || q >= p.x[2]) continue;
                sum += x[static_cast<size_t>(((n * p.x[1] + r) * p.x[2] + q) * p.x[3] + o / per * in + c)] *
                       w[static_cast<size_t>(((o * in + c) * p.w[2] + kh) * p.w[3] + kw)];
              }
          loss += sum * sum / 2 + sum * static_cast<double>(i) / 10;
        }
  return loss;
}

void check_gradient(const Tensor& t, std::vector<double> at,
                    const std::function<double(const std::vector<double>&)>& f) {
  REQUIRE(t.grad().defined());
  const auto got = t.grad().data<float>();
  double gap = 0, scale = 1;
  for (size_t i = 0; i < at.size(); ++i) {
    const double here = at[i], step = 1e-4;
    at[i] = here + step;
    const double up = f(at);
    at[i] = here - step;
    const double want = (up - f(at)) / (2 * step);
    at[i] = here;
    gap = std::max(gap, std::fabs(want - got[i]));
    scale = std::max(scale, std::fabs(want));
  }
  CHECK(gap / scale < 1e-5);
}

TEST_CASE("conv2d: gradients agree with central differences of a plain loop") {
  const Problem problems[] = {{{2, 4, 5, 3}, {4, 3, 3, 3}, true, square_geometry(1, 1)},
                              {{1, 6, 5, 4}, {6, 2, 3, 2}, true, {2, 1, {0, 1, 1, 0}, 1, 2, 2}},
                              {{2, 5, 5, 3}, {3, 1, 3, 3}, false, square_geometry(2, 1, 1, 3)},
                              {{2, 3, 3, 5}, {4, 5, 1, 1}, true, square_geometry(2, 0)}};
  for (const Problem& p : problems) {
    Tensor x = wave(p.x, 0.1f).set_requires_grad(), w = wave(p.w, 0.4f).set_requires_grad(), bias;
    if (p.bias) bias = wave({p.w[0]}, 0.9f).set_requires_grad();
    const Tensor y = conv2d(x, w, bias, p.geometry);
    Tensor weight = Tensor::empty(y.shape());
    // The tape gets dL/dy through sum(record(y)), so that this test needs no other op than `sum`.
    for (int64_t i = 0; i < y.numel(); ++i)
      weight.mutable_data<float>()[static_cast<size_t>(i)] =
          y.data<float>()[static_cast<size_t>(i)] + static_cast<float>(i) / 10;
    backward(record("loss", Tensor::scalar(0), {y}, [weight](const Tensor&) -> Grads { return {weight}; }));

    const auto dx = doubles(x), dw = doubles(w), db = p.bias ? doubles(bias) : std::vector<double>{};
    check_gradient(x, dx, [&](const auto& v) { return loss_of(p, y.shape(), v, dw, db); });
    check_gradient(w, dw, [&](const auto& v) { return loss_of(p, y.shape(), dx, v, db); });
    if (p.bias) check_gradient(bias, db, [&](const auto& v) { return loss_of(p, y.shape(), dx, dw, v); });
  }
}

TEST_CASE("conv2d: an input that requires no gradient gets none") {
  const Tensor x = wave({1, 4, 4, 3}, 0);
  Tensor w = wave({5, 3, 3, 3}, 0).set_requires_grad();
  const Tensor y = conv2d(x, w, {}, square_geometry(1, 1));
  const Grads grads = y.node()->backward(wave(y.shape(), 1));
  REQUIRE(grads.size() == 3);
  CHECK_FALSE(grads[0].defined());
  CHECK(grads[1].defined());
  CHECK_FALSE(grads[2].defined());
}

TEST_CASE("conv2d: an empty batch has an empty output and zero weight gradients") {
  const Tensor x = Tensor::zeros({0, 4, 4, 3});
  Tensor w = wave({5, 3, 3, 3}, 0).set_requires_grad(), bias = Tensor::zeros({5}).set_requires_grad();
  const Tensor y = conv2d(x, w, bias, square_geometry(2, 1));
  CHECK(y.shape() == Shape{0, 2, 2, 5});
  const Grads grads = y.node()->backward(y.detach());
  for (const float v : grads[1].data<float>()) CHECK(v == 0);
  for (const float v : grads[2].data<float>()) CHECK(v == 0);
  // Maps narrower than a tile are regrouped; of no pixels there is nothing to regroup.
  const Tensor narrow = conv2d(Tensor::zeros({0, 1, 1, 3}), wave({5, 3, 1, 1}, 0), bias, square_geometry());
  CHECK(narrow.shape() == Shape{0, 1, 1, 5});
}

TEST_CASE("conv2d: errors say what was expected and what was found") {
  const Tensor x = Tensor::zeros({1, 8, 8, 32});
  CHECK_THROWS_WITH_AS(conv2d(x, Tensor::zeros({16, 16, 3, 3}), {}, square_geometry(1, 1)),
                       "conv2d: weight expects 16 input channels, input has 32 (input [1,8,8,32], weight [16,16,3,3], "
                       "groups 1)",
                       Error);
  CHECK_THROWS_WITH_AS(conv2d(x, Tensor::zeros({16, 32, 11, 3}), {}, square_geometry(1, 1)),
                       "conv2d: a window of 11 pixels (kernel 11, dilation 1) does not fit into 8 pixels padded by 1 "
                       "and 1",
                       Error);
  CHECK_THROWS_WITH_AS(conv2d(x, Tensor::zeros({16, 32, 3, 3}), Tensor::zeros({15}), square_geometry(1, 1)),
                       "conv2d: bias must have 16 elements, got [15] (weight [16,32,3,3])", Error);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({16, 32, 3, 3}), {}, square_geometry(0, 1)), Error);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({16, 32, 3, 3}), {}, square_geometry(1, -1)), Error);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({16, 32, 3, 3}), {}, square_geometry(1, 1, 1, 3)), Error);
  CHECK_THROWS_AS(conv2d(Tensor::zeros({8, 8, 32}), Tensor::zeros({16, 32, 3, 3}), {}, {}), Error);
}

}  // namespace
}  // namespace nibble
