#include "core/ops.h"
#include "tests/core/ops/reference.h"
#include "tests/support/gradcheck.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

TEST_CASE("concat: joins along the last axis and splits the gradient") {
  const auto op = [](const std::vector<Tensor>& in) { return concat(in); };
  const auto reference = [](const std::vector<Doubles>& in) {
    Nhwc a(2, 3, 2, 4, in[0]), b(2, 3, 2, 1, in[1]), c(2, 3, 2, 5, in[2]), y(2, 3, 2, 10);
    for (int64_t p = 0; p < 12; ++p)
      for (int64_t k = 0; k < 10; ++k) {
        const int64_t n = p / 6, i = p / 2 % 3, j = p % 2;
        y.at(n, i, j, k) = k < 4 ? a.at(n, i, j, k) : k < 5 ? b.at(n, i, j, k - 4) : c.at(n, i, j, k - 5);
      }
    return y.v;
  };
  CHECK(gradcheck(op, reference,
                  {random_tensor({2, 3, 2, 4}, 1), random_tensor({2, 3, 2, 1}, 2), random_tensor({2, 3, 2, 5}, 3)}) ==
        "");
  const std::vector<Tensor> wrong = {Tensor::zeros({2, 3, 2, 4}), Tensor::zeros({2, 3, 1, 4})};
  CHECK_THROWS_WITH_AS(concat(wrong), "concat: shapes differ before the last axis: [2,3,2,4] and [2,3,1,4]", Error);
  CHECK_THROWS_AS(concat(std::span<const Tensor>{}), Error);
}

TEST_CASE("reshape: keeps the elements and reshapes the gradient back") {
  const auto op = [](const std::vector<Tensor>& in) { return reshape(in[0], {6, 4}); };
  CHECK(gradcheck(op, [](const std::vector<Doubles>& in) { return in[0]; }, {random_tensor({2, 3, 4}, 1)}) == "");
  CHECK_THROWS_WITH_AS(reshape(Tensor::zeros({2, 3}), {7}), "reshape: [2,3] has 6 elements, [7] has 7", Error);
}

TEST_CASE("flatten: orders features (c, h, w), as weights from PyTorch expect") {
  const auto op = [](const std::vector<Tensor>& in) { return flatten(in[0]); };
  for (const auto& [h, w, c] : {std::array<int64_t, 3>{2, 3, 4}, {1, 1, 5}, {3, 2, 1}}) {
    const int64_t height = h, width = w, channels = c;
    const auto reference = [=](const std::vector<Doubles>& in) {
      Nhwc x(2, height, width, channels, in[0]);
      Doubles y;
      for (int64_t n = 0; n < 2; ++n)
        for (int64_t k = 0; k < channels; ++k)
          for (int64_t i = 0; i < height; ++i)
            for (int64_t j = 0; j < width; ++j) y.push_back(x.at(n, i, j, k));
      return y;
    };
    CHECK(gradcheck(op, reference, {random_tensor({2, height, width, channels}, 1)}) == "");
  }
  CHECK(flatten(Tensor::zeros({2, 3, 4, 5})).shape() == Shape{2, 60});
  CHECK_THROWS_AS(flatten(Tensor::zeros({2, 3})), Error);
}

TEST_CASE("subsample: takes rows and columns 0, stride, 2 stride, ...") {
  for (const int stride : {1, 2, 3}) {
    CAPTURE(stride);
    const auto op = [=](const std::vector<Tensor>& in) { return subsample(in[0], stride); };
    const auto reference = [=](const std::vector<Doubles>& in) {
      Nhwc x(2, 5, 4, 3, in[0]);
      Doubles y;
      for (int64_t n = 0; n < 2; ++n)
        for (int64_t i = 0; i < 5; i += stride)
          for (int64_t j = 0; j < 4; j += stride)
            for (int64_t c = 0; c < 3; ++c) y.push_back(x.at(n, i, j, c));
      return y;
    };
    CHECK(gradcheck(op, reference, {random_tensor({2, 5, 4, 3}, 1)}) == "");
  }
  CHECK(subsample(Tensor::zeros({2, 5, 4, 3}), 2).shape() == Shape{2, 3, 2, 3});
  CHECK_THROWS_AS(subsample(Tensor::zeros({2, 5, 4, 3}), 0), Error);
}

TEST_CASE("pad_channels: zeros in front and behind") {
  const auto op = [](const std::vector<Tensor>& in) { return pad_channels(in[0], 1, 2); };
  const auto reference = [](const std::vector<Doubles>& in) {
    Doubles y;
    for (size_t row = 0; row < 12; ++row) {
      y.push_back(0);
      for (size_t c = 0; c < 3; ++c) y.push_back(in[0][row * 3 + c]);
      y.insert(y.end(), 2, 0.0);
    }
    return y;
  };
  CHECK(gradcheck(op, reference, {random_tensor({2, 3, 2, 3}, 1)}) == "");
  CHECK_THROWS_AS(pad_channels(Tensor::zeros({2, 3}), -1, 0), Error);
}
