#include <cmath>
#include <limits>

#include "core/ops/banded_max_pool.h"
#include "core/parallel.h"
#include "tests/core/ops/reference.h"
#include "tests/support/gradcheck.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// Output extent by enumeration: windows at 0, stride, ... of the padded axis that fit, or (ceil) begin before the end
/// of the input's own pixels until one reaches the end.
int64_t extent(int64_t n, int kernel, int stride, int before, int after, bool ceil) {
  const int64_t padded = n + before + after;
  int64_t count = 0;
  for (int64_t start = 0;; start += stride) {
    if (start + kernel <= padded) {
      ++count;
    } else {
      const bool previous_reached_end = count > 0 && start - stride + kernel >= padded;
      if (ceil && !previous_reached_end && start < before + n) ++count;
      return count;
    }
  }
}

enum class Kind { max, avg };

Doubles pool(Kind kind, Nhwc x, const PoolGeometry& g) {
  const int64_t oh = extent(x.h, g.kernel_h, g.stride_h, g.pad.top, g.pad.bottom, g.ceil_mode);
  const int64_t ow = extent(x.w, g.kernel_w, g.stride_w, g.pad.left, g.pad.right, g.ceil_mode);
  Nhwc y(x.n, oh, ow, x.c);
  for (int64_t n = 0; n < x.n; ++n)
    for (int64_t i = 0; i < oh; ++i)
      for (int64_t j = 0; j < ow; ++j)
        for (int64_t c = 0; c < x.c; ++c) {
          double largest = -INFINITY, total = 0;
          int inside = 0, padded = 0;
          for (int64_t r = i * g.stride_h - g.pad.top; r < i * g.stride_h - g.pad.top + g.kernel_h; ++r)
            for (int64_t s = j * g.stride_w - g.pad.left; s < j * g.stride_w - g.pad.left + g.kernel_w; ++s) {
              padded += r < x.h + g.pad.bottom && s < x.w + g.pad.right;
              if (!x.inside(r, s)) continue;
              ++inside;
              total += x.at(n, r, s, c);
              largest = std::max(largest, x.at(n, r, s, c));
            }
          y.at(n, i, j, c) = kind == Kind::max ? largest : total / (g.count_padding ? padded : inside);
        }
  return y.v;
}

struct Case {
  int64_t n, h, w, c;
  PoolGeometry geometry;
};

std::vector<Case> cases() {
  std::vector<Case> all = {
      {2, 4, 4, 3, {}},
      {1, 5, 7, 2, {.kernel_h = 3, .kernel_w = 3, .pad = {1, 1, 1, 1}}},
      {1, 6, 5, 5, {.kernel_h = 3, .kernel_w = 2, .stride_h = 2, .stride_w = 1, .pad = {0, 1, 0, 1}}},
      {1, 6, 6, 1, {.kernel_h = 3, .kernel_w = 3, .stride_h = 1, .stride_w = 3, .pad = {1, 2, 2, 0}}},
      {1, 4, 4, 2, {.kernel_h = 1, .kernel_w = 1, .stride_h = 3, .stride_w = 2}},
      {1, 3, 4, 17, {.kernel_h = 3, .kernel_w = 4, .stride_h = 1, .stride_w = 1}},
  };
  const size_t plain = all.size();
  for (size_t i = 0; i < plain; ++i) {
    all.push_back(all[i]);
    all.back().geometry.ceil_mode = true;
    all.push_back(all.back());
    all.back().geometry.count_padding = true;
    all.push_back(all[i]);
    all.back().geometry.count_padding = true;
  }
  return all;
}

}  // namespace

TEST_CASE("max_pool: equals a plain loop in every geometry, and the gradient goes to the largest") {
  for (const Case& k : cases()) {
    CAPTURE(k.h);
    CAPTURE(k.geometry.ceil_mode);
    const auto op = [&](const std::vector<Tensor>& in) { return max_pool(in[0], k.geometry); };
    const auto reference = [&](const std::vector<Doubles>& in) {
      return pool(Kind::max, Nhwc(k.n, k.h, k.w, k.c, in[0]), k.geometry);
    };
    CHECK(gradcheck(op, reference, {distinct_tensor({k.n, k.h, k.w, k.c}, 1)}) == "");
  }
}

TEST_CASE("max_pool: rows that come band by band, each once and in order, are pooled to the same") {
  constexpr int64_t kHeight = 83, kWidth = 40, kChannels = 64;
  const Tensor x = random_tensor({2, kHeight, kWidth, kChannels}, 3);
  const int before = threads();
  for (const int n : {1, 2})
    for (const PoolGeometry& g : std::vector<PoolGeometry>{
             {.kernel_h = 3, .kernel_w = 3, .pad = {1, 1, 1, 1}},
             {},
             {.kernel_h = 3, .kernel_w = 2, .stride_h = 1, .stride_w = 1, .pad = {2, 0, 0, 1}},
             {.kernel_h = 2, .kernel_w = 2, .stride_h = 5, .stride_w = 3},
             {.kernel_h = 5, .kernel_w = 3, .stride_h = 3, .pad = {4, 3, 1, 1}, .ceil_mode = true},
             {.kernel_h = kHeight, .kernel_w = kWidth, .stride_h = 1, .stride_w = 1}}) {
      CAPTURE(n);
      CAPTURE(g.kernel_h);
      CAPTURE(g.stride_h);
      set_threads(n);
      const BandedMaxPool bands(x.shape(), g);
      const Tensor y = Tensor::empty(bands.output_shape());
      int64_t image = 0, next = 0, calls = 0;
      bands.run(
          [&](int64_t of, int64_t first, int64_t count, float* to) {
            if (of != image) next = 0;
            CHECK(first >= next);
            CHECK(count > 0);
            image = of;
            next = first + count;
            ++calls;
            constexpr int64_t kRow = kWidth * kChannels;
            std::copy_n(x.data<float>().data() + (of * kHeight + first) * kRow, count * kRow, to);
          },
          y);
      CHECK(image == 1);
      CHECK(calls >= (g.kernel_h == kHeight ? 2 : 4));
      CHECK(same_bits(y, max_pool(x, g)));
    }
  set_threads(before);
  CHECK_THROWS_AS(BandedMaxPool({1, 4, 4, 1}, {.kernel_h = 5}), Error);
}

TEST_CASE("avg_pool: equals a plain loop in every geometry, counting the padding or not") {
  for (const Case& k : cases()) {
    CAPTURE(k.h);
    CAPTURE(k.geometry.ceil_mode);
    CAPTURE(k.geometry.count_padding);
    const auto op = [&](const std::vector<Tensor>& in) { return avg_pool(in[0], k.geometry); };
    const auto reference = [&](const std::vector<Doubles>& in) {
      return pool(Kind::avg, Nhwc(k.n, k.h, k.w, k.c, in[0]), k.geometry);
    };
    CHECK(gradcheck(op, reference, {random_tensor({k.n, k.h, k.w, k.c}, 1)}) == "");
  }
}

TEST_CASE("pooling: output extents of known networks") {
  const auto height = [](int64_t n, const PoolGeometry& g) { return max_pool(Tensor::zeros({1, n, n, 1}), g).dim(1); };
  CHECK(height(112, {.kernel_h = 3, .kernel_w = 3, .pad = {1, 1, 1, 1}}) == 56);  // ResNet stem
  CHECK(height(55, {.kernel_h = 3, .kernel_w = 3}) == 27);                        // AlexNet
  CHECK(height(111, {.kernel_h = 3, .kernel_w = 3, .ceil_mode = true}) == 55);    // SqueezeNext at 227
  CHECK(height(109, {.kernel_h = 3, .kernel_w = 3, .ceil_mode = true}) == 54);    // at 224
  CHECK(height(112, {.kernel_h = 3, .kernel_w = 3, .ceil_mode = true}) == 56);
  // Rounding up would begin a window in the bottom padding: dropped.
  CHECK(height(3, {.kernel_h = 2, .kernel_w = 2, .pad = {1, 1, 1, 1}, .ceil_mode = true}) == 2);
}

TEST_CASE("max_pool: padding never wins, the first of equal maxima gets the gradient, NaN is kept") {
  const PoolGeometry padded{.kernel_h = 3, .kernel_w = 3, .pad = {1, 1, 1, 1}};
  for (const float v : values_of(max_pool(Tensor::full({1, 4, 4, 2}, -5.0f), padded))) CHECK(v == -5);
  Tensor x = Tensor::full({1, 2, 2, 1}, 3.0f).set_requires_grad();
  backward(sum(max_pool(x, {})));
  CHECK(values_of(x.grad()) == std::vector<float>{1, 0, 0, 0});
  Tensor bad = Tensor::from({1, 2, 2, 1}, {1.0f, std::numeric_limits<float>::quiet_NaN(), 5.0f, 2.0f});
  CHECK(std::isnan(max_pool(bad, {}).item()));
  CHECK(max_pool(Tensor::full({1, 2, 2, 1}, -INFINITY), {}).item() == -INFINITY);
}

TEST_CASE("global_avg_pool: mean over the pixels of each image") {
  const auto op = [](const std::vector<Tensor>& in) { return global_avg_pool(in[0]); };
  const auto reference = [](const std::vector<Doubles>& in) {
    Nhwc x(2, 3, 5, 7, in[0]);
    Doubles y(14);
    for (int64_t n = 0; n < 2; ++n)
      for (int64_t p = 0; p < 15; ++p)
        for (int64_t c = 0; c < 7; ++c) y[static_cast<size_t>(n * 7 + c)] += x.at(n, p / 5, p % 5, c) / 15;
    return y;
  };
  CHECK(gradcheck(op, reference, {random_tensor({2, 3, 5, 7}, 3)}) == "");
  CHECK(global_avg_pool(Tensor::zeros({2, 3, 5, 7})).shape() == Shape{2, 7});
}

TEST_CASE("pooling: impossible geometry is an error that says why") {
  const Tensor x = Tensor::zeros({1, 4, 4, 1});
  CHECK_THROWS_WITH_AS(max_pool(x, {.kernel_h = 5, .kernel_w = 2}),
                       "max_pool: a window of 5 pixels does not fit into 4 padded by 0 and 0 (input [1,4,4,1])", Error);
  CHECK_THROWS_AS(avg_pool(x, {.pad = {2, 0, 0, 0}}), Error);
  CHECK_THROWS_AS(avg_pool(x, {.pad = {-1, 0, 0, 0}}), Error);
  CHECK_THROWS_AS(avg_pool(x, {.stride_h = 0}), Error);
  CHECK_THROWS_AS(max_pool(Tensor::zeros({4, 4}), {}), Error);
  CHECK_THROWS_AS(global_avg_pool(Tensor::zeros({2, 0, 5, 7})), Error);
}

TEST_CASE("pooling: gradients have the same bits with any number of threads") {
  const Tensor x = random_tensor({7, 23, 23, 16}, 1);
  const PoolGeometry g{.kernel_h = 3, .kernel_w = 3, .pad = {1, 1, 1, 1}};
  const auto run = [&](int n) {
    set_threads(n);
    const Tensor leaf = x.clone().set_requires_grad();
    const Tensor y = add(max_pool(leaf, g), avg_pool(leaf, g));
    backward(weighted_sum(y, random_tensor(y.shape(), 2)));
    return leaf.grad();
  };
  const int before = threads();
  const Tensor one = run(1);
  CHECK(same_bits(run(3), one));
  set_threads(before);
}
