#include <algorithm>
#include <cmath>
#include <set>

#include "tests/quant/conformance.h"

namespace nibble::test {

namespace {

std::string check_on_grid(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(1);
  for (const char* when : {"before training: ", "after training: "}) {
    const Grid grid = subject.grid(*q, x);
    const Tensor y = evaluate(*q, x);
    if (y.shape() != x.shape()) return concat_text(when, "the output has shape ", y.shape());
    if (std::holds_alternative<Real>(grid)) {
      if (!subject.may_be_real && when[0] == 'a') return "after training: the grid is real";
    } else if (const auto wrong = on_grid(y, grid); !wrong.empty()) {
      return when + wrong;
    }
    if (when[0] == 'b') train(*q, subject, x);
  }
  return "";
}

std::string check_level_count(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(2);
  train(*q, subject, x);
  const Grid grid = subject.grid(*q, x);
  if (std::holds_alternative<Real>(grid)) return subject.may_be_real ? "" : "the grid is real";
  const int64_t allowed = subject.bits > 0 ? int64_t{1} << subject.bits : 256;
  if (level_count(grid) > allowed) return concat_text("the grid has ", level_count(grid), " levels");
  // Clipping levels may lie far out.
  const Tensor y = evaluate(*q, x), far = evaluate(*q, subject.weight ? x : normal_tensor(x.shape(), 2, 0, 100));
  const int64_t channels = channel_count(grid), width = y.numel() / channels;
  for (int64_t c = 0; c < channels; ++c) {
    const float* first = y.data<float>().data() + c * width;
    std::set<float> values(first, first + width);
    if (static_cast<int64_t>(values.size()) > allowed) return concat_text("channel ", c, " has too many values");
    if (!subject.weight) values.insert(far.data<float>().begin(), far.data<float>().end());
    if (values.size() < 2) return concat_text("channel ", c, " has one value");
  }
  return "";
}

std::string check_monotone(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(3);
  train(*q, subject, x);
  const Tensor y = evaluate(*q, x);
  const Grid grid = subject.grid(*q, x);
  const auto channels = static_cast<size_t>(std::max<int64_t>(1, channel_count(grid)));
  const size_t width = static_cast<size_t>(x.numel()) / channels;
  const auto from = x.data<float>(), to = y.data<float>();
  for (size_t c = 0; c < channels; ++c) {
    std::vector<size_t> order(width);
    for (size_t i = 0; i < width; ++i) order[i] = c * width + i;
    std::ranges::sort(order, [&](size_t a, size_t b) { return from[a] < from[b]; });
    for (size_t k = 1; k < width; ++k)
      if (to[order[k]] < to[order[k - 1]])
        return concat_text(from[order[k - 1]], " becomes ", to[order[k - 1]], ", but ", from[order[k]], " becomes ",
                           to[order[k]]);
  }
  return "";
}

/// Quantized again on the same grid, a level stays.
std::string check_idempotent(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(4);
  train(*q, subject, x);
  if (!q->claims().idempotent) return "";
  const Grid grid = subject.grid(*q, x);
  if (std::holds_alternative<Real>(grid)) return subject.may_be_real ? "" : "the grid is real";
  const Tensor y = evaluate(*q, x);
  if (!same_bits(snap(y, grid), y)) return "its levels do not stay on its grid";
  if (q->facts().snaps_to && !same_bits(evaluate(*q, y), y)) return "its levels do not stay";
  return "";
}

/// Where facts say that forward is a snap to a grid, it is one.
std::string check_snaps(const Subject& subject) {
  const auto q = subject.make(subject.shape());
  Tensor x = subject.data(4);
  train(*q, subject, x);
  const auto snaps_to = q->facts().snaps_to;
  if (!snaps_to) return "";
  if (!same_bits(snap(x, *snaps_to), evaluate(*q, x))) return "it is no snap to its grid";
  const Tensor other = subject.data(5);
  if (!same_bits(snap(other, *snaps_to), evaluate(*q, other))) return "on other data it is no snap to its grid";
  return "";
}

Tensor scaled(const Tensor& x, float factor) {
  Tensor y = x.clone();
  for (float& value : y.mutable_data<float>()) value *= factor;
  return y;
}

/// What a new quantizer makes of x after a training pass with it that changes nothing but what it learns from x.
Tensor learned_output(const Subject& subject, const Tensor& x) {
  const auto q = subject.make(x.shape());
  Tensor copy = x.clone();
  train_step(*q, subject, copy, 0, 0);
  return evaluate(*q, x);
}

/// Exactly for powers of two; for another factor up to rounding, which may move an element at a tie by a level.
std::string check_scale(const Subject& subject) {
  if (!subject.make(subject.shape())->claims().scale_equivariant) return "";
  const Tensor x = subject.data(15), y = learned_output(subject, x);
  for (const float factor : {0.25f, 2.0f, 64.0f})
    if (!same_bits(learned_output(subject, scaled(x, factor)), scaled(y, factor)))
      return concat_text("scaled by ", factor, ", its output is not");
  const Tensor expected = scaled(y, 3), got = learned_output(subject, scaled(x, 3));
  float largest = 0;
  for (const float value : expected.data<float>()) largest = std::max(largest, std::abs(value));
  size_t differ = 0;
  for (size_t i = 0; i < expected.data<float>().size(); ++i)
    differ += std::abs(got.data<float>()[i] - expected.data<float>()[i]) > 1e-4f * largest;
  if (differ > expected.data<float>().size() / 100) return concat_text("scaled by 3, its output is not: ", differ);
  return "";
}

}  // namespace

std::span<const Check> grid_checks() {
  static constexpr Check table[] = {{"on grid", check_on_grid},       {"level count", check_level_count},
                                    {"monotone", check_monotone},     {"snaps", check_snaps},
                                    {"idempotent", check_idempotent}, {"scale", check_scale}};
  return table;
}

}  // namespace nibble::test
