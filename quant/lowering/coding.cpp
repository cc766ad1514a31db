#include "quant/lowering/coding.h"

#include <cmath>

namespace nibble {

namespace {

/// An integer k with f32(step / 2 * k) == first, if there is one.
std::optional<int> half_steps(float step, float first) {
  const double k = std::nearbyint(2.0 * first / step);
  if (std::abs(k) > 1024 || static_cast<float>(step / 2.0 * k) != first) return std::nullopt;
  return static_cast<int>(k);
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

void Coding::fields(Fields& f, const std::string& prefix) {
  f(prefix + "scale", scale, "distance of two neighbouring codes", kPositive);
  f(prefix + "zero", zero, "the code of 0", {0, 255});
  f(prefix + "unit", unit, "distance of two levels in codes", {1, 2});
  f(prefix + "levels", levels, "number of levels", {1, 256});
}

void Coding::check() const {
  NIBBLE_CHECK(std::isfinite(scale) && scale > 0, "coding: the scale must be positive and finite, is ", scale);
  NIBBLE_CHECK(zero >= 0 && zero <= 255, "coding: the code of 0 must lie in 0..255, is ", zero);
  NIBBLE_CHECK((unit == 1 || unit == 2) && levels >= 1 && highest() <= 255, "coding: ", levels, " levels at distance ",
               unit, " do not fit 8 bits");
}

std::optional<Coding> coding_of(const Grid& grid, std::string& why) {
  if (std::holds_alternative<Real>(grid)) {
    why = "its values are real";
    return std::nullopt;
  }
  const std::optional<Uniform> uniform = as_uniform(grid);
  if (!uniform) {
    why = "its levels are not equally spaced";
    return std::nullopt;
  }
  if (channel_count(grid) != 1) {
    why = "its levels differ from channel to channel";
    return std::nullopt;
  }
  Coding coding;
  coding.levels = uniform->hi - uniform->lo + 1;
  const float step = uniform->scale[0];
  const std::optional<int> first =
      uniform->offset[0] == 0 ? 2 * uniform->lo : half_steps(step, levels_of(*uniform, 0).front());
  const bool halves = first && *first % 2 != 0;
  coding.scale = halves ? step / 2 : step;
  coding.unit = halves ? 2 : 1;
  if (first) coding.zero = halves ? -*first : -*first / 2;
  if (!first || coding.zero < 0 || coding.zero > 255 || coding.highest() > 255 || !(coding.scale > 0)) {
    why = "0 is neither one of its levels nor half way between two";
    return std::nullopt;
  }
  return coding;
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
