#include <cmath>

#include "core/error.h"
#include "quant/kernels/bit_conv/plan.h"

namespace nibble::bits::detail {
namespace {

constexpr double kMost = 1 << 30;

void check_length(const char* name, size_t size, int64_t channels, bool may_be_empty) {
  NIBBLE_CHECK((size == 0 && may_be_empty) || size == 1 || static_cast<int64_t>(size) == channels,
               "bit convolution: ", name, " has ", size, " entries, expected one or ", channels);
}

void check_geometry(const BitConvSpec& s) {
  const ConvGeometry& g = s.geometry;
  constexpr int64_t kLimit = 1 << 20;
  const auto in_range = [&](int64_t v, int64_t least) { return v >= least && v <= kLimit; };
  NIBBLE_CHECK(in_range(s.in_channels, 1) && in_range(s.out_channels, 1), "bit convolution: ", s.in_channels, " to ",
               s.out_channels, " channels, expected 1 to ", kLimit);
  NIBBLE_CHECK(in_range(s.kh, 1) && in_range(s.kw, 1) && in_range(g.stride_h, 1) && in_range(g.stride_w, 1) &&
                   in_range(g.dilation_h, 1) && in_range(g.dilation_w, 1),
               "bit convolution: kernel, stride and dilation are 1 to ", kLimit, ", got kernel ", s.kh, "x", s.kw,
               ", stride ", g.stride_h, "x", g.stride_w, ", dilation ", g.dilation_h, "x", g.dilation_w);
  NIBBLE_CHECK(
      in_range(g.pad.top, 0) && in_range(g.pad.left, 0) && in_range(g.pad.bottom, 0) && in_range(g.pad.right, 0),
      "bit convolution: paddings are 0 to ", kLimit);
  NIBBLE_CHECK(g.groups >= 1 && s.in_channels % g.groups == 0 && s.out_channels % g.groups == 0,
               "bit convolution: ", s.in_channels, " to ", s.out_channels, " channels do not divide into ", g.groups,
               " groups");
  const auto count = static_cast<double>(s.out_channels) * static_cast<double>(s.in_channels / g.groups) * s.kh * s.kw;
  NIBBLE_CHECK(static_cast<double>(s.weights.size()) == count, "bit convolution: ", s.weights.size(),
               " weights, expected ", count, " (", s.out_channels, "x", s.in_channels / g.groups, "x", s.kh, "x", s.kw,
               ")");
}

void check_finite(const char* name, double v, bool integer) {
  NIBBLE_CHECK(std::isfinite(v) && std::abs(v) < 1e30, "bit convolution: ", name, " ", v,
               " is not finite or too large");
  NIBBLE_CHECK(!integer || (v == std::floor(v) && std::abs(v) <= 32768), "bit convolution: ", name, " ", v,
               " is no integer of up to 32768, as the integer rule asks for");
}

void check_codes(const BitConvSpec& s) {
  const bool integer = s.rule == BitConvSpec::Rule::integer;
  NIBBLE_CHECK(s.w_bits >= 1 && s.w_bits <= 4, "bit convolution: ", s.w_bits, " bits of weights, expected 1 to 4");
  NIBBLE_CHECK(s.a_bits >= 1 && s.a_bits <= 8, "bit convolution: ", s.a_bits, " bits of activations, expected 1 to 8");
  for (const uint8_t w : s.weights)
    NIBBLE_CHECK(w >> s.w_bits == 0, "bit convolution: weight code ", int{w}, " has more than ", s.w_bits, " bits");
  NIBBLE_CHECK(s.w_basis.size() == static_cast<size_t>(s.w_bits) && s.a_basis.size() == static_cast<size_t>(s.a_bits),
               "bit convolution: bases of ", s.w_basis.size(), " and ", s.a_basis.size(), " entries, expected ",
               s.w_bits, " and ", s.a_bits);
  const auto check_list = [&](const char* name, const std::vector<double>& list) {
    check_length(name, list.size(), integer ? 1 : s.out_channels, false);
    for (const double v : list) check_finite(name, v, integer);
  };
  check_list("w_offset", s.w_offset);
  for (const auto& list : s.w_basis) check_list("w_basis", list);
  check_finite("a_offset", s.a_offset, integer);
  for (const double v : s.a_basis) check_finite("a_basis", v, integer);
}

double places(const BitConvSpec& s) { return static_cast<double>(s.in_channels / s.geometry.groups) * s.kh * s.kw; }

void check_range(const BitConvSpec& s) {
  NIBBLE_CHECK(places(s) <= kMost, "bit convolution: windows of ", places(s), " codes are too large");
  const double most = reach(s);
  NIBBLE_CHECK(s.rule == BitConvSpec::Rule::learned || most <= kMost, "bit convolution: sums can reach ", most,
               ", more than 2^30");
  double scale = s.epilogue.scale.empty() ? 1 : 0;
  for (const float v : s.epilogue.scale) scale = std::max(scale, std::abs(double{v}));
  NIBBLE_CHECK(scale * most < 1e37, "bit convolution: values can reach ", scale * most);
}

void check_epilogue(const BitConvSpec& s) {
  const Epilogue& e = s.epilogue;
  using Output = Epilogue::Output;
  NIBBLE_CHECK(e.output != Output::accumulators || s.rule == BitConvSpec::Rule::integer,
               "bit convolution: learned values have no accumulators");
  check_length("scale", e.scale.size(), s.out_channels, true);
  check_length("offset", e.offset.size(), s.out_channels, true);
  NIBBLE_CHECK(e.least <= e.most, "bit convolution: bounds ", e.least, " and ", e.most, " of reals");
  for (const float v : e.scale) NIBBLE_CHECK(std::isfinite(v), "bit convolution: scale ", v, " is not finite");
  for (const float v : e.offset)
    NIBBLE_CHECK(std::abs(v) < 1e37f, "bit convolution: offset ", v, " is not finite or too large");
  if (e.output == Output::uniform)
    NIBBLE_CHECK(e.zero >= 0 && e.zero <= 255 && e.lo >= 0 && e.lo <= e.hi && e.hi <= 255,
                 "bit convolution: output zero point ", e.zero, " and bounds ", e.lo, "..", e.hi, " are not in 0..255");
  if (e.output != Output::levels) return;
  NIBBLE_CHECK(e.thresholds.size() <= static_cast<size_t>(kMostCuts) && e.codes.size() == e.thresholds.size() + 1,
               "bit convolution: ", e.thresholds.size(), " thresholds and ", e.codes.size(),
               " codes, expected at most ", kMostCuts, " and one more code");
  for (size_t l = 0; l < e.thresholds.size(); ++l)
    NIBBLE_CHECK(std::isfinite(e.thresholds[l]) && (l == 0 || e.thresholds[l - 1] <= e.thresholds[l]),
                 "bit convolution: threshold ", l, ", ", e.thresholds[l], ", is not finite or out of order");
}

}  // namespace

double reach(const BitConvSpec& s) {
  double a = std::abs(s.a_offset), most = 0;
  for (const double v : s.a_basis) a += std::abs(v);
  for (size_t o = 0; o < static_cast<size_t>(s.out_channels); ++o) {
    const auto entry = [&](const std::vector<double>& list) { return std::abs(list[list.size() == 1 ? 0 : o]); };
    double w = entry(s.w_offset);
    for (const auto& list : s.w_basis) w += entry(list);
    most = std::max(most, places(s) * a * w);
  }
  return most;
}

void check(const BitConvSpec& s) {
  check_geometry(s);
  check_codes(s);
  check_epilogue(s);
  check_range(s);
}

}  // namespace nibble::bits::detail
