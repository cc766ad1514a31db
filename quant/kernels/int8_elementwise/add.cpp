#include <algorithm>
#include <cmath>

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
}

void Int8Add::run(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n) const {
  Add all{.a_zero = spec_.a_zero,
          .b_zero = spec_.b_zero,
          .a_scaling = outcome_of(a_),
          .b_scaling = outcome_of(b_),
          .outcome = outcome_of(out_),
          .a_scale = static_cast<float>(spec_.a_scale),
          .b_scale = static_cast<float>(spec_.b_scale),
          .y_scale = static_cast<float>(spec_.out_scale)};
  all.outcome.kind = spec_.real ? Outcome::kReal : Outcome::kFixed;
  all.outcome.zero = spec_.out_zero, all.outcome.lo = spec_.lo, all.outcome.hi = spec_.hi;
  parallel_for(0, n, kGrain, [&](int64_t lo, int64_t hi) {
    Add part = all;
    part.a = a + lo, part.b = b + lo, part.y = y + lo, part.n = hi - lo;
    kernels_->add(part);
  });
}

}  // namespace nibble::int8
