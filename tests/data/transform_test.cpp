#include "data/transform.h"

#include <array>
#include <cmath>
#include <set>

#include "data/resize.h"
#include "tests/data/fixtures.h"
#include "tests/data/golden.h"

using namespace nibble;
using namespace nibble::data_test;

namespace {

Pipeline pipeline(const std::string& json) { return Pipeline(parse_config(json, "t.json")); }

Image applied(const std::string& json, const Image& image, uint64_t seed) {
  return pipeline(json).apply(image, Rng(seed));
}

std::vector<uint8_t> pixel(const Image& image, int y, int x) {
  const auto at = image.pixels.begin() + (int64_t{y} * image.width + x) * 3;
  return {at, at + 3};
}

}  // namespace

TEST_CASE("resize: agrees with Pillow's bilinear filter, shrinking, growing and in one direction only") {
  CHECK(distance(resize(pattern(13, 17), 5, 7).pixels, golden::resized_13x17_to_5x7) <= 1);
  CHECK(distance(resize(pattern(7, 5), 11, 16).pixels, golden::resized_7x5_to_11x16) <= 1);
  CHECK(distance(resize(pattern(20, 20), 9, 20).pixels, golden::resized_20x20_to_9x20) <= 1);
  CHECK(distance(resize(pattern(3, 40), 3, 6).pixels, golden::resized_3x40_to_3x6) <= 1);
  CHECK(distance(resize(pattern(1, 1), 4, 3).pixels, golden::resized_1x1_to_4x3) <= 1);
  const std::string squash = R"([{"type": "resize", "size": 8, "keep_aspect": false}])";
  CHECK(distance(applied(squash, pattern(75, 50), 1).pixels, golden::resized_75x50_to_8x8) <= 1);
  CHECK(resize(pattern(9, 8), 9, 8).pixels == pattern(9, 8).pixels);
}

TEST_CASE("resize: the shorter side gets the size, the longer one follows rounded down") {
  const Image wide = resize_shorter(pattern(30, 50), 20), tall = resize_shorter(pattern(50, 30), 20);
  CHECK(wide.height == 20);
  CHECK(wide.width == 33);
  CHECK(tall.height == 33);
  CHECK(tall.width == 20);
  const Image square = applied(R"([{"type": "resize", "size": 12, "keep_aspect": false}])", pattern(30, 50), 1);
  CHECK(square.height == 12);
  CHECK(square.width == 12);
  CHECK(mentions(error_of([] { resize_shorter(pattern(1, 4000), 16384); }), {"resize", "too large", "1x4000"}));
  CHECK(mentions(error_of([] { resize(Image{}, 2, 2); }), {"resize", "empty"}));
}

TEST_CASE("center_crop: cuts the middle, half pixels rounded to even, and refuses small images") {
  const Image image = pattern(7, 10);
  const Image middle = applied(R"([{"type": "center_crop", "size": 4}])", image, 1);
  CHECK(pixel(middle, 0, 0) == pixel(image, 2, 3));  // offset 1.5 -> 2 and 3
  CHECK(pixel(middle, 3, 3) == pixel(image, 5, 6));
  CHECK(mentions(error_of([&] { applied(R"(["center_crop"])", image, 1); }), {"center_crop", "224", "7x10", "resize"}));
}

TEST_CASE("flip: mirrors left and right, with the given probability") {
  const Image image = pattern(5, 6);
  const Image flipped = applied(R"([{"type": "flip", "p": 1}])", image, 1);
  for (int y = 0; y < 5; ++y)
    for (int x = 0; x < 6; ++x) CHECK(pixel(flipped, y, x) == pixel(image, y, 5 - x));
  CHECK(applied(R"([{"type": "flip", "p": 0}])", image, 1).pixels == image.pixels);
  int mirrored = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) mirrored += applied(R"(["flip"])", image, seed).pixels != image.pixels;
  CHECK(mirrored > 150);
  CHECK(mirrored < 250);
}

TEST_CASE("pad_crop: every shift up to the padding occurs, and the border is black, a colour or a mirror image") {
  const Image image = pattern(6, 6);
  // The result at (y, x) is the image at (y + dy, x + dx).
  const auto shift_of = [&](const Image& shown, const std::function<std::vector<uint8_t>(int, int)>& expected) {
    for (int dy = -2; dy <= 2; ++dy)
      for (int dx = -2; dx <= 2; ++dx) {
        bool same = true;
        for (int y = 0; y < 6 && same; ++y)
          for (int x = 0; x < 6 && same; ++x) same = pixel(shown, y, x) == expected(y + dy, x + dx);
        if (same) return (dy + 2) * 5 + dx + 2;
      }
    return -1;
  };
  const auto constant = [&](std::vector<uint8_t> colour) {
    return [&image, colour](int y, int x) { return y < 0 || x < 0 || y > 5 || x > 5 ? colour : pixel(image, y, x); };
  };
  const auto mirror = [&](int y, int x) {
    const auto inside = [](int i) { return i < 0 ? -i : i > 5 ? 10 - i : i; };
    return pixel(image, inside(y), inside(x));
  };
  std::set<int> black, grey, reflected;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    black.insert(shift_of(applied(R"([{"type": "pad_crop", "pad": 2}])", image, seed), constant({0, 0, 0})));
    grey.insert(shift_of(applied(R"([{"type": "pad_crop", "pad": 2, "fill": [125, 123, 114]}])", image, seed),
                         constant({125, 123, 114})));
    reflected.insert(shift_of(applied(R"([{"type": "pad_crop", "pad": 2, "mode": "reflect"}])", image, seed), mirror));
  }
  for (const auto& shifts : {black, grey, reflected}) {
    CHECK(shifts.size() == 25);
    CHECK(*shifts.begin() == 0);
  }
  const Image tiny = applied(R"([{"type": "pad_crop", "pad": 9}])", pattern(2, 3), 5);  // may lie wholly in the border
  CHECK(tiny.pixels.size() == 18);
  const std::string reflect = R"([{"type": "pad_crop", "pad": 6, "mode": "reflect"}])";
  CHECK(mentions(error_of([&] { applied(reflect, image, 1); }), {"pad_crop", "6x6"}));
}

TEST_CASE("random_resized_crop: gives the size it is told for images of any shape") {
  for (const auto& [height, width] : {std::pair{40, 60}, {3, 90}, {90, 2}, {1, 1}})
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const Image out = applied(R"([{"type": "random_resized_crop", "size": 11}])", pattern(height, width), seed);
      CHECK(out.height == 11);
      CHECK(out.width == 11);
    }
  const std::string whole = R"([{"type": "random_resized_crop", "size": 8, "scale": [1, 1], "ratio": [1, 1]}])";
  CHECK(applied(whole, pattern(16, 16), 3).pixels == resize(pattern(16, 16), 8, 8).pixels);
}

TEST_CASE("random_crop: every place occurs, and small images are refused") {
  const Image image = pattern(6, 7);
  std::set<std::pair<int, int>> places;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Image cut = applied(R"([{"type": "random_crop", "size": 5}])", image, seed);
    REQUIRE(cut.height == 5);
    REQUIRE(cut.width == 5);
    for (int top = 0; top < 2; ++top)
      for (int left = 0; left < 3; ++left)
        if (cut.pixels == crop(image, top, left, 5, 5).pixels) places.insert({top, left});
  }
  CHECK(places.size() == 6);
  CHECK(mentions(error_of([&] { applied(R"(["random_crop"])", image, 1); }), {"random_crop", "224", "6x7", "resize"}));
}

TEST_CASE("color_jitter: each change is fb.resnet.torch's blend, in every order") {
  const Image image = pattern(9, 8);
  const auto grey = [](const double* p) { return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]; };
  std::set<std::array<size_t, 3>> orders;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng = Rng(seed).child(0);
    std::array<size_t, 3> order = {0, 1, 2};
    std::swap(order[2], order[rng.next_below(3)]);
    std::swap(order[1], order[rng.next_below(2)]);
    orders.insert(order);
    const std::array<double, 3> strength = {0.4, 0.2, 0.3};
    std::vector<double> x(image.pixels.begin(), image.pixels.end());
    for (const size_t kind : order) {
      const double a = 1 + strength[kind] * (2 * static_cast<double>(rng.next_uniform()) - 1);
      CHECK(std::abs(a - 1) <= strength[kind]);
      double mean = 0;
      for (size_t i = 0; i < x.size(); i += 3) mean += grey(&x[i]) * 3 / static_cast<double>(x.size());
      for (size_t i = 0; i < x.size(); i += 3) {
        const double g = kind == 0 ? 0 : kind == 1 ? mean : grey(&x[i]);
        for (size_t c = 0; c < 3; ++c) x[i + c] = a * x[i + c] + (1 - a) * g;
      }
    }
    std::vector<uint8_t> expected;
    for (const double v : x) expected.push_back(static_cast<uint8_t>(std::lround(std::clamp(v, 0.0, 255.0))));
    const std::string json = R"([{"type": "color_jitter", "brightness": 0.4, "contrast": 0.2, "saturation": 0.3}])";
    CHECK(distance(applied(json, image, seed).pixels, expected) <= 1);
  }
  CHECK(orders.size() == 6);
  const std::string none = R"([{"type": "color_jitter", "brightness": 0, "contrast": 0, "saturation": 0}])";
  CHECK(applied(none, image, 1).pixels == image.pixels);
  CHECK(applied(R"(["color_jitter"])", image, 1).pixels != image.pixels);
}

TEST_CASE("lighting: shifts all pixels by one colour with the variances of ImageNet's components") {
  const Image grey{1, 1, {128, 128, 128}};
  constexpr double axis[3][3] = {{-0.5675, 0.7192, 0.4009}, {-0.5808, -0.0045, -0.8140}, {-0.5836, -0.6948, 0.4203}};
  constexpr double variance[3] = {0.2175, 0.0188, 0.0045};
  constexpr int count = 4000;
  std::array<double, 3> square{};
  for (uint64_t seed = 0; seed < count; ++seed) {
    const Image lit = applied(R"([{"type": "lighting", "std": 0.5}])", grey, seed);
    for (size_t c = 0; c < 3; ++c) square[c] += std::pow(lit.pixels[c] - 128.0, 2) / count;
  }
  for (size_t c = 0; c < 3; ++c) {
    double expected = 0;
    for (size_t k = 0; k < 3; ++k) expected += std::pow(axis[c][k] * variance[k] * 0.5 * 255, 2);
    CHECK(square[c] == doctest::Approx(expected + 1.0 / 12).epsilon(0.08));  // 1/12: of rounding
  }
  const Image image = pattern(4, 5);
  const Image lit = applied(R"(["lighting"])", image, 3);
  const int red = lit.pixels[3] - image.pixels[3];
  for (size_t i = 0; i < image.pixels.size(); i += 3) CHECK(lit.pixels[i] == std::clamp(image.pixels[i] + red, 0, 255));
  CHECK(applied(R"([{"type": "lighting", "std": 0}])", image, 3).pixels == image.pixels);
}

TEST_CASE("pipeline: a bad list is a usage error at its pointer") {
  const auto message = [](const std::string& json) { return error_of([&] { pipeline(json); }); };
  CHECK(mentions(message(R"(["flip", "pad_crp"])"), {"t.json", "/1", "pad_crp", "did you mean 'pad_crop'"}));
  CHECK(mentions(message(R"([{"type": "pad_crop", "pads": 4}])"), {"/0", "unknown key 'pads'", "pad"}));
  CHECK(mentions(message(R"([{"type": "pad_crop", "pad": -4}])"), {"/0/pad", "-4"}));
  CHECK(mentions(message(R"([{"type": "pad_crop", "fill": [1, 2]}])"), {"/0", "fill", "3 values"}));
  CHECK(mentions(message(R"([{"type": "flip", "p": 1.5}])"), {"/0/p", "1.5"}));
  CHECK(mentions(message(R"([{"type": "resize", "size": 0}])"), {"/0/size"}));
  CHECK(mentions(message(R"([{"type": "random_resized_crop", "ratio": [2, 1]}])"), {"/0", "ratio", "rising"}));
  CHECK(mentions(message(R"([7])"), {"/0", "number"}));
  CHECK(mentions(message(R"({"type": "flip"})"), {"list of transforms", "object"}));
  CHECK(mentions(error_of([] { make_source(R"({"type": "embedded", "transform": ["flip"]})"); }),
                 {"/transform", "augment"}));
}
