#include "quant/kernels/int8_conv/plan.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <span>

#include "core/error.h"
#include "quant/kernels/int8_conv/runs.h"
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

constexpr int64_t kLimit = 1 << 20;
bool in_range(int64_t v, int64_t least) { return v >= least && v <= kLimit; }

void check_padding(const Padding& pad) {
  NIBBLE_CHECK(in_range(pad.top, 0) && in_range(pad.left, 0) && in_range(pad.bottom, 0) && in_range(pad.right, 0),
               "int8 convolution: paddings are 0 to ", kLimit);
}

void check_geometry(const Int8ConvSpec& s) {
  const ConvGeometry& g = s.geometry;
  NIBBLE_CHECK(in_range(s.in_channels, 1) && in_range(s.out_channels, 1), "int8 convolution: ", s.in_channels, " to ",
               s.out_channels, " channels, expected 1 to ", kLimit);
  NIBBLE_CHECK(in_range(s.kh, 1) && in_range(s.kw, 1) && in_range(g.stride_h, 1) && in_range(g.stride_w, 1) &&
                   in_range(g.dilation_h, 1) && in_range(g.dilation_w, 1),
               "int8 convolution: kernel, stride and dilation are 1 to ", kLimit, ", got kernel ", s.kh, "x", s.kw,
               ", stride ", g.stride_h, "x", g.stride_w, ", dilation ", g.dilation_h, "x", g.dilation_w);
  check_padding(g.pad);
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

/// One output channel: acc = unit * sum x * w + sum_weight * sum (x - x_zero) + bias, with w = factor * code - shift.
struct Channel {
  int32_t factor = 1, shift = 0;
  int32_t sum_weight = 0;
  int64_t bias = 0;
  int64_t total = 0;  ///< of w
  int64_t most = 0;   ///< of |acc|
};

/// How all channels' weights become small integers. The integers themselves are never all alive at once.
struct Integers {
  std::span<const uint8_t> codes;  ///< (O, I/groups, KH, KW)
  std::vector<Channel> channels;
  int64_t in = 0, taps = 0;  ///< of one output channel
  int32_t unit = 1;
  bool sums = false;

  std::span<const uint8_t> codes_of(int64_t o) const {
    return codes.subspan(static_cast<size_t>(o * in * taps), static_cast<size_t>(in * taps));
  }
  int32_t weight(int64_t o, int64_t i, int64_t tap) const {
    const Channel& c = channels[static_cast<size_t>(o)];
    return c.factor * codes[static_cast<size_t>((o * in + i) * taps + tap)] - c.shift;
  }
};

/// The channel's w = w_unit * code - w_zero; `fits` becomes false where one is no s8. Throws Error if a sum can
/// overflow.
Channel read_channel(const Int8ConvSpec& s, std::span<const uint8_t> codes, int64_t o, bool& fits) {
  Channel c;
  c.factor = s.w_unit, c.shift = entry(s.w_zero, o), c.bias = entry(s.bias, o);
  int64_t magnitude = 0;
  uint8_t lo = 255, hi = 0;
  constexpr size_t kBlock = size_t{1} << 16;  // whose sums fit 32 bits, which vectorises
  for (size_t first = 0; first < codes.size(); first += kBlock) {
    int32_t block_total = 0, block_magnitude = 0;
    for (const uint8_t code : codes.subspan(first, std::min(kBlock, codes.size() - first))) {
      const int32_t v = c.factor * code - c.shift;
      block_total += v;
      block_magnitude += std::abs(v);
      lo = std::min(lo, code);
      hi = std::max(hi, code);
    }
    c.total += block_total;
    magnitude += block_magnitude;
  }
  c.most = std::abs(c.bias) + std::max(s.x_zero, 255 - s.x_zero) * magnitude;
  NIBBLE_CHECK(c.most <= kMost, "int8 convolution: the sum of output channel ", o, " can reach ", c.most,
               ", which is more than 2^31 - 1");
  fits = fits && c.factor * lo - c.shift >= -128 && c.factor * hi - c.shift <= 127;
  return c;
}

/// Weights that fit 8 bits (or need not) as they are, else the codes minus 128 and a term with the sums of x (eq. 7).
Integers read_weights(const Int8ConvSpec& s, bool bytes) {
  Integers all;
  all.codes = s.weights;
  all.in = s.in_channels / s.geometry.groups, all.taps = int64_t{s.kh} * s.kw;
  all.sums = wants_x_sums(s.epilogue);
  bool fits = true;
  for (int64_t o = 0; o < s.out_channels; ++o) all.channels.push_back(read_channel(s, all.codes_of(o), o, fits));
  if (!fits && bytes) {
    all.unit = s.w_unit;
    for (Channel& c : all.channels) {
      c.sum_weight = 128 * s.w_unit - c.shift;
      c.total = (c.total - c.sum_weight * all.in * all.taps) / s.w_unit;
      c.factor = 1, c.shift = 128;
      all.sums = all.sums || c.sum_weight != 0;
    }
  }
  for (Channel& c : all.channels) c.bias -= c.total * all.unit * s.x_zero;
  return all;
}

/// Where the weights of a channel lie in a row of values that is a whole number of steps of 4 bytes. Pixels are padded
/// to whole steps, or only kernel rows where pixels next to each other can be read as one run of values.
struct TapLayout {
  std::vector<int64_t> at;  ///< of each tap's first value
  int64_t values = 0;
  int64_t per_segment = 0;  ///< values of a kernel row, or of a pixel
  int64_t pixel = 0;        ///< values from pixel to pixel

  TapLayout(const Int8ConvPlan& p, int64_t value_bytes) {
    const int64_t whole = 4 / value_bytes;
    const bool dense = p.group_in % whole != 0 && p.geometry.dilation_w == 1;
    pixel = dense ? p.group_in : round_up(p.group_in, whole);
    const int64_t row = round_up(p.kw * pixel, whole);
    per_segment = dense ? row : pixel;
    values = p.kh * row;
    for (int64_t y = 0; y < p.kh; ++y)
      for (int64_t x = 0; x < p.kw; ++x) at.push_back(y * row + x * pixel);
  }
};

/// Writes a channel's weights as values of T.
template <class T>
void write_row(const Integers& all, int64_t o, const TapLayout& layout, T* row) {
  const Channel& c = all.channels[static_cast<size_t>(o)];
  const uint8_t* code = all.codes_of(o).data();
  for (int64_t i = 0; i < all.in; ++i)
    for (const int64_t at : layout.at) row[at + i] = static_cast<T>(c.factor * *code++ - c.shift);
}

/// Steps of 4 bytes of up to 16 channels at once, which fill a line of the panel.
void pack_panel(Int8ConvPlan& p, const Panel& panel, const Integers& all) {
  constexpr int64_t kChannels = sizeof(Line) / 4;
  const TapLayout layout(p, p.value_bytes);
  const int64_t steps = layout.values * p.value_bytes / 4;
  const int64_t width = round_up(panel.n, p.kernels->lanes);
  uint8_t* const to = reinterpret_cast<uint8_t*>(p.tables->weights.data()) + panel.weights;
  std::vector<uint8_t> rows(static_cast<size_t>(steps * kChannels * 4), 0);
  for (int64_t first = 0; first < panel.n; first += kChannels) {
    const int64_t n = std::min(kChannels, panel.n - first);
    for (int64_t j = 0; j < n; ++j) {
      uint8_t* const row = rows.data() + j * steps * 4;
      if (p.value_bytes == 2)
        write_row(all, panel.channel + first + j, layout, reinterpret_cast<int16_t*>(row));
      else
        write_row(all, panel.channel + first + j, layout, reinterpret_cast<int8_t*>(row));
    }
    for (int64_t step = 0; step < steps; ++step)
      for (int64_t j = 0; j < n; ++j)
        std::memcpy(to + (step * width + first + j) * 4, rows.data() + (j * steps + step) * 4, 4);
  }
}

/// Winograd's transform has a kernel and pays, and four times the largest sum of products fits 32 bits.
bool suits_winograd(const Int8ConvPlan& p) {
  constexpr int64_t kMostChannels = kMost / (4 * 255 * 128 * 9);
  const ConvGeometry& g = p.geometry;
  return p.kernels->winograd && p.kh == 3 && p.kw == 3 && g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 &&
         g.dilation_w == 1 && g.groups == 1 && p.in % (2 * p.kernels->lanes) == 0 && p.in <= kMostChannels &&
         p.out >= p.kernels->lanes;
}

/// [pair of input channels][half of the panel][tap][output channel][of the pair], panel after panel.
void pack_winograd(Int8ConvPlan& p, const Integers& all) {
  const int64_t lanes = p.kernels->lanes, bytes = round_up(all.in * all.taps * 2 * lanes, 64);
  p.tables->weights.resize(p.panels.size() * static_cast<size_t>(bytes / 64));
  auto* const weights = reinterpret_cast<int8_t*>(p.tables->weights.data());
  for (size_t i = 0; i < p.panels.size(); ++i) {
    Panel& panel = p.panels[i];
    panel.weights = static_cast<int64_t>(i) * bytes;
    for (int64_t o = 0; o < panel.n; ++o) {
      const Channel& channel = all.channels[static_cast<size_t>(panel.channel + o)];
      const uint8_t* code = all.codes_of(panel.channel + o).data();
      int8_t* const to = weights + panel.weights + o / lanes * all.taps * 2 * lanes + o % lanes * 2;
      for (int64_t c = 0; c < all.in; ++c)
        for (int64_t tap = 0; tap < all.taps; ++tap)
          to[(c / 2 * 2 * all.taps + tap) * 2 * lanes + c % 2] =
              static_cast<int8_t>(channel.factor * *code++ - channel.shift);
    }
  }
}

/// The weights of a panel as pack_runs takes them: four codes next to each other for all its channels at a time.
std::vector<int32_t> quads_of(const Int8ConvPlan& p, const Panel& panel, const Integers& all) {
  const TapLayout layout(p, 1);
  const int64_t width = round_up(panel.n, p.kernels->lanes);
  std::vector<int32_t> quads(static_cast<size_t>(layout.values * width)), row(static_cast<size_t>(layout.values));
  for (int64_t j = 0; j < panel.n; ++j) {
    write_row(all, panel.channel + j, layout, row.data());
    for (size_t step = 0; step < row.size() / 4; ++step)
      std::memcpy(quads.data() + (step * static_cast<size_t>(width) + static_cast<size_t>(j)) * 4,
                  row.data() + step * 4, 4 * sizeof(int32_t));
  }
  return quads;
}

/// The panels' weights in runs; empty if there is no kernel for them, or they have more to do than 16 bits.
std::vector<PackedRuns> try_runs(const Int8ConvPlan& p, const Integers& all) {
  if (!p.kernels->correlate_runs || p.depthwise || p.in_winograd) return {};
  std::vector<PackedRuns> packed;
  int64_t operations = 0, in_shorts = 0;
  for (const Panel& panel : p.panels) {
    const int64_t width = round_up(panel.n, p.kernels->lanes);
    const std::vector<int32_t> quads = quads_of(p, panel, all);
    packed.push_back(pack_runs(quads, width));
    // A multiplication and an addition for four codes; the first of a run has none, but is widened and added at its
    // end.
    for (const Runs& runs : packed.back().runs) operations += int64_t{2 * runs.length + 1} * runs.count * width;
    in_shorts += TapLayout(p, 2).values * width;
    if (10 * operations > 9 * in_shorts) return {};  // a run also costs a little to begin and to end
  }
  return packed;
}

void store_runs(Int8ConvPlan& p, const std::vector<PackedRuns>& packed) {
  Tables& t = *p.tables;
  const int64_t per_segment = TapLayout(p, 1).per_segment / 4;
  for (size_t i = 0; i < packed.size(); ++i) {
    Panel& panel = p.panels[i];
    const PackedRuns& from = packed[i];
    panel.weights = static_cast<int64_t>(t.weights.size() * sizeof(Line));
    panel.step = static_cast<int64_t>(t.run_steps.size());
    panel.run = static_cast<int64_t>(t.runs.size());
    panel.runs = static_cast<int64_t>(from.runs.size());
    for (const int32_t quad : from.quads)
      t.run_steps.push_back({static_cast<int32_t>(quad / per_segment), static_cast<int32_t>(quad % per_segment * 4)});
    t.runs.insert(t.runs.end(), from.runs.begin(), from.runs.end());
    t.weights.resize(t.weights.size() + (from.weights.size() + sizeof(Line) - 1) / sizeof(Line));
    if (!from.weights.empty())
      std::memcpy(reinterpret_cast<uint8_t*>(t.weights.data()) + panel.weights, from.weights.data(),
                  from.weights.size());
  }
}

void pack_depthwise(Int8ConvPlan& p, const Integers& all) {
  const int64_t block = 2 * p.kernels->lanes, taps = int64_t{p.kh} * p.kw, pairs = (taps + 1) / 2;
  auto* to = reinterpret_cast<int16_t*>(p.tables->weights.data());
  for (int64_t c0 = 0; c0 < p.out; c0 += block)
    for (int64_t j = 0; j < block; ++j) {
      const int64_t c = c0 + p.kernels->depthwise_order[j];
      for (int64_t t = 0; t < taps && c < p.out; ++t)
        to[(c0 * pairs + t / 2 * block + j) * 2 + t % 2] = static_cast<int16_t>(all.weight(c, 0, t));
    }
}

/// Panels without their weights; returns the length of the outcome's arrays.
int64_t lay_out_panels(Int8ConvPlan& p) {
  if (p.depthwise) {
    p.panels = {Panel{.n = p.out}};
    p.panels_per_group = 1;
    return round_up(p.out, 2 * p.kernels->lanes);
  }
  const int64_t group_out = p.out / p.groups;
  int64_t table = 0;
  for (int64_t g = 0; g < p.groups; ++g)
    for (int64_t j = 0; j < group_out; j += p.kernels->block) {
      const int64_t n = std::min(p.kernels->block, group_out - j);
      p.panels.push_back(Panel{.channel = g * group_out + j, .n = n, .table = table});
      table += round_up(n, p.in_winograd ? p.kernels->block : p.kernels->lanes);
    }
  p.panels_per_group = static_cast<int64_t>(p.panels.size()) / p.groups;
  return table;
}

void pack_weights(Int8ConvPlan& p, const Integers& all) {
  const int64_t block = 2 * p.kernels->lanes;
  if (p.depthwise) {
    p.tables->weights.resize(static_cast<size_t>(round_up(p.out, block) * (all.taps + 1) / 2 * 4 / 64 + 1));
    return pack_depthwise(p, all);
  }
  const int64_t row = TapLayout(p, p.value_bytes).values * p.value_bytes;
  int64_t bytes = 0;
  for (Panel& panel : p.panels) {
    panel.weights = bytes;
    bytes += round_up(row * round_up(panel.n, p.kernels->lanes), 64);
  }
  p.tables->weights.resize(static_cast<size_t>(bytes / 64));
  for (const Panel& panel : p.panels) pack_panel(p, panel, all);
}

/// The sums of windows can be weighed before any channel adds them.
bool one_sum_weight(const Integers& all) {
  const auto same = [&](const Channel& c) { return c.sum_weight == all.channels[0].sum_weight; };
  constexpr int64_t kLargest = 255 * 128;  // of a code's distance from its zero point, times a weight of the sums
  return all.unit == 1 && all.in * all.taps <= kMost / kLargest && std::ranges::all_of(all.channels, same);
}

void fill_outcome(Int8ConvPlan& p, const Int8ConvSpec& s, const Integers& all, int64_t length) {
  const Epilogue& e = s.epilogue;
  p.tables->ints.assign(static_cast<size_t>(6 * length), 0);
  p.tables->floats.assign(static_cast<size_t>(3 * length), 0.f);
  const auto ints = [&](int64_t i) { return p.tables->ints.data() + i * length; };
  const auto floats = [&](int64_t i) { return p.tables->floats.data() + i * length; };
  bool folds = !is_real(e) && e.output == Epilogue::Output::codes;
  for (const Panel& panel : p.panels)
    for (int64_t j = 0; j < panel.n; ++j) {
      const int64_t c = panel.channel + j, at = panel.table + j;
      const Channel& channel = all.channels[static_cast<size_t>(c)];
      // x may be stored minus 128: every product lacks 128 times its weight.
      const int64_t bias = channel.bias + (p.operand == Operand::s8_s8 ? channel.total * all.unit * 128 : 0);
      ints(0)[at] = static_cast<int32_t>(static_cast<uint32_t>(bias));  // modulo 2^32, as the kernels add
      ints(1)[at] = channel.sum_weight;
      ints(2)[at] = entry(e.multiplier, c);
      const int32_t shift = ints(2)[at] == 0 ? -1 : entry(e.shift, c);  // 0 is 0, however it is shifted
      folds = folds && std::abs(bias) <= kMost / 2 && channel.most <= kMost / 2 && shift < 0;
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
  o.adds_sum = p.sums && one_sum_weight(all) && !wants_x_sums(e);
  if (o.adds_sum) p.sum_factor = all.channels[0].sum_weight;
  o.sum_weight = p.sums && !o.adds_sum ? ints(1) : nullptr;
  o.unit_shift = all.unit - 1;
  o.folds = folds;
  o.multiplier = ints(2), o.left = ints(3), o.right = ints(4), o.right_mask = ints(5);
  o.shifts_left = std::any_of(e.shift.begin(), e.shift.end(), [](int32_t shift) { return shift > 0; });
  o.scale = floats(0), o.offset = floats(1);
  o.x_sum_scale = wants_x_sums(e) ? floats(2) : nullptr;
  o.zero = e.zero, o.lo = e.lo, o.hi = e.hi, o.least = e.least, o.most = e.most;
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
  in_winograd = suits_winograd(*this);
  const Integers all = read_weights(s, in_winograd || (kernels->operand != Operand::s16_s16 && !depthwise));
  sums = all.sums;
  groups = depthwise ? 1 : geometry.groups;
  group_in = in / groups;
  const int64_t length = lay_out_panels(*this);
  const std::vector<PackedRuns> packed = try_runs(*this, all);
  in_runs = !packed.empty();
  operand = in_runs || in_winograd || depthwise ? Operand::u8_s8 : kernels->operand;
  value_bytes = operand == Operand::s16_s16 ? 2 : 1;
  pixel_bytes = depthwise ? round_up(in, 2 * kernels->lanes) : TapLayout(*this, value_bytes).pixel * value_bytes;
  choose_path();
  NIBBLE_CHECK(!sums || int64_t{kh} * kw * group_in <= kMost / 255, "int8 convolution: windows of ",
               int64_t{kh} * kw * group_in, " codes are too large");
  if (in_winograd)
    pack_winograd(*this, all);
  else if (in_runs)
    store_runs(*this, packed);
  else
    pack_weights(*this, all);
  fill_outcome(*this, s, all, length);
}

Int8ConvPlan::Int8ConvPlan(const Int8ConvPlan& other, const Padding& pad) : Int8ConvPlan(other) {
  check_padding(pad);
  geometry.pad = pad;
  choose_path();
}

void Int8ConvPlan::choose_path() {
  copied = depthwise || in_winograd || operand != Operand::u8_s8 || group_in % 4 != 0 || geometry.pad != Padding{};
  pointwise = !copied && groups == 1 && kh == 1 && kw == 1 && geometry.stride_h == 1 && geometry.stride_w == 1;
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
