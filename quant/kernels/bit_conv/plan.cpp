#include "quant/kernels/bit_conv/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "quant/kernels/bit_conv/definition.h"
#include "quant/kernels/bit_gemm/dispatch.h"
#include "quant/kernels/quads.h"

namespace nibble::bits::detail {
namespace {

using Output = Epilogue::Output;

constexpr int32_t kReach = 1 << 30;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

int32_t whole(double v) { return static_cast<int32_t>(v); }

bool has_w_offset(const BitConvSpec& s) {
  return std::any_of(s.w_offset.begin(), s.w_offset.end(), [](double v) { return v != 0; });
}

/// Whether activations are offset + unit * code, which tables and products of whole codes need.
bool has_whole_codes(const BitConvSpec& s) {
  for (size_t j = 1; j < s.a_basis.size(); ++j)
    if (s.a_basis[j] != 2 * s.a_basis[j - 1]) return false;
  return s.rule == BitConvSpec::Rule::integer;
}

/// The power of two that the numbers share; 0 if all are 0.
int common_shift(const std::vector<int32_t>& numbers) {
  uint32_t all = 0;
  for (const int32_t v : numbers) all |= static_cast<uint32_t>(v);
  return all ? std::countr_zero(all) : 0;
}

/// Factors of the counts [bit of the weight][plane of activations], without the power of two that they share.
std::vector<int32_t> factors_of(const BitConvSpec& s, int planes, int32_t& shift) {
  std::vector<int32_t> factors;
  for (int k = 0; k < s.w_bits; ++k)
    for (int j = 0; j < planes; ++j)
      factors.push_back(whole(s.w_basis[static_cast<size_t>(k)][0]) * whole(s.a_basis[static_cast<size_t>(j)]));
  shift = common_shift(factors);
  for (int32_t& f : factors) f >>= shift;
  return factors;
}

/// What the codes of weights stand for, times the unit of whole activations, without the power of two that all share.
std::vector<int32_t> values_of(const BitConvSpec& s, int32_t& shift) {
  std::vector<int32_t> values;
  for (unsigned code = 0; code < 1u << s.w_bits; ++code) {
    int32_t value = whole(s.w_offset[0]);
    for (int k = 0; k < s.w_bits; ++k)
      if (code >> k & 1u) value += whole(s.w_basis[static_cast<size_t>(k)][0]);
    values.push_back(value * whole(s.a_basis[0]));
  }
  shift = common_shift(values);
  for (int32_t& v : values) v >>= shift;
  return values;
}

bool can_tabulate(const BitConvSpec& s, const Kernels& kernels) {
  return kernels.group != 0 && s.a_bits <= 4 && has_whole_codes(s);
}

/// Whether weights, or their bits, are bytes with a sign.
bool can_multiply(const BitConvSpec& s, const Kernels& kernels) {
  if (!kernels.bytes) return false;
  if (s.rule == BitConvSpec::Rule::learned) return int64_t{s.w_bits} * s.a_bits <= kMostByteSums;
  if (!has_whole_codes(s)) return false;
  int32_t shift = 0;
  const std::vector<int32_t> values = values_of(s, shift);
  return std::all_of(values.begin(), values.end(), [](int32_t v) { return v >= -128 && v <= 127; });
}

bool can_compute(Path path, const BitConvSpec& s, const Kernels& kernels) {
  return path == Path::tables ? can_tabulate(s, kernels) : path != Path::bytes || can_multiply(s, kernels);
}

/// Lists of the outcome, one after another in `ints` and `floats`, `stride` entries each.
class Lists {
 public:
  explicit Lists(BitConvPlan& plan) : p_(plan) {
    for (const Panel& panel : p_.panels) stride_ = std::max(stride_, panel.table + panel.width);
  }
  int64_t stride() const { return stride_; }

  /// Appends `count` lists: value(i, c) for list i and output channel c; returns where the first starts.
  template <class T, class Value>
  size_t add(std::vector<T>& to, int64_t count, T padding, const Value& value) const {
    const size_t start = to.size();
    to.resize(start + static_cast<size_t>(count * stride_), padding);
    for (int64_t i = 0; i < count; ++i)
      for (const Panel& panel : p_.panels)
        for (int64_t j = 0; j < panel.n; ++j)
          to[start + static_cast<size_t>(i * stride_ + panel.table + j)] = value(i, panel.channel + j);
    return start;
  }

 private:
  BitConvPlan& p_;
  int64_t stride_ = 0;
};

float value_of(const std::vector<float>& list, int64_t c, float if_empty) {
  return list.empty() ? if_empty : list[list.size() == 1 ? 0 : static_cast<size_t>(c)];
}

/// The least v with exceeds(acc) for every acc of which v is at most the (flipped) value; bits exact by construction.
int32_t find_cut(const BitConvSpec& s, int64_t c, float threshold, bool flipped) {
  const auto exceeds = [&](int64_t v) {
    const auto acc = static_cast<int32_t>(flipped ? ~v : v);
    const float r = integer_value(s, c, acc);
    return s.epilogue.strict ? r > threshold : r >= threshold;
  };
  int64_t lo = -int64_t{kReach} - 1, hi = int64_t{kReach} + 1;
  if (exceeds(lo)) return std::numeric_limits<int32_t>::min();
  if (!exceeds(hi - 1)) return std::numeric_limits<int32_t>::max();
  while (hi - lo > 1) {
    const int64_t middle = lo + (hi - lo) / 2;
    (exceeds(middle) ? hi : lo) = middle;
  }
  return static_cast<int32_t>(hi);
}

/// Bits of weights on the taps inside the image, for one class of borders.
class BorderCounts {
 public:
  explicit BorderCounts(const BitConvSpec& s) : s_(s) {
    const int64_t in = s.in_channels / s.geometry.groups, taps = int64_t{s.kh} * s.kw;
    bits_.resize(static_cast<size_t>(s.out_channels * taps * s.w_bits));
    for (int64_t o = 0; o < s.out_channels; ++o)
      for (int64_t i = 0; i < in; ++i)
        for (int64_t t = 0; t < taps; ++t)
          for (int k = 0; k < s.w_bits; ++k)
            bits_[static_cast<size_t>((o * taps + t) * s.w_bits + k)] +=
                s.weights[static_cast<size_t>((o * in + i) * taps + t)] >> k & 1;
  }

  Counts operator()(const BitConvPlan& p, int64_t border, int64_t o) const {
    const int64_t cols = p.over_cols.classes();
    const Taps rows = inside(p.over_rows, border / cols, s_.kh), columns = inside(p.over_cols, border % cols, s_.kw);
    Counts n;
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t c = columns.begin; c < columns.end; ++c) {
        for (int k = 0; k < s_.w_bits; ++k)
          n.r[k] += bits_[static_cast<size_t>(((o * s_.kh + r) * s_.kw + c) * s_.w_bits + k)];
        n.t += static_cast<int32_t>(s_.in_channels / s_.geometry.groups);
      }
    return n;
  }

 private:
  struct Taps {
    int64_t begin, end;
  };
  static Taps inside(const Overhang& over, int64_t index, int64_t taps) {
    return {index / (over.behind + 1), taps - index % (over.behind + 1)};
  }

  const BitConvSpec& s_;
  std::vector<int32_t> bits_;
};

Overhang overhang(int taps, int dilation, int before, int behind) {
  const auto most = [&](int pad) { return std::min<int64_t>((int64_t{pad} + dilation - 1) / dilation, taps); };
  return {most(before), most(behind)};
}

/// One weight of output channel o: its code, and where it stands in a panel's rows.
struct Weight {
  unsigned code;
  int64_t tap, channel;
};

template <class Body>
void each_weight(const BitConvSpec& s, int64_t o, const Body& body) {
  const int64_t in = s.in_channels / s.geometry.groups, taps = int64_t{s.kh} * s.kw;
  for (int64_t i = 0; i < in; ++i)
    for (int64_t t = 0; t < taps; ++t) body(Weight{s.weights[static_cast<size_t>((o * in + i) * taps + t)], t, i});
}

/// Step at which the copy's byte `byte` of tap `tap` is read.
int64_t step_of(const BitConvPlan& p, int64_t tap, int64_t byte) {
  const int64_t seg = p.runs ? tap / p.kw : tap, at = (p.runs ? tap % p.kw : 0) * p.pixel_bytes + byte;
  return seg * p.steps + at / p.step_bytes;
}

void pack_planes(BitConvPlan& p, const Panel& panel, const BitConvSpec& s) {
  const int64_t words = p.segs * p.steps;
  uint8_t* to = reinterpret_cast<uint8_t*>(p.weights.data()) + panel.weights;
  for (int64_t j = 0; j < panel.n; ++j)
    each_weight(s, panel.channel + j, [&](const Weight& w) {
      const int64_t step = step_of(p, w.tap, w.channel / 8);
      const int64_t bit = ((p.runs ? w.tap % p.kw : 0) * p.pixel_bytes * 8 + w.channel) % 32;
      for (int k = 0; k < p.w_bits; ++k) {
        uint8_t* at = to + ((k * words + step) * panel.width + j) * 4;
        uint32_t v;
        std::memcpy(&v, at, 4);
        v |= (w.code >> k & 1u) << bit;
        std::memcpy(at, &v, 4);
      }
    });
}

void pack_indices(BitConvPlan& p, const Panel& panel, const BitConvSpec& s) {
  const int64_t group = p.kernels->group, lanes = p.kernels->table_lanes;
  uint8_t* to = reinterpret_cast<uint8_t*>(p.weights.data()) + panel.weights;
  for (int64_t j = 0; j < panel.n; ++j) {
    const int64_t place = j / lanes * lanes + p.kernels->place[j % lanes];
    each_weight(s, panel.channel + j, [&](const Weight& w) {
      const int64_t step = step_of(p, w.tap, w.channel / group * p.step_bytes);
      for (int k = 0; k < p.w_bits; ++k) {
        uint8_t& at = to[(step * p.w_bits + k) * panel.width + place];
        at = static_cast<uint8_t>(at | (w.code >> k & 1u) << w.channel % group);
      }
    });
  }
}

/// Bits of weights apart, or the weights themselves.
void pack_bytes(BitConvPlan& p, const Panel& panel, const BitConvSpec& s) {
  const int64_t words = p.segs * p.steps;
  uint8_t* to = reinterpret_cast<uint8_t*>(p.weights.data()) + panel.weights;
  const auto value = [&p](unsigned code, int plane) {
    return p.learned ? static_cast<int32_t>(code >> plane & 1u) : p.factor[code];
  };
  for (int64_t j = 0; j < panel.n; ++j)
    each_weight(s, panel.channel + j, [&](const Weight& w) {
      const int64_t step = step_of(p, w.tap, w.channel);
      for (int k = 0; k < p.w_planes; ++k)
        to[((k * words + step) * panel.width + j) * 4 + w.channel % 4] = static_cast<uint8_t>(value(w.code, k));
    });
}

void pack_weights(BitConvPlan& p, const BitConvSpec& s) {
  const bool tables = p.path == Path::tables;
  const int64_t groups = p.geometry.groups, group_out = p.out / groups;
  const int64_t lanes = tables ? p.kernels->table_lanes : p.kernels->lanes;
  const int64_t block = tables ? p.kernels->table_block[p.w_bits] : p.kernels->block;
  int64_t bytes = 0, table = 0;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t j = 0; j < group_out; j += block) {
      const int64_t n = std::min(block, group_out - j), width = round_up(n, lanes);
      p.panels.push_back({g * group_out + j, n, width, bytes, table});
      bytes += round_up(p.segs * p.steps * p.w_planes * width * (tables ? 1 : 4), 64);
      table += width;
    }
  p.panels_per_group = static_cast<int64_t>(p.panels.size()) / groups;
  p.weights.resize(static_cast<size_t>(bytes / 64));
  const auto pack = tables ? pack_indices : p.path == Path::bytes ? pack_bytes : pack_planes;
  for (const Panel& panel : p.panels) pack(p, panel, s);
}

void fill_integer(BitConvPlan& p, const BitConvSpec& s, const Lists& lists) {
  const Epilogue& e = s.epilogue;
  Outcome& o = p.outcome;
  const auto flipped = [&](int64_t c) { return value_of(e.scale, c, 1) < 0; };
  const bool levels = e.output == Output::levels, flips = levels && [&] {
    for (int64_t c = 0; c < p.out; ++c)
      if (flipped(c)) return true;
    return false;
  }();
  const size_t cut =
      lists.add(p.ints, levels ? static_cast<int64_t>(e.thresholds.size()) : 0, std::numeric_limits<int32_t>::max(),
                [&](int64_t l, int64_t c) { return find_cut(s, c, e.thresholds[static_cast<size_t>(l)], flipped(c)); });
  const size_t flip = lists.add(p.ints, flips ? 1 : 0, 0, [&](int64_t, int64_t c) { return flipped(c) ? -1 : 0; });
  size_t border = p.ints.size();
  if (s.a_offset != 0) {
    const BorderCounts counts(s);
    border = lists.add(p.ints, p.over_rows.classes() * p.over_cols.classes(), 0,
                       [&](int64_t i, int64_t c) { return static_cast<int32_t>(accumulator(s, counts(p, i, c))); });
  }
  // Beside INT_MAX for a cut that nothing reaches.
  o.narrow = levels && detail::reach(s) < 32767;
  o.cut = p.ints.data() + cut;
  o.flip = flips ? p.ints.data() + flip : nullptr;
  o.border = s.a_offset != 0 ? p.ints.data() + border : nullptr;
}

void fill_learned(BitConvPlan& p, const BitConvSpec& s, const Lists& lists) {
  const auto basis = [&](int64_t k, int64_t c) {
    const std::vector<double>& list = s.w_basis[static_cast<size_t>(k)];
    return list[list.size() == 1 ? 0 : static_cast<size_t>(c)];
  };
  const auto a = [&](int64_t j) { return s.a_basis[static_cast<size_t>(j)]; };
  const size_t factor = lists.add(p.floats, int64_t{p.w_bits} * p.a_bits, 0.f, [&](int64_t i, int64_t c) {
    return learned_factor(s, c, basis(i / p.a_bits, c) * a(i % p.a_bits));
  });
  const size_t sum = lists.add(p.floats, p.sums ? p.a_bits : 0, 0.f, [&](int64_t j, int64_t c) {
    return learned_factor(s, c, s.w_offset[s.w_offset.size() == 1 ? 0 : static_cast<size_t>(c)] * a(j));
  });
  size_t border = p.floats.size();
  if (s.a_offset != 0) {
    const BorderCounts counts(s);
    border = lists.add(p.floats, p.over_rows.classes() * p.over_cols.classes(), 0.f,
                       [&](int64_t i, int64_t c) { return learned_border(s, c, counts(p, i, c)); });
  }
  p.outcome.real_factor = p.floats.data() + factor;
  p.outcome.sum_factor = p.sums ? p.floats.data() + sum : nullptr;
  p.outcome.real_border = s.a_offset != 0 ? p.floats.data() + border : nullptr;
}

void fill_outcome(BitConvPlan& p, const BitConvSpec& s) {
  const Epilogue& e = s.epilogue;
  const Lists lists(p);
  Outcome& o = p.outcome;
  o.stride = lists.stride();
  o.learned = p.learned;
  o.kind = e.output == Output::levels    ? Outcome::kLevels
           : e.output == Output::uniform ? Outcome::kUniform
           : e.output == Output::reals   ? Outcome::kReals
                                         : Outcome::kAccumulators;
  lists.add(p.floats, 1, 0.f, [&](int64_t, int64_t c) { return value_of(e.offset, c, 0); });
  lists.add(p.floats, 1, 0.f, [&](int64_t, int64_t c) { return value_of(e.scale, c, 1); });
  p.learned ? fill_learned(p, s, lists) : fill_integer(p, s, lists);
  o.offset = p.floats.data();
  o.scale = p.floats.data() + o.stride;
  o.cuts = static_cast<int64_t>(e.output == Output::levels ? e.thresholds.size() : 0);
  for (int64_t l = 0; l < o.cuts; ++l) {
    const float t = e.thresholds[static_cast<size_t>(l)];
    // r >= t is r > the number before t.
    o.threshold[l] = e.strict ? t : std::nextafter(t, -std::numeric_limits<float>::infinity());
  }
  if (e.output == Output::levels) std::copy(e.codes.begin(), e.codes.end(), o.codes);
  o.zero = e.zero, o.lo = e.lo, o.hi = e.hi;
  o.least = e.least, o.most = e.most;
}

/// Cycles per tap and 32 input channels, measured with avx512bits, avx2 and amx (README.md) and rounded; only their
/// ratios matter.
struct Costs {
  double planes;     ///< of a pair of planes, for a quarter of `table_lanes` output channels
  double tables[5];  ///< of a plane of weights, for `table_lanes`, by bits of activations
  double build;      ///< of the tables of a pixel
};
constexpr Costs kByPopcount{1.65, {0, 8.5, 9.5, 10.5, 15.5}, 30}, kByShuffles{3.3, {0, 9.5, 10.5, 12.5, 16}, 30};
constexpr double kBytesCost = 0.9;  ///< of full tiles, for 16 output channels

/// What the ways to compute a convolution cost, in cycles per tap and 32 input channels.
class Price {
 public:
  Price(const BitConvPlan& plan, const BitConvSpec& spec)
      : p_(plan), s_(spec), cost_(plan.kernels->popcount ? kByPopcount : kByShuffles) {}
  double of(Path path) const {
    return path == Path::tables ? of_tables() : path == Path::bytes ? of_bytes() : of_planes();
  }

 private:
  double vectors(int64_t lanes) const { return static_cast<double>((p_.out / p_.geometry.groups + lanes - 1) / lanes); }
  double of_planes() const {
    const Kernels& k = *p_.kernels;
    const double quarters = 4.0 * static_cast<double>(k.lanes) / static_cast<double>(k.table_lanes);
    // Rows of taps are rounded up to words of 32 bits.
    const int64_t bits = p_.kw * round_up(p_.group_in, 8);
    const double words = static_cast<double>(round_up(bits, 32)) / static_cast<double>(p_.kw * p_.group_in);
    return cost_.planes * p_.w_bits * p_.a_bits * vectors(k.lanes) * quarters * words;
  }
  /// Each pixel's tables are built once, and each replaces a_bits counts.
  double of_tables() const {
    constexpr int64_t kLeastChannels = 16;
    if (p_.group_in < kLeastChannels) return std::numeric_limits<double>::infinity();
    const double built = cost_.build * p_.geometry.stride_h * p_.geometry.stride_w / (p_.kh * p_.kw);
    return cost_.tables[p_.a_bits] * p_.w_bits * vectors(p_.kernels->table_lanes) + built;
  }
  double of_bytes() const {
    const int64_t pixel = round_up(p_.group_in, 4), steps = (p_.geometry.dilation_w == 1 ? p_.kw : 1) * pixel / 4;
    const double filled = static_cast<double>(amx::quads_of(steps)) / amx::kQuads;
    const double padded = static_cast<double>(pixel) / static_cast<double>(p_.group_in);
    const int pairs = s_.rule == BitConvSpec::Rule::learned ? p_.w_bits * p_.a_bits : 1;
    return kBytesCost / filled * padded * pairs * vectors(16);
  }

  const BitConvPlan& p_;
  const BitConvSpec& s_;
  const Costs& cost_;
};

Path cheapest(const BitConvPlan& plan, const BitConvSpec& s) {
  const Price price(plan, s);
  Path best = Path::planes;
  for (const Path path : {Path::tables, Path::bytes})
    if (can_compute(path, s, *plan.kernels) && price.of(path) < price.of(best)) best = path;
  return best;
}

}  // namespace

const char* path_name(Path path) { return path == Path::tables ? "tables" : path == Path::bytes ? "bytes" : "planes"; }

BitConvPlan::BitConvPlan(const BitConvSpec& s, std::string_view isa, Path asked) {
  check(s);
  const auto& chosen = gemm_variant(isa);
  kernels = &chosen.fn();
  variant = chosen.name;
  in = s.in_channels, out = s.out_channels, kh = s.kh, kw = s.kw, w_bits = s.w_bits, a_bits = s.a_bits;
  geometry = s.geometry, output = s.epilogue.output;
  output_bytes = output == Output::levels || output == Output::uniform ? 1 : 4;
  learned = s.rule == BitConvSpec::Rule::learned;
  group_in = in / geometry.groups;
  NIBBLE_CHECK(can_compute(asked, s, *kernels), "bit convolution: no ", path_name(asked),
               " for these bases, bits and kernels (", variant, ")");
  path = asked == Path::automatic ? cheapest(*this, s) : asked;

  const bool tables = path == Path::tables, bytes = path == Path::bytes;
  planes = tables || (bytes && !learned) ? 1 : a_bits;
  w_planes = bytes && !learned ? 1 : w_bits;
  step_bytes = tables ? int64_t{1} << kernels->group : 4;
  pixel_bytes = tables  ? (group_in + kernels->group - 1) / kernels->group * step_bytes
                : bytes ? round_up(group_in, 4)
                        : (group_in + 7) / 8;
  pointwise = kh == 1 && kw == 1 && geometry.stride_h == 1 && geometry.stride_w == 1 && geometry.pad == Padding{};
  runs = geometry.dilation_w == 1;
  segs = runs ? kh : int64_t{kh} * kw;
  steps = ((runs ? kw : 1) * pixel_bytes + step_bytes - 1) / step_bytes;
  sums = has_w_offset(s) && (learned || !bytes);  // whole weights have the offset in them
  over_rows = overhang(kh, geometry.dilation_h, geometry.pad.top, geometry.pad.bottom);
  over_cols = overhang(kw, geometry.dilation_w, geometry.pad.left, geometry.pad.right);
  if (bytes && !learned) {
    factor = values_of(s, outcome.shift);
  } else if (!learned) {
    factor = factors_of(s, planes, outcome.shift);
    for (int64_t j = 0; j < planes; ++j)
      sum_factor.push_back(whole(s.w_offset[0]) * whole(s.a_basis[static_cast<size_t>(j)]));
  }
  pack_weights(*this, s);
  const double borders = static_cast<double>(over_rows.classes()) * static_cast<double>(over_cols.classes()) *
                         static_cast<double>(out) * kh * kw * w_bits;
  NIBBLE_CHECK(s.a_offset == 0 || borders <= kReach, "bit convolution: a window of ", kh, "x", kw,
               " taps with these paddings and an offset of the activations has too many kinds of borders");
  fill_outcome(*this, s);
}

Outcome BitConvPlan::outcome_of(const Panel& panel) const {
  Outcome o = outcome;
  const auto move = [&](auto*& p) {
    if (p) p += panel.table;
  };
  move(o.cut), move(o.flip), move(o.border), move(o.scale), move(o.offset);
  move(o.real_factor), move(o.sum_factor), move(o.real_border);
  return o;
}

}  // namespace nibble::bits::detail

namespace nibble::bits {

bool BitConv::computes(Path path, const BitConvSpec& spec, std::string_view isa) {
  detail::check(spec);
  return detail::can_compute(path, spec, gemm_variant(isa).fn());
}

}  // namespace nibble::bits
