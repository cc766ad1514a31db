#include "quant/lowering/coding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

namespace nibble {

namespace {

/// An integer k with f32(step / 2 * k) == first, if there is one.
std::optional<int> half_steps(float step, float first) {
  const double k = std::nearbyint(2.0 * first / step);
  if (std::abs(k) > 1024 || static_cast<float>(step / 2.0 * k) != first) return std::nullopt;
  return static_cast<int>(k);
}

constexpr double kLargest = 1e30;

std::optional<Coding> uniform_coding(const Uniform& grid) {
  Coding coding;
  coding.levels = grid.hi - grid.lo + 1;
  const float step = grid.scale[0];
  const std::optional<int> first = grid.offset[0] == 0 ? 2 * grid.lo : half_steps(step, levels_of(grid, 0).front());
  if (!first) return std::nullopt;
  const bool halves = *first % 2 != 0;
  coding.scale = halves ? step / 2 : step;
  coding.unit = halves ? 2 : 1;
  coding.zero = halves ? -*first : -*first / 2;
  if (coding.zero < 0 || coding.zero > 255 || coding.highest() > 255 || !(coding.scale > 0)) return std::nullopt;
  return coding;
}

/// The bits of a grid of planes; else a ladder: each threshold that is passed sets a bit.
std::optional<Coding> bit_coding(const Grid& grid) {
  constexpr size_t kMostBits = 8;
  Coding coding;
  coding.levels = static_cast<int>(level_count(grid));
  if (const std::optional<BitPlanes> planes = as_bitplanes(grid); planes && planes->basis.size() <= kMostBits) {
    coding.offset = planes->offset[0];
    for (const auto& plane : planes->basis) coding.basis.push_back(plane[0]);
    return coding;
  }
  const std::vector<float> levels = levels_of(grid, 0);
  if (levels.size() < 2 || levels.size() > kMostBits + 1) return std::nullopt;
  coding.ladder = true;
  coding.offset = levels[0];
  for (size_t l = 1; l < levels.size(); ++l) coding.basis.push_back(static_cast<double>(levels[l]) - levels[l - 1]);
  return coding;
}

/// The last float in ascending order for which a condition holds that holds up to there and nowhere beyond.
float last_float(const std::function<bool(float)>& holds) {
  // Floats as integers that ascend like them.
  const auto at = [](int32_t i) { return std::bit_cast<float>(i < 0 ? i ^ 0x7FFFFFFF : i); };
  const int32_t most = std::bit_cast<int32_t>(std::numeric_limits<float>::max());
  int64_t low = -int64_t{most} - 1, high = most;  // holds at low, unless nowhere
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (holds(at(static_cast<int32_t>(middle))))
      low = middle;
    else
      high = middle - 1;
  }
  return at(static_cast<int32_t>(low));
}

struct UniformOptions {
  float scale = 1, offset = 0;
  int lo = 0, hi = 255;
  std::string ties = "even";
  void fields(Fields& f) {
    f.required()("scale", scale, "distance of two levels", kPositive);
    f("offset", offset, "value of the level 0");
    f.required()("lo", lo, "first level");
    f.required()("hi", hi, "last level");
    f.choice("ties", ties, {"even", "up"}, "where a value half way between two levels goes");
  }
};

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }
std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

struct PlaneOptions {
  double offset = 0;
  std::vector<double> basis;
  void fields(Fields& f) {
    f("offset", offset, "value of the code 0");
    f.required()("basis", basis, "what each bit adds");
  }
};

struct CodebookOptions {
  std::vector<double> levels, thresholds;
  void fields(Fields& f) {
    f.required()("levels", levels, "the levels, ascending");
    f.required()("thresholds", thresholds, "between them");
  }
};

}  // namespace

float Coding::value(int code) const {
  if (uniform()) return static_cast<float>(static_cast<double>(scale) * (code - zero));
  double sum = offset;
  for (size_t k = 0; k < basis.size(); ++k)
    if ((code >> k & 1) != 0) sum += basis[k];
  return static_cast<float>(sum);
}

bool Coding::is_level(int code) const {
  if (code < 0 || code > highest()) return false;
  return uniform() ? code % unit == 0 : !ladder || (code & (code + 1)) == 0;
}

std::optional<int> Coding::zero_code() const {
  if (uniform()) return unit == 1 ? std::optional<int>(zero) : std::nullopt;
  for (const uint8_t code : ascending())
    if (value(code) == 0) return code;
  return std::nullopt;
}

std::vector<uint8_t> Coding::ascending() const {
  std::vector<uint8_t> codes;
  for (int code = 0; code <= highest(); ++code)
    if (is_level(code)) codes.push_back(static_cast<uint8_t>(code));
  std::ranges::stable_sort(codes, [this](uint8_t a, uint8_t b) { return value(a) < value(b); });
  const auto same = [this](uint8_t a, uint8_t b) { return value(a) == value(b); };
  codes.erase(std::unique(codes.begin(), codes.end(), same), codes.end());
  return codes;
}

void Coding::fields(Fields& f, const std::string& prefix) {
  f(prefix + "scale", scale, "distance of two neighbouring codes", kPositive);
  f(prefix + "zero", zero, "the code of 0", {0, 255});
  f(prefix + "unit", unit, "distance of two levels in codes", {1, 2});
  f(prefix + "levels", levels, "number of levels", {1, 256});
  f(prefix + "offset", offset, "if the levels are not equally spaced: the value of the code 0");
  f(prefix + "basis", basis, "if the levels are not equally spaced: what each bit of a code adds");
  f(prefix + "ladder", ladder, "if the levels are not equally spaced: only the codes 0, 1, 3, 7, ... are used");
}

void Coding::check() const {
  NIBBLE_CHECK(std::isfinite(scale) && scale > 0, "coding: the scale must be positive and finite, is ", scale);
  NIBBLE_CHECK(zero >= 0 && zero <= 255, "coding: the code of 0 must lie in 0..255, is ", zero);
  NIBBLE_CHECK((unit == 1 || unit == 2) && levels >= 1 && (!uniform() || highest() <= 255), "coding: ", levels,
               " levels at distance ", unit, " do not fit 8 bits");
  NIBBLE_CHECK(basis.size() <= 8, "coding: a code has at most 8 bits, the basis has ", basis.size(), " entries");
  NIBBLE_CHECK(std::abs(offset) < kLargest, "coding: the offset must be finite and below ", kLargest, ", is ", offset);
  for (const double b : basis)
    NIBBLE_CHECK(std::abs(b) < kLargest, "coding: the basis must be finite and below ", kLargest, ", holds ", b);
}

std::optional<Coding> coding_of(const Grid& grid, std::string& why) {
  if (std::holds_alternative<Real>(grid)) {
    why = "its values are real";
    return std::nullopt;
  }
  if (channel_count(grid) != 1) {
    why = "its levels differ from channel to channel";
    return std::nullopt;
  }
  const std::optional<Uniform> uniform = as_uniform(grid);
  std::optional<Coding> coding = uniform ? uniform_coding(*uniform) : std::nullopt;
  if (!coding) coding = bit_coding(grid);
  if (!coding) why = "its levels are too many for codes of 8 bits that are not equally spaced around 0";
  return coding;
}

std::array<uint8_t, 256> code_table(const Grid& grid, const Coding& coding) {
  std::array<uint8_t, 256> table{};
  for (int code = 0; code < level_count(grid); ++code) {
    const int unit = coding.uniform() ? coding.unit * code : coding.ladder ? (1 << code) - 1 : code;
    table[static_cast<size_t>(code)] = static_cast<uint8_t>(unit);
  }
  return table;
}

Steps steps_of(const Grid& grid, const Coding& coding) {
  const std::vector<float> values = levels_of(grid, 0);
  std::vector<uint8_t> order;
  for (size_t code = 0; code < values.size(); ++code) order.push_back(static_cast<uint8_t>(code));
  std::ranges::stable_sort(order, [&](uint8_t a, uint8_t b) { return values[a] < values[b]; });
  const auto same = [&](uint8_t a, uint8_t b) { return values[a] == values[b]; };
  order.erase(std::unique(order.begin(), order.end(), same), order.end());
  const auto rank = [&](float x) {
    const uint8_t code = encode(Tensor::of({x}), grid).data<uint8_t>()[0];
    return std::ranges::find(order, code) - order.begin();
  };
  const std::array<uint8_t, 256> table = code_table(grid, coding);
  Steps steps;
  for (size_t l = 0; l < order.size(); ++l) {
    steps.codes.push_back(table[order[l]]);
    if (l > 0) steps.thresholds.push_back(last_float([&](float x) { return rank(x) < static_cast<int64_t>(l); }));
  }
  return steps;
}

Json grid_json(const Grid& grid) {
  check_grid(grid, 1);
  if (const auto* g = std::get_if<Uniform>(&grid))
    return {{"uniform", write_options(UniformOptions{g->scale[0], g->offset[0], g->lo, g->hi,
                                                     g->ties == Ties::up ? "up" : "even"})}};
  if (const auto* g = std::get_if<BitPlanes>(&grid)) {
    PlaneOptions options{g->offset[0], {}};
    for (const auto& plane : g->basis) options.basis.push_back(plane[0]);
    return {{"planes", write_options(options)}};
  }
  const auto* g = std::get_if<Codebook>(&grid);
  NIBBLE_CHECK(g != nullptr, "grid: a real grid has no codes");
  return {{"codebook", write_options(CodebookOptions{doubles(g->levels), doubles(g->thresholds)})}};
}

Grid grid_from_json(const Config& config) {
  Grid grid;
  if (config.contains("uniform")) {
    const auto o = read_options<UniformOptions>(config.at("uniform"), {});
    grid = Uniform{{o.scale}, {o.offset}, o.lo, o.hi, o.ties == "up" ? Ties::up : Ties::even};
  } else if (config.contains("planes")) {
    const auto o = read_options<PlaneOptions>(config.at("planes"), {});
    BitPlanes planes{{static_cast<float>(o.offset)}, {}};
    for (const double b : o.basis) planes.basis.push_back({static_cast<float>(b)});
    grid = planes;
  } else if (config.contains("codebook")) {
    const auto o = read_options<CodebookOptions>(config.at("codebook"), {});
    grid = Codebook{floats(o.levels), floats(o.thresholds)};
  } else {
    config.fail("expected a grid: an object with \"uniform\", \"planes\" or \"codebook\"");
  }
  try {
    check_grid(grid, 1);
  } catch (const Error& error) {
    config.fail(error.what());
  }
  return grid;
}

}  // namespace nibble
