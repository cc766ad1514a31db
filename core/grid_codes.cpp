#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/grid.h"
#include "core/kernels/elementwise/dispatch.h"
#include "core/parallel.h"
#include "core/rounding.h"

namespace nibble {
namespace {

constexpr int64_t kGrain = 1 << 14, kRun = 1 << 12;

/// One channel of a Uniform grid.
struct UniformCoder {
  float scale, offset, lo, hi;
  bool up;

  UniformCoder(const Uniform& g, size_t channel)
      : scale(g.scale[g.scale.size() == 1 ? 0 : channel]),
        offset(g.offset[g.offset.size() == 1 ? 0 : channel]),
        lo(static_cast<float>(g.lo)),
        hi(static_cast<float>(g.hi)),
        up(g.ties == Ties::up) {}

  /// Between lo and hi; NaN gives lo.
  template <bool kUp>
  float quotient(float x) const {
    const float u = (x - offset) / scale;
    const float above = u > lo ? u : lo, inside = above < hi ? above : hi;
    const float code = round_half_even(inside);
    if constexpr (kUp) return code + (inside - code >= 0.5f ? 1.0f : 0.0f);  // the difference is exact
    return code;
  }
  void encode(const float* x, uint8_t* codes, int64_t n) const {
    elementwise::kernels().encode(x, {scale, offset, lo, hi, up}, codes, n);
  }
  void snap(const float* x, float* y, int64_t n) const {
    // The product in f32 is what the product in double would round to.
    if (offset == 0) return elementwise::kernels().snap(x, {scale, offset, lo, hi, up}, y, n);
    up ? snap_with_offset<true>(x, y, n) : snap_with_offset<false>(x, y, n);
  }
  template <bool kUp>
  void snap_with_offset(const float* x, float* y, int64_t n) const {
    const UniformCoder coder = *this;  // a copy: the compiler cannot know that y does not overlap this one
    const double base = offset, step = scale;
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(base + step * coder.quotient<kUp>(x[i]));
  }
};

/// One channel of a grid with listed levels: ascending, with the code of each and the thresholds between them.
struct TableCoder {
  static constexpr size_t kCounted = 32;  ///< thresholds that are counted one by one
  std::vector<float> levels, thresholds;
  std::vector<uint8_t> codes;
  bool in_order = false;  ///< code i is level i

  explicit TableCoder(const Codebook& g)
      : levels(g.levels), thresholds(g.thresholds), codes(g.levels.size()), in_order(true) {
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i);
  }
  TableCoder(const BitPlanes& g, int64_t channel) {
    const std::vector<float> by_code = levels_of(g, channel);
    for (size_t code = 0; code < by_code.size(); ++code) codes.push_back(static_cast<uint8_t>(code));
    std::ranges::stable_sort(codes, [&](uint8_t a, uint8_t b) { return by_code[a] < by_code[b]; });
    const auto same = [&](uint8_t a, uint8_t b) { return by_code[a] == by_code[b]; };
    codes.erase(std::unique(codes.begin(), codes.end(), same), codes.end());
    for (const uint8_t code : codes) {
      if (!levels.empty()) thresholds.push_back(midpoint(levels.back(), by_code[code]));
      levels.push_back(by_code[code]);
    }
    in_order = std::ranges::is_sorted(codes) && codes.back() + size_t{1} == codes.size();
  }

  /// The largest float that is not above the middle of a and b: no float lies between the two.
  static float midpoint(float a, float b) {
    const double middle = (static_cast<double>(a) + b) / 2;
    const auto near = static_cast<float>(middle);
    return near <= middle ? near : std::nextafter(near, -std::numeric_limits<float>::infinity());
  }

  /// found(i, number of thresholds below x[i]) for every element. Few thresholds are counted one by one over a short
  /// stretch of elements, which the compiler can do for several elements at once.
  template <class Found>
  void look_up(const float* x, int64_t n, const Found& found) const {
    if (thresholds.size() > kCounted) {
      for (int64_t i = 0; i < n; ++i) {
        found(i, static_cast<size_t>(std::ranges::lower_bound(thresholds, x[i]) - thresholds.begin()));
      }
      return;
    }
    constexpr int64_t kStretch = 64;
    for (int64_t first = 0; first < n; first += kStretch) {
      const int64_t count = std::min(kStretch, n - first);
      int32_t below[kStretch] = {};
      for (const float threshold : thresholds)
        for (int64_t i = 0; i < count; ++i) below[i] += threshold < x[first + i];
      for (int64_t i = 0; i < count; ++i) found(first + i, static_cast<size_t>(below[i]));
    }
  }
  void encode(const float* x, uint8_t* to, int64_t n) const {
    if (thresholds.size() > kCounted) {
      look_up(x, n, [&](int64_t i, size_t level) { to[i] = codes[level]; });
      return;
    }
    elementwise::kernels().count_below(x, thresholds.data(), static_cast<int64_t>(thresholds.size()), to, n);
    if (in_order) return;
    for (int64_t i = 0; i < n; ++i) to[i] = codes[to[i]];
  }
  void snap(const float* x, float* y, int64_t n) const {
    look_up(x, n, [&](int64_t i, size_t level) { y[i] = levels[level]; });
  }
};

/// body(channel, begin, end) for runs of elements of one channel that together cover all, from several threads. They
/// are short enough to stay in the first-level cache.
template <class Body>
void each_run(int64_t elements, int64_t channels, const Body& body) {
  const int64_t width = std::max<int64_t>(1, elements / channels);
  parallel_for(0, elements, kGrain, [&](int64_t lo, int64_t hi) {
    while (lo < hi) {
      const int64_t channel = lo / width, end = std::min({hi, (channel + 1) * width, lo + kRun});
      body(static_cast<size_t>(channel), lo, end);
      lo = end;
    }
  });
}

/// run(coder, begin, end) for runs of elements that share a coder; false if one is NaN or its magnitude exceeds `most`.
template <class Run>
bool with_coders(const Tensor& x, const Grid& grid, float most, const Run& run) {
  const float* values = x.data<float>().data();
  std::atomic<bool> fine{true};
  const auto each = [&](const auto& coders) {
    each_run(x.numel(), static_cast<int64_t>(coders.size()), [&](size_t channel, int64_t begin, int64_t end) {
      if (!elementwise::kernels().within(values + begin, most, end - begin)) fine = false;
      run(coders[channel], begin, end);
    });
  };
  if (const auto* uniform = std::get_if<Uniform>(&grid)) {
    std::vector<UniformCoder> coders;
    for (int64_t c = 0; c < channel_count(grid); ++c) coders.emplace_back(*uniform, static_cast<size_t>(c));
    each(coders);
  } else {
    std::vector<TableCoder> coders;
    for (int64_t c = 0; c < channel_count(grid); ++c) {
      if (const auto* planes = std::get_if<BitPlanes>(&grid)) {
        coders.emplace_back(*planes, c);
      } else {
        coders.emplace_back(std::get<Codebook>(grid));
      }
    }
    each(coders);
  }
  return fine;
}

void check_no_nan(const Tensor& x, bool fine) {
  if (fine) return;
  const auto values = x.data<float>();
  const auto first = std::ranges::find_if(values, [](float v) { return std::isnan(v); }) - values.begin();
  throw Error(concat_text("grid: element ", first, " of a tensor of shape ", x.shape(), " is NaN"));
}

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kLargest = std::numeric_limits<float>::max();

void check_fits(const char* op, const Tensor& x, DType type, const Grid& grid) {
  NIBBLE_CHECK(x.defined() && x.dtype() == type, op, ": expects ", name_of(type), " elements, got ",
               x.defined() ? name_of(x.dtype()) : "an undefined tensor");
  NIBBLE_CHECK(!std::holds_alternative<Real>(grid), op, ": a real grid has no codes");
  const int64_t channels = channel_count(grid);
  NIBBLE_CHECK(channels == 1 || (x.rank() > 0 && x.dim(0) == channels), op, ": the grid has ", channels,
               " channels, which does not fit axis 0 of shape ", x.shape());
  check_grid(grid, channels);
}

/// y = snap(x); false if an element is NaN or its magnitude exceeds `most`.
bool snap_within(const Tensor& x, const Grid& grid, float most, Tensor& y) {
  check_fits("snap", x, DType::f32, grid);
  y = Tensor::empty(x.shape());
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  return with_coders(x, grid, most, [=](const auto& coder, int64_t begin, int64_t end) {
    coder.snap(from + begin, to + begin, end - begin);
  });
}

}  // namespace

Tensor encode(const Tensor& x, const Grid& grid) {
  check_fits("encode", x, DType::f32, grid);
  Tensor codes = Tensor::empty(x.shape(), DType::u8);
  const float* from = x.data<float>().data();
  uint8_t* to = codes.mutable_data<uint8_t>().data();
  const bool fine = with_coders(x, grid, kInfinity, [=](const auto& coder, int64_t begin, int64_t end) {
    coder.encode(from + begin, to + begin, end - begin);
  });
  check_no_nan(x, fine);
  return codes;
}

Tensor decode(const Tensor& codes, const Grid& grid) {
  check_fits("decode", codes, DType::u8, grid);
  const int64_t channels = channel_count(grid);
  std::vector<std::vector<float>> levels;
  for (int64_t c = 0; c < channels; ++c) levels.push_back(levels_of(grid, c));
  Tensor x = Tensor::empty(codes.shape());
  const uint8_t* from = codes.data<uint8_t>().data();
  float* to = x.mutable_data<float>().data();
  each_run(codes.numel(), channels, [&](size_t channel, int64_t begin, int64_t end) {
    const std::vector<float>& table = levels[channel];
    for (int64_t i = begin; i < end; ++i) {
      NIBBLE_CHECK(from[i] < table.size(), "decode: code ", int{from[i]}, " is outside the grid's ", table.size(),
                   " levels");
      to[i] = table[from[i]];
    }
  });
  return x;
}

Tensor snap(const Tensor& x, const Grid& grid) {
  if (std::holds_alternative<Real>(grid)) return x;
  Tensor y;
  check_no_nan(x, snap_within(x, grid, kInfinity, y));
  return y;
}

Tensor snap_finite(std::string_view who, const Tensor& x, const Grid& grid) {
  Tensor y;
  if (snap_within(x, grid, kLargest, y)) return y;
  const auto values = x.data<float>();
  const auto bad = std::ranges::find_if(values, [](float v) { return !std::isfinite(v); });
  throw Error(concat_text(who, ": expected finite numbers, element ", bad - values.begin(), " of a tensor of shape ",
                          x.shape(), " is ", *bad));
}

}  // namespace nibble
