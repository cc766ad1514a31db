#include "quant/kernels/int8_conv/plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "quant/kernels/int8_gemm/dispatch.h"

namespace nibble::int8::detail {
namespace {

constexpr int64_t kMost = 2147483647;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class T>
T entry(const std::vector<T>& list, int64_t channel, T if_empty = {}) {
  return list.empty() ? if_empty : list[list.size() == 1 ? 0 : static_cast<size_t>(channel)];
}

void check_length(const char* name, size_t size, int64_t channels, bool may_be_empty) {
  NIBBLE_CHECK((size == 0 && may_be_empty) || size == 1 || static_cast<int64_t>(size) == channels,
               "int8 convolution: ", name, " has ", size, " entries, expected one or ", channels);
}

void check_geometry(const Int8ConvSpec& s) {
  const ConvGeometry& g = s.geometry;
  constexpr int64_t kLimit = 1 << 20;
  const auto in_range = [&](int64_t v, int64_t least) { return v >= least && v <= kLimit; };
  NIBBLE_CHECK(in_range(s.in_channels, 1) && in_range(s.out_channels, 1), "int8 convolution: ", s.in_channels, " to ",
               s.out_channels, " channels, expected 1 to ", kLimit);
  NIBBLE_CHECK(in_range(s.kh, 1) && in_range(s.kw, 1) && in_range(g.stride_h, 1) && in_range(g.stride_w, 1) &&
                   in_range(g.dilation_h, 1) && in_range(g.dilation_w, 1),
               "int8 convolution: kernel, stride and dilation are 1 to ", kLimit, ", got kernel ", s.kh, "x", s.kw,
               ", stride ", g.stride_h, "x", g.stride_w, ", dilation ", g.dilation_h, "x", g.dilation_w);
  NIBBLE_CHECK(
      in_range(g.pad.top, 0) && in_range(g.pad.left, 0) && in_range(g.pad.bottom, 0) && in_range(g.pad.right, 0),
      "int8 convolution: paddings are 0 to ", kLimit);
  NIBBLE_CHECK(g.groups >= 1 && s.in_channels % g.groups == 0 && s.out_channels % g.groups == 0,
               "int8 convolution: ", s.in_channels, " to ", s.out_channels, " channels do not divide into ", g.groups,
               " groups");
  const auto count = static_cast<double>(s.out_channels) * static_cast<double>(s.in_channels / g.groups) * s.kh * s.kw;
  NIBBLE_CHECK(static_cast<double>(s.weights.size()) == count, "int8 convolution: ", s.weights.size(),
               " weights, expected ", count, " (", s.out_channels, "x", s.in_channels / g.groups, "x", s.kh, "x", s.kw,
               ")");
}

void check_epilogue(const Epilogue& e, int64_t channels) {
  if (e.output == Epilogue::Output::accumulators) return;
  if (e.output == Epilogue::Output::codes)
    NIBBLE_CHECK(e.zero >= 0 && e.zero <= 255 && e.lo >= 0 && e.lo <= e.hi && e.hi <= 255,
                 "int8 convolution: output zero point ", e.zero, " and bounds ", e.lo, "..", e.hi,
                 " are not in 0..255");
  if (e.rule == Epilogue::Rule::fixed && e.output == Epilogue::Output::codes) {
    check_length("multiplier", e.multiplier.size(), channels, false);
    check_length("shift", e.shift.size(), channels, false);
    for (const int32_t m : e.multiplier)
      NIBBLE_CHECK(m == 0 || m >= 1 << 30, "int8 convolution: multiplier ", m, " is neither 0 nor 2^30 to 2^31 - 1");
    for (const int32_t shift : e.shift)
      NIBBLE_CHECK(shift >= -31 && shift <= 31, "int8 convolution: shift ", shift, " is not in -31..31");
    return;
  }
  check_length("scale", e.scale.size(), channels, false);
  check_length("offset", e.offset.size(), channels, true);
  check_length("x_sum_scale", e.x_sum_scale.size(), channels, true);
  for (int64_t c = 0; c < channels; ++c) {
    const double most = std::abs(double{entry(e.scale, c)}) * 0x1p31 + std::abs(double{entry(e.offset, c)}) +
                        std::abs(double{entry(e.x_sum_scale, c)}) * 0x1p31;
    NIBBLE_CHECK(most < 3e38, "int8 convolution: scale ", entry(e.scale, c), " or offset ", entry(e.offset, c),
                 " of channel ", c, " is not finite or too large");
  }
}

bool is_real(const Epilogue& e) {
  return e.output == Epilogue::Output::reals || (e.output == Epilogue::Output::codes && e.rule == Epilogue::Rule::real);
}

bool wants_x_sums(const Epilogue& e) { return is_real(e) && !e.x_sum_scale.empty(); }

/// One output channel: acc = unit * sum x * w + sum_weight * sum (x - x_zero) + bias.
struct Channel {
  std::vector<int32_t> w;  ///< [tap][input channel of the group]
  int32_t sum_weight = 0;
  int32_t bias = 0;
};

/// The weights of all channels as small integers.
struct Integers {
  std::vector<Channel> channels;
  int32_t unit = 1;
  bool sums = false;
};

Channel read_channel(const Int8ConvSpec& s, int64_t o) {
  const int64_t in = s.in_channels / s.geometry.groups, taps = int64_t{s.kh} * s.kw;
  const int32_t zero = entry(s.w_zero, o), bias = entry(s.bias, o);
  Channel c;
  c.w.resize(static_cast<size_t>(in * taps));
  int64_t most = std::abs(int64_t{bias});
  const int64_t reach = std::max(s.x_zero, 255 - s.x_zero);
  for (int64_t i = 0; i < in; ++i)
    for (int64_t t = 0; t < taps; ++t) {
      const int32_t v = s.w_unit * s.weights[static_cast<size_t>((o * in + i) * taps + t)] - zero;
      c.w[static_cast<size_t>(t * in + i)] = v;
      most += reach * std::abs(v);
    }
  NIBBLE_CHECK(most <= kMost, "int8 convolution: the sum of output channel ", o, " can reach ", most,
               ", which is more than 2^31 - 1");
  c.bias = bias;
  return c;
}

/// Weights that fit 8 bits (or need not) as they are, else the codes minus 128 and a term with the sums of x (eq. 7).
Integers read_weights(const Int8ConvSpec& s, bool bytes) {
  Integers all;
  all.sums = wants_x_sums(s.epilogue);
  bool fits = true;
  for (int64_t o = 0; o < s.out_channels; ++o) {
    all.channels.push_back(read_channel(s, o));
    for (const int32_t v : all.channels.back().w) fits = fits && v >= -128 && v <= 127;
  }
  if (!fits && bytes) {
    all.unit = s.w_unit;
    for (int64_t o = 0; o < s.out_channels; ++o) {
      Channel& c = all.channels[static_cast<size_t>(o)];
      c.sum_weight = 128 * s.w_unit - entry(s.w_zero, o);
      for (int32_t& v : c.w) v = (v - c.sum_weight) / s.w_unit;
      all.sums = all.sums || c.sum_weight != 0;
    }
  }
  for (Channel& c : all.channels) {
    int64_t total = 0;
    for (const int32_t v : c.w) total += v;
    // Modulo 2^32, as the kernels add.
    c.bias = static_cast<int32_t>(static_cast<uint32_t>(c.bias - total * all.unit * s.x_zero));
  }
  return all;
}

void pack_panel(Int8ConvPlan& p, const Panel& panel, const Integers& all) {
  const Operand operand = p.kernels->operand;
  const int64_t per_step = operand == Operand::s16_s16 ? 2 : 4, in = p.group_in;
  const int64_t padded = p.pixel_bytes / p.value_bytes, taps = int64_t{p.kh} * p.kw;
  const int64_t width = round_up(panel.n, p.kernels->lanes);
  uint8_t* to = reinterpret_cast<uint8_t*>(p.weights.data()) + panel.weights;
  for (int64_t j = 0; j < panel.n; ++j) {
    const Channel& channel = all.channels[static_cast<size_t>(panel.channel + j)];
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t i = 0; i < in; ++i) {
        const int32_t v = channel.w[static_cast<size_t>(t * in + i)];
        const int64_t k = t * padded + i;
        uint8_t* at = to + ((k / per_step) * width + j) * 4 + k % per_step * p.value_bytes;
        const auto narrow = static_cast<int8_t>(v);
        const auto wide = static_cast<int16_t>(v);
        if (p.value_bytes == 2)
          std::memcpy(at, &wide, 2);
        else
          std::memcpy(at, &narrow, 1);
      }
  }
}

void pack_depthwise(Int8ConvPlan& p, const Integers& all) {
  const int64_t block = 2 * p.kernels->lanes, taps = int64_t{p.kh} * p.kw, pairs = (taps + 1) / 2;
  auto* to = reinterpret_cast<int16_t*>(p.weights.data());
  for (int64_t c0 = 0; c0 < p.out; c0 += block)
    for (int64_t j = 0; j < block; ++j) {
      const int64_t c = c0 + p.kernels->depthwise_order[j];
      for (int64_t t = 0; t < taps && c < p.out; ++t)
        to[(c0 * pairs + t / 2 * block + j) * 2 + t % 2] =
            static_cast<int16_t>(all.channels[static_cast<size_t>(c)].w[static_cast<size_t>(t)]);
    }
}

/// Lays out the panels and packs their weights; returns the length of the outcome's arrays.
int64_t pack_weights(Int8ConvPlan& p, const Integers& all) {
  const int64_t taps = int64_t{p.kh} * p.kw, block = 2 * p.kernels->lanes;
  if (p.depthwise) {
    p.panels = {Panel{0, p.out, 0, 0}};
    p.panels_per_group = 1;
    p.weights.resize(static_cast<size_t>(round_up(p.out, block) * (taps + 1) / 2 * 4 / 64 + 1));
    pack_depthwise(p, all);
    return round_up(p.out, block);
  }
  const int64_t group_out = p.out / p.groups;
  int64_t bytes = 0, table = 0;
  for (int64_t g = 0; g < p.groups; ++g)
    for (int64_t j = 0; j < group_out; j += p.kernels->block) {
      const int64_t n = std::min(p.kernels->block, group_out - j), width = round_up(n, p.kernels->lanes);
      p.panels.push_back({g * group_out + j, n, bytes, table});
      bytes += round_up(taps * p.pixel_bytes * width, 64);
      table += width;
    }
  p.panels_per_group = static_cast<int64_t>(p.panels.size()) / p.groups;
  p.weights.resize(static_cast<size_t>(bytes / 64));
  for (const Panel& panel : p.panels) pack_panel(p, panel, all);
  return table;
}

void fill_outcome(Int8ConvPlan& p, const Int8ConvSpec& s, const Integers& all, int64_t length) {
  const Epilogue& e = s.epilogue;
  p.ints.assign(static_cast<size_t>(6 * length), 0);
  p.floats.assign(static_cast<size_t>(3 * length), 0.f);
  const auto ints = [&](int64_t i) { return p.ints.data() + i * length; };
  const auto floats = [&](int64_t i) { return p.floats.data() + i * length; };
  for (const Panel& panel : p.panels)
    for (int64_t j = 0; j < panel.n; ++j) {
      const int64_t c = panel.channel + j, at = panel.table + j;
      const Channel& channel = all.channels[static_cast<size_t>(c)];
      ints(0)[at] = channel.bias;
      // x is stored minus 128: every product lacks 128 times its weight.
      if (!p.depthwise && p.kernels->operand == Operand::s8_s8) {
        int64_t total = 0;
        for (const int32_t v : channel.w) total += v;
        ints(0)[at] = static_cast<int32_t>(static_cast<uint32_t>(channel.bias + total * all.unit * 128));
      }
      ints(1)[at] = channel.sum_weight;
      const int32_t shift = entry(e.shift, c);
      ints(2)[at] = entry(e.multiplier, c);
      ints(3)[at] = std::max(shift, 0);
      ints(4)[at] = std::max(-shift, 0);
      ints(5)[at] = static_cast<int32_t>((int64_t{1} << ints(4)[at]) - 1);
      floats(0)[at] = entry(e.scale, c);
      floats(1)[at] = entry(e.offset, c);
      floats(2)[at] = entry(e.x_sum_scale, c);
    }
  using Output = Epilogue::Output;
  Outcome& o = p.outcome;
  o.kind = e.output == Output::accumulators ? Outcome::kAccumulators
           : e.output == Output::reals      ? Outcome::kReals
           : is_real(e)                     ? Outcome::kReal
                                            : Outcome::kFixed;
  o.bias = ints(0);
  o.sum_weight = p.sums ? ints(1) : nullptr;
  o.unit_shift = all.unit - 1;
  o.multiplier = ints(2), o.left = ints(3), o.right = ints(4), o.right_mask = ints(5);
  o.shifts_left = std::any_of(e.shift.begin(), e.shift.end(), [](int32_t shift) { return shift > 0; });
  o.scale = floats(0), o.offset = floats(1);
  o.x_sum_scale = wants_x_sums(e) ? floats(2) : nullptr;
  o.zero = e.zero, o.lo = e.lo, o.hi = e.hi;
}

}  // namespace

Int8ConvPlan::Int8ConvPlan(const Int8ConvSpec& s, std::string_view isa) {
  check_geometry(s);
  NIBBLE_CHECK(s.w_unit == 1 || s.w_unit == 2, "int8 convolution: w_unit is 1 or 2, got ", s.w_unit);
  NIBBLE_CHECK(s.x_zero >= 0 && s.x_zero <= 255, "int8 convolution: x_zero ", s.x_zero, " is not in 0..255");
  check_length("w_zero", s.w_zero.size(), s.out_channels, false);
  check_length("bias", s.bias.size(), s.out_channels, true);
  for (const int32_t zero : s.w_zero)
    NIBBLE_CHECK(zero >= 0 && zero <= 255 * s.w_unit, "int8 convolution: w_zero ", zero, " is not in 0..",
                 255 * s.w_unit);
  check_epilogue(s.epilogue, s.out_channels);
  const auto& chosen = gemm_variant(isa);
  kernels = &chosen.fn();
  variant = chosen.name;
  in = s.in_channels, out = s.out_channels, kh = s.kh, kw = s.kw;
  geometry = s.geometry, x_zero = s.x_zero, output = s.epilogue.output;

  depthwise = geometry.groups == in && in == out && in > 1 && !wants_x_sums(s.epilogue);
  const bool wide = kernels->operand == Operand::s16_s16 && !depthwise;
  const Integers all = read_weights(s, !wide && !depthwise);
  sums = all.sums;
  groups = depthwise ? 1 : geometry.groups;
  group_in = in / groups;
  value_bytes = wide ? 2 : 1;
  pixel_bytes = depthwise ? round_up(in, 2 * kernels->lanes) : round_up(group_in * value_bytes, 4);
  copied = depthwise || kernels->operand != Operand::u8_s8 || group_in % 4 != 0 || geometry.pad != Padding{};
  pointwise = !copied && groups == 1 && kh == 1 && kw == 1 && geometry.stride_h == 1 && geometry.stride_w == 1;
  NIBBLE_CHECK(!sums || int64_t{kh} * kw * group_in <= kMost / 255, "int8 convolution: windows of ",
               int64_t{kh} * kw * group_in, " codes are too large");
  fill_outcome(*this, s, all, pack_weights(*this, all));
}

Outcome Int8ConvPlan::outcome_of(const Panel& panel) const {
  Outcome o = outcome;
  const auto move = [&](auto*& p) {
    if (p) p += panel.table;
  };
  move(o.bias), move(o.sum_weight), move(o.multiplier), move(o.left), move(o.right), move(o.right_mask);
  move(o.scale), move(o.offset), move(o.x_sum_scale);
  return o;
}

}  // namespace nibble::int8::detail
