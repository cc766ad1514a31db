#include "apps/verify_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/lowering/lower.h"

namespace nibble {
namespace {

int64_t best_class(const Tensor& logits, int64_t row) {
  const auto scores =
      logits.data<float>().subspan(static_cast<size_t>(row * logits.dim(1)), static_cast<size_t>(logits.dim(1)));
  return std::ranges::max_element(scores) - scores.begin();
}

Json difference_json(const EdgeDifference& d) {
  return {{"codes_differ", d.codes_differ},
          {"max_code_gap", d.max_code_gap},
          {"excess", d.excess},
          {"max_abs", d.max_abs},
          {"relative", d.relative}};
}

}  // namespace

std::vector<std::string> ModelParity::complaints() const {
  std::vector<std::string> found;
  for (const std::string& mismatch : mismatches)
    found.push_back("lowering the checkpoint again gives something else: " + mismatch);
  for (const EdgeParity& edge : edges) {
    const std::string what = broken(edge);
    if (!what.empty()) found.push_back("'" + edge.node + "': " + what);
  }
  const int64_t apart = std::abs(trained.correct - lowered.correct), images = trained.total;
  if (apart > std::max<int64_t>(1, images * 5 / 10000))
    found.push_back(
        concat_text(trained.correct, " of ", images, " images are right before lowering, ", lowered.correct, " after"));
  return found;
}

Json ModelParity::json() const {
  Json list = Json::array();
  for (const EdgeParity& edge : edges)
    list.push_back({{"node", edge.node},
                    {"type", edge.type},
                    {"coded", edge.coded},
                    {"values", edge.values},
                    {"slack", edge.slack},
                    {"codes", difference_json(edge.codes)},
                    {"alone", difference_json(edge.alone)},
                    {"running", difference_json(edge.running)}});
  const std::vector<std::string> wrong = complaints();
  return {{"epilogue", epilogue},      {"edges", list},  {"float", real.json()},   {"trained", trained.json()},
          {"lowered", lowered.json()}, {"agree", agree}, {"holds", wrong.empty()}, {"complaints", wrong}};
}

std::vector<std::string> state_mismatches(const Graph& trained, const Graph& lowered, const std::string& epilogue) {
  const Graph again = lower(trained, {.epilogue = epilogue, .engine_of = engines_of(lowered)}).graph;
  if (again.to_json() != lowered.to_json()) return {"the layers or their options differ"};
  const std::vector<NamedTensor> expected = state_of(again), found = state_of(lowered);
  std::vector<std::string> result;
  for (size_t i = 0; i < expected.size(); ++i) {
    const Tensor &a = expected[i].tensor, &b = found[i].tensor;
    const bool same = a.shape() == b.shape() && a.dtype() == b.dtype() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
    if (!same) result.push_back("tensor '" + expected[i].name + "'");
  }
  return result;
}

void add_batch(ModelParity& parity, const Graph& trained, const Graph& on_codes, const Graph& lowered,
               const Tensor& images, const Tensor& labels) {
  const Comparison found = compare(trained, on_codes, lowered, images);
  merge(parity.edges, found.edges);
  add_batch(parity.real, found.trained, labels);
  add_batch(parity.trained, found.on_codes, labels);
  add_batch(parity.lowered, found.lowered, labels);
  for (int64_t i = 0; i < images.dim(0); ++i)
    parity.agree += best_class(found.on_codes, i) == best_class(found.lowered, i);
}

}  // namespace nibble
