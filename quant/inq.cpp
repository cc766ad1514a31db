#include "quant/inq.h"

#include <algorithm>
#include <cmath>

#include "quant/statistics.h"
#include "quant/threshold.h"

namespace nibble {

namespace {

/// Bounds of n1: with 8 bits 2^n2 is still a normal float, and 2^n1 is finite.
constexpr int kSmallestExponent = -62, kLargestExponent = 127;

}  // namespace

void Inq::Options::fields(Fields& f) {
  IncrementalQuantizer::Options::fields(f);
  f("bits", bits, "one bit for zero, the others for the signed powers of two", {2, 8});
  f("portions", portions, "accumulated part of the weights that is fixed in every phase, rising to 1", {0, 1, true});
  f.choice("partition", partition, {"magnitude", "random"}, "which weights are fixed first: the largest, or any");
  f("seed", seed, "of the random partition");
}

Inq::Inq(const Options& options)
    : IncrementalQuantizer(options, static_cast<int>(options.portions.size())), options_(options) {
  const std::vector<double>& portions = options_.portions;
  NIBBLE_CHECK(!portions.empty() && portions.back() == 1, "inq: portions must end with 1, got ", Json(portions).dump());
  for (size_t i = 1; i < portions.size(); ++i)
    NIBBLE_CHECK(portions[i] > portions[i - 1], "inq: portions must rise, got ", portions[i], " after ",
                 portions[i - 1]);
}

float Inq::centre_of(const Tensor& w) const {
  const double bound = 4.0 * static_cast<double>(max_absolute(w, 1)[0]) / 3.0;
  const int exponent = bound > 0 ? std::ilogb(bound) : kSmallestExponent;
  return std::ldexp(1.0f, std::clamp(exponent, kSmallestExponent, kLargestExponent));
}

Grid Inq::grid_of(float highest) const {
  const int magnitudes = 1 << (options_.bits - 2);
  Codebook book;
  for (int i = 0; i < magnitudes; ++i) {
    const float level = std::ldexp(highest, -i);
    const double begins = level * (i + 1 < magnitudes ? 0.75 : 0.5);
    book.levels.push_back(-level);
    book.thresholds.push_back(codebook_threshold(-begins, false));
  }
  book.levels.push_back(0);
  for (int i = magnitudes - 1; i >= 0; --i) {
    const auto mirrored = static_cast<size_t>(i);
    book.levels.push_back(-book.levels[mirrored]);
    book.thresholds.push_back(codebook_threshold(-static_cast<double>(book.thresholds[mirrored]), true));
  }
  return book;
}

void Inq::join(int phase, const Tensor& w, std::span<uint8_t> free) const {
  const auto weights = w.data<float>();
  const auto total = static_cast<double>(free.size());
  const auto wanted = static_cast<size_t>(std::llround(options_.portions[static_cast<size_t>(phase)] * total));
  std::vector<size_t> candidates;
  for (size_t i = 0; i < free.size(); ++i)
    if (free[i] != 0) candidates.push_back(i);
  const size_t fixed = free.size() - candidates.size();
  if (wanted <= fixed) return;
  std::vector<float> rank(free.size());
  const Rng rng(options_.seed);
  for (const size_t i : candidates) rank[i] = options_.partition == "random" ? rng.uniform(i) : std::abs(weights[i]);
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(wanted - fixed);
  std::nth_element(candidates.begin(), end, candidates.end(),
                   [&](size_t a, size_t b) { return rank[a] != rank[b] ? rank[a] > rank[b] : a < b; });
  for (auto it = candidates.begin(); it != end; ++it) free[*it] = 0;
}

Complaints Inq::audit_values(const Tensor& w) const {
  for (const float v : w.data<float>()) {
    int exponent = 0;
    if (v != 0 && std::abs(std::frexp(v, &exponent)) != 0.5f)
      return {concat_text("expected weights of 0 and signed powers of two, found ", v)};
  }
  return {};
}

NIBBLE_REGISTER_LAYER(Inq, "inq",
                      "Incremental network quantization (INQ): weights 0 or signed powers of two, fixed in portions.");

}  // namespace nibble
