#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/kernels/fixed_point.h"
#include "quant/kernels/int8_elementwise/int8_elementwise.h"
#include "quant/kernels/int8_gemm/dispatch.h"

namespace nibble::int8 {
namespace {

constexpr int kLeftShift = 20;
constexpr int64_t kGrain = 1 << 14;

detail::Scaling scaling(double value) {
  const QuantizedMultiplier m = quantize_multiplier(value);
  detail::Scaling s;
  s.multiplier.fill(m.multiplier);
  s.left.fill(std::max(m.shift, 0));
  s.right.fill(std::max(-m.shift, 0));
  s.right_mask.fill(static_cast<int32_t>((int64_t{1} << std::max(-m.shift, 0)) - 1));
  return s;
}

Outcome outcome_of(const detail::Scaling& s) {
  Outcome o;
  o.multiplier = s.multiplier.data(), o.left = s.left.data(), o.right = s.right.data();
  o.right_mask = s.right_mask.data();
  o.shifts_left = s.left[0] > 0;
  return o;
}

/// `steps` floats further up or down.
float moved(float v, int steps) {
  const float to = steps < 0 ? 0 : std::numeric_limits<float>::max();
  for (int i = 0; i < std::abs(steps); ++i) v = std::nextafter(v, to);
  return v;
}

constexpr int kCodes = 256;

}  // namespace

Int8Add::Int8Add(const Int8AddSpec& spec, std::string_view isa) : spec_(spec), kernels_(&gemm_variant(isa).fn()) {
  for (const double scale : {spec.a_scale, spec.b_scale, spec.out_scale})
    NIBBLE_CHECK(scale > 1e-30 && scale < 1e30, "int8 add: scale ", scale, " is not in 1e-30..1e30");
  for (const int32_t zero : {spec.a_zero, spec.b_zero, spec.out_zero})
    NIBBLE_CHECK(zero >= 0 && zero <= 255, "int8 add: zero point ", zero, " is not in 0..255");
  NIBBLE_CHECK(spec.lo >= 0 && spec.lo <= spec.hi && spec.hi <= 255, "int8 add: bounds ", spec.lo, "..", spec.hi,
               " are not in 0..255");
  const double most = std::max(spec.a_scale, spec.b_scale);
  NIBBLE_CHECK(most / spec.out_scale < 0x1p30 && spec.out_scale / most < 0x1p30, "int8 add: scales ", spec.a_scale,
               ", ", spec.b_scale, " and ", spec.out_scale, " of the sum are too far apart");
  a_ = scaling(spec.a_scale / (2 * most));
  b_ = scaling(spec.b_scale / (2 * most));
  out_ = scaling(2 * most / (std::ldexp(1, kLeftShift) * spec.out_scale));
  find_line();
}

Add Int8Add::add_of(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n) const {
  Add all{.a = a,
          .b = b,
          .y = y,
          .n = n,
          .a_zero = spec_.a_zero,
          .b_zero = spec_.b_zero,
          .a_scaling = outcome_of(a_),
          .b_scaling = outcome_of(b_),
          .outcome = outcome_of(out_),
          .a_scale = static_cast<float>(spec_.a_scale),
          .b_scale = static_cast<float>(spec_.b_scale),
          .y_scale = static_cast<float>(spec_.out_scale)};
  all.outcome.kind = spec_.real ? Outcome::kReal : Outcome::kFixed;
  all.outcome.zero = spec_.out_zero, all.outcome.lo = spec_.lo, all.outcome.hi = spec_.hi;
  return all;
}

void Int8Add::run_line(const detail::Line& line, const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n) const {
  kernels_->add_line({.a = a,
                      .b = b,
                      .y = y,
                      .n = n,
                      .a_step = line.a_step,
                      .b_step = line.b_step,
                      .offset = line.offset,
                      .zero = spec_.out_zero,
                      .lo = spec_.lo,
                      .hi = spec_.hi});
}

/// want[a * 256 + b] is the code of a pair.
bool Int8Add::fits(const detail::Line& line, std::span<const uint8_t> want) const {
  std::array<uint8_t, kCodes> a, b, y;
  std::iota(b.begin(), b.end(), uint8_t{0});
  for (int code = 0; code < kCodes; ++code) {
    a.fill(static_cast<uint8_t>(code));
    run_line(line, a.data(), b.data(), y.data(), kCodes);
    if (std::memcmp(y.data(), want.data() + code * kCodes, kCodes) != 0) return false;
  }
  return true;
}

/// The definition rounds two or three times, a line once and at other places: they disagree where a sum comes as near
/// to a half as these errors are large. Few of the pairs do, if any, so some change of the last bits puts all right.
void Int8Add::find_line() {
  const double a_step = spec_.a_scale / spec_.out_scale, b_step = spec_.b_scale / spec_.out_scale;
  if (kernels_->add_line == nullptr || std::max(a_step, b_step) > 0x1p20) return;
  std::array<uint8_t, kCodes> a, b;
  std::iota(b.begin(), b.end(), uint8_t{0});
  std::vector<uint8_t> want(kCodes * kCodes);
  for (int code = 0; code < kCodes; ++code) {
    a.fill(static_cast<uint8_t>(code));
    kernels_->add(add_of(a.data(), b.data(), want.data() + code * kCodes, kCodes));
  }
  // Where sums are halves exactly, as with steps of 1 and 1/2, all have to be moved to the side the definition prefers.
  for (const double shift : {0., 0x1p-22, -0x1p-22, 0x1p-20, -0x1p-20, 0x1p-18, -0x1p-18, 0x1p-16, -0x1p-16})
    for (const int a_moves : {0, 1, -1})
      for (const int b_moves : {0, 1, -1}) {
        detail::Line line{moved(static_cast<float>(a_step), a_moves), moved(static_cast<float>(b_step), b_moves)};
        line.offset =
            static_cast<float>(shift - spec_.a_zero * double{line.a_step} - spec_.b_zero * double{line.b_step});
        if (!fits(line, want)) continue;
        line_ = line;
        return;
      }
}

void Int8Add::run(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n) const {
  parallel_for(0, n, kGrain, [&](int64_t lo, int64_t hi) {
    if (line_)
      run_line(*line_, a + lo, b + lo, y + lo, hi - lo);
    else
      kernels_->add(add_of(a + lo, b + lo, y + lo, hi - lo));
  });
}

}  // namespace nibble::int8
