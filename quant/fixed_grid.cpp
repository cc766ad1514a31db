#include "quant/fixed_grid.h"

#include <algorithm>

#include "layers/packed.h"

namespace nibble {

namespace {

float entry(const std::vector<float>& list, size_t channel) { return list[list.size() == 1 ? 0 : channel]; }

FixedGrid::Options options_for(const Grid& grid, const Config& source) {
  const int64_t channels = channel_count(grid);
  check_grid(grid, channels);
  FixedGrid::Options options;
  options.channels = static_cast<int>(channels);
  options.source = Config(source.json);
  if (const auto* uniform = std::get_if<Uniform>(&grid)) {
    options.kind = "uniform";
    options.lo = uniform->lo;
    options.hi = uniform->hi;
    options.offset = std::ranges::any_of(uniform->offset, [](float v) { return v != 0; });
  } else if (const auto* planes = std::get_if<BitPlanes>(&grid)) {
    options.kind = "planes";
    options.planes = static_cast<int>(planes->basis.size());
  } else {
    NIBBLE_CHECK(std::holds_alternative<Codebook>(grid), "fixed_grid: expected a grid, got real values");
    options.kind = "codebook";
    options.levels = static_cast<int>(level_count(grid));
  }
  return options;
}

}  // namespace

void FixedGrid::Options::fields(Fields& f) {
  f.required().choice("kind", kind, {"uniform", "planes", "codebook"}, "how the levels are described");
  f("channels", channels, "output channels with levels of their own", {1, 1 << 20});
  f("lo", lo, "uniform: lowest code", {-256, 256});
  f("hi", hi, "uniform: highest code", {-256, 256});
  f("offset", offset, "uniform: the table has offsets, too");
  f("planes", planes, "planes: their number", {1, 8});
  f("levels", levels, "codebook: their number", {1, 256});
  f.raw("source", source, "a quantizer or null", "the quantizer whose grid this is");
}

FixedGrid::FixedGrid(const Options& options) : options_(options) {
  const Options& o = options_;
  NIBBLE_CHECK(o.kind != "codebook" || o.channels == 1, "fixed_grid: a codebook has one channel, got ", o.channels);
  NIBBLE_CHECK(o.lo <= o.hi && o.hi - o.lo < 256, "fixed_grid: lo..hi must hold 1 to 256 levels, is ", o.lo, "..",
               o.hi);
  const int rows = o.kind == "uniform" ? (o.offset ? 2 : 1) : o.kind == "planes" ? o.planes + 1 : o.levels;
  table_ = Tensor::zeros({rows, o.channels});
}

FixedGrid::FixedGrid(const Grid& grid, const Config& source) : FixedGrid(options_for(grid, source)) {
  const auto to = table_.mutable_data<float>();
  const auto channels = static_cast<size_t>(options_.channels);
  const auto put = [&](size_t row, const std::vector<float>& list) {
    for (size_t c = 0; c < channels; ++c) to[row * channels + c] = entry(list, c);
  };
  if (const auto* uniform = std::get_if<Uniform>(&grid)) {
    put(0, uniform->scale);
    if (options_.offset) put(1, uniform->offset);
  } else if (const auto* planes = std::get_if<BitPlanes>(&grid)) {
    put(0, planes->offset);
    for (size_t k = 0; k < planes->basis.size(); ++k) put(k + 1, planes->basis[k]);
  } else {
    std::ranges::copy(std::get<Codebook>(grid).levels, to.begin());
  }
}

std::vector<float> FixedGrid::row(int64_t index) const {
  const auto width = static_cast<size_t>(table_.dim(1));
  const auto part = table_.data<float>().subspan(static_cast<size_t>(index) * width, width);
  return {part.begin(), part.end()};
}

Grid FixedGrid::grid(const Tensor&) const {
  if (options_.kind == "uniform")
    return Uniform{row(0), options_.offset ? row(1) : std::vector<float>{0}, options_.lo, options_.hi};
  if (options_.kind == "planes") {
    BitPlanes planes{row(0), {}};
    for (int k = 0; k < options_.planes; ++k) planes.basis.push_back(row(k + 1));
    return planes;
  }
  Codebook book;
  for (const float level : table_.data<float>()) {
    // Between two levels, so that each is its own nearest.
    if (!book.levels.empty())
      book.thresholds.push_back(static_cast<float>((static_cast<double>(book.levels.back()) + level) / 2));
    book.levels.push_back(level);
  }
  for (size_t i = 0; i < book.thresholds.size(); ++i)
    if (book.thresholds[i] >= book.levels[i + 1]) book.thresholds[i] = book.levels[i];
  return book;
}

Tensor FixedGrid::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  NIBBLE_CHECK(pass.mode == Mode::eval,
               "fixed_grid: a packed weight is final; train from the checkpoint that it was packed from");
  return snap(in[0], grid());
}

Complaints FixedGrid::audit_values(const Tensor& w) const {
  if (options_.source.json.is_null()) return {};
  const auto source = std::dynamic_pointer_cast<Quantizer>(Registry<Layer>::get().make(options_.source));
  NIBBLE_CHECK(source != nullptr, "fixed_grid: '", options_.source.type(), "' is no quantizer");
  return source->audit_values(w);
}

Complaints FixedGrid::audit_state(const Tensor& w) const {
  if (w.defined()) exact_codes(w, grid());
  return {};
}

NIBBLE_REGISTER_LAYER(FixedGrid, "fixed_grid", "The grid of a weight that is final: what nibble pack writes.");

}  // namespace nibble
