#include "data/drawing.h"
#include "tests/data/fixtures.h"

using namespace nibble;
using namespace nibble::data_test;

namespace {

uint64_t checksum_of_first(const Dataset& set, int64_t count) {
  std::vector<uint8_t> bytes;
  for (int64_t i = 0; i < count; ++i) {
    const Sample sample = set.get(i);
    bytes.push_back(static_cast<uint8_t>(sample.label));
    bytes.insert(bytes.end(), sample.image.pixels.begin(), sample.image.pixels.end());
  }
  return checksum(bytes);
}

}  // namespace

TEST_CASE("embedded: the same images on every machine, for every seed others") {
  const auto source = make_source(R"({"type": "embedded", "train": 60, "test": 40})");
  CHECK(checksum_of_first(*source->open(Split::train), 60) == 15252501212763631298u);
  CHECK(checksum_of_first(*source->open(Split::test), 40) == 10298970307316542668u);
  const auto more = make_source(R"({"type": "embedded", "train": 100})");
  CHECK(checksum_of_first(*more->open(Split::train), 60) == checksum_of_first(*source->open(Split::train), 60));
  const auto other = make_source(R"({"type": "embedded", "train": 60, "seed": 2})");
  CHECK(checksum_of_first(*other->open(Split::train), 60) != checksum_of_first(*source->open(Split::train), 60));
}

TEST_CASE("embedded: ten classes of 32x32 images, equally frequent") {
  const auto source = make_source(R"({"type": "embedded", "train": 200})");
  const auto train = source->open(Split::train);
  CHECK(train->size() == 200);
  CHECK(source->classes() == 10);
  CHECK(source->class_names().size() == 10);
  CHECK(source->side() == 32);
  std::vector<int> count(10);
  for (int64_t i = 0; i < 200; ++i) {
    const Sample sample = train->get(i);
    CHECK(sample.image.pixels.size() == 3072);
    ++count[static_cast<size_t>(sample.label)];
  }
  for (const int n : count) CHECK(n == 20);
  CHECK_THROWS_AS(train->get(-1), Error);
}

TEST_CASE("embedded: the mean colour does not give the class away") {
  // The class means over many images lie close together compared with how much single images vary.
  double mean[10] = {}, total = 0, square = 0;
  constexpr int kEach = 60;
  for (int c = 0; c < kFigures; ++c)
    for (int i = 0; i < kEach; ++i) {
      double sum = 0;
      for (const uint8_t v : draw_figure(static_cast<Figure>(c), Rng(5, static_cast<uint64_t>(c * 1000 + i))).pixels)
        sum += v;
      sum /= 3072;
      mean[c] += sum / kEach;
      total += sum;
      square += sum * sum;
    }
  const double n = kFigures * kEach, spread = std::sqrt(square / n - total / n * (total / n));
  for (const double m : mean) CHECK(std::abs(m - total / n) < 0.5 * spread);
}
