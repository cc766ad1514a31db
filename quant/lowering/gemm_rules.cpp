#include <algorithm>
#include <cmath>

#include "core/tape.h"
#include "quant/lowering/build_conv.h"
#include "quant/lowering/int8_max_pool.h"
#include "quant/lowering/int8_table.h"
#include "quant/lowering/lowering.h"
#include "quant/lowering/packed_conv.h"

namespace nibble {

namespace {

std::vector<const Node*> joined(const Node& first, const std::vector<const Node*>& rest, const Closing* closing) {
  std::vector<const Node*> all{&first};
  all.insert(all.end(), rest.begin(), rest.end());
  if (closing != nullptr && !closing->behind_join) all.push_back(closing->quantizer);
  return all;
}

float applied(const AffineClamp& map, float x) { return std::clamp(map.a[0] * x + map.b[0], map.lo[0], map.hi[0]); }

/// The same bounds for all channels, and nothing else.
bool only_bounds(const AffineClamp& map) { return same_for_all(map) && map.a[0] == 1 && map.b[0] == 0; }

/// All engines, the wanted one first. Float arithmetic only where it is wanted or to be measured.
std::vector<Engine> candidates_for(const std::string& wanted) {
  std::vector<Engine> list(engines().begin(), engines().end());
  if (wanted != "auto" && wanted != "float")
    std::erase_if(list, [](const Engine& e) { return std::string_view(e.name) == "float"; });
  std::stable_partition(list.begin(), list.end(), [&](const Engine& e) { return e.name == wanted; });
  return list;
}

std::shared_ptr<Int8Table> make_table(const Coding& out, std::span<const uint8_t> table) {
  auto layer = std::make_shared<Int8Table>(Int8Table::Options{out});
  layer->set_table(table);
  return layer;
}

}  // namespace

void Lowering::visit_gemm(const Node& node, const GemmForm& gemm) {
  Refusals refusals;
  if (!coding_at(node.inputs[0]))
    return pack_gemm(node, gemm, {"its input is real: no quantizer that has codes precedes it"});
  const Chain chain = view_.pointwise_after(node);
  if (close_gemm(node, gemm, chain, refusals) || close_pooled(node, gemm, chain) ||
      open_gemm(node, gemm, chain, refusals))
    return;
  pack_gemm(node, gemm, refusals);
}

void Lowering::pack_gemm(const Node& node, const GemmForm& gemm, Refusals refusals) {
  std::shared_ptr<Layer> layer;
  try {
    layer = build_packed(gemm);
  } catch (const Error& error) {
    if (std::ranges::find(refusals, error.what()) == refusals.end()) refusals.emplace_back(error.what());
    return keep(node, refusals);
  }
  put_real({&node}, layer, {real(node.inputs[0])}, refusals);
}

bool Lowering::close_gemm(const Node& node, const GemmForm& gemm, const Chain& chain, Refusals& refusals) {
  const std::optional<Closing> closing = view_.any_closing(chain.empty() ? node : *chain.back());
  if (!closing) {
    refusals.push_back("its output stays real: no quantizer that has codes alone reads it");
    return false;
  }
  const Edge& in = edge(node.inputs[0]);
  try {
    ChannelMap map(static_cast<size_t>(gemm.weight.dim(0)), gemm.bias);
    for (const Node* next : chain) map.then(*view_.facts(*next).pointwise);
    const Chain all = joined(node, chain, &*closing);
    const GemmSite site{gemm, *in.coding, map, closing->coding, closing->grid, fixed_};
    const Built built = build_gemm(site, node, all.back()->name);
    put_codes(all, built.layer, {in.codes}, closing->coding);
    note_engine(built);
    return true;
  } catch (const Error& error) {
    refusals.push_back(error.what());
    return false;
  }
}

bool Lowering::close_pooled(const Node& node, const GemmForm& gemm, const Chain& chain) {
  const Node* pool = max_pool_of(chain.empty() ? node : *chain.back());
  if (pool == nullptr) return false;
  const Chain behind = view_.pointwise_after(*pool);
  const std::optional<Closing> closing = view_.any_closing(behind.empty() ? *pool : *behind.back());
  if (!closing || closing->behind_join || !std::ranges::is_sorted(closing->coding.ascending())) return false;
  Chain all = joined(node, chain, nullptr);
  all.push_back(pool);
  const Edge& in = edge(node.inputs[0]);
  const std::string name = fresh(node.name + ".codes");
  try {
    ChannelMap map(static_cast<size_t>(gemm.weight.dim(0)), gemm.bias);
    for (const Node* next : chain) map.then(*view_.facts(*next).pointwise);
    for (const Node* next : behind) {
      // The largest of what ascending functions give is what they give for the largest.
      if (std::ranges::any_of(view_.facts(*next).pointwise->a, [](float a) { return a < 0; })) return false;
      map.then(*view_.facts(*next).pointwise);
      all.push_back(next);
    }
    const Built built = build_gemm({gemm, *in.coding, map, closing->coding, closing->grid, fixed_}, node, name);
    result_.graph.add(name, built.layer, {in.codes});
    result_.report.push_back({name, std::string(built.layer->type()), {}, {}});
    note_engine(built);
  } catch (const Error&) {
    return false;  // why, close_gemm or open_gemm says
  }
  all.push_back(closing->quantizer);
  put_codes(all, std::make_shared<Int8MaxPool>(PoolWindow::of(*view_.facts(*pool).window)), {name}, closing->coding);
  return true;
}

bool Lowering::open_gemm(const Node& node, const GemmForm& gemm, const Chain& chain, Refusals& refusals) {
  const Edge& in = edge(node.inputs[0]);
  try {
    ChannelMap map(static_cast<size_t>(gemm.weight.dim(0)), gemm.bias);
    Chain taken;
    for (const Node* next : chain) {
      if (!unbounded(*view_.facts(*next).pointwise)) break;
      map.then(*view_.facts(*next).pointwise);
      taken.push_back(next);
    }
    const Node& last = taken.empty() ? node : *taken.back();
    const Node* sum = taken.size() == chain.size() ? sum_of_two(last) : nullptr;
    if (sum != nullptr) taken.push_back(sum);
    const Chain behind =
        sum != nullptr ? view_.pointwise_after(*sum) : Chain(chain.begin() + taken.size(), chain.end());
    if (!behind.empty() && only_bounds(*view_.facts(*behind[0]).pointwise)) {
      map.then(*view_.facts(*behind[0]).pointwise);
      taken.push_back(behind[0]);
    }
    Chain all = joined(node, taken, nullptr);
    GemmSite site{gemm, *in.coding, map, std::nullopt, Real{}, fixed_, sum != nullptr};
    const Node* pool = sum == nullptr && gemm.weight.rank() == 4 ? max_pool_of(*all.back()) : nullptr;
    if (pool != nullptr) {
      site.pool = view_.facts(*pool).window;
      all.push_back(pool);
    }
    const Built built = build_gemm(site, node, all.back()->name);
    std::vector<std::string> inputs{in.codes};
    if (sum != nullptr) inputs.push_back(real(sum->inputs[sum->inputs[0] == last.name ? 1 : 0]));
    put_real(all, built.layer, inputs, refusals);
    note_engine(built);
    return true;
  } catch (const Error& error) {
    if (std::ranges::find(refusals, error.what()) == refusals.end()) refusals.emplace_back(error.what());
    return false;
  }
}

const Node* Lowering::max_pool_of(const Node& node) const {
  const Node* pool = view_.sole_reader(node.name);
  if (pool == nullptr) return nullptr;
  const Facts& facts = view_.facts(*pool);
  return facts.window && !facts.window->mean && !facts.window->global && !facts.move ? pool : nullptr;
}

const Node* Lowering::sum_of_two(const Node& term) const {
  const Node* sum = view_.sole_reader(term.name);
  if (sum == nullptr || view_.facts(*sum).join != Join::sum || sum->inputs.size() != 2) return nullptr;
  return edges_.contains(sum->inputs[sum->inputs[0] == term.name ? 1 : 0]) ? sum : nullptr;
}

Lowering::Built Lowering::build_gemm(const GemmSite& site, const Node& first, const std::string& name) {
  const auto wanted = options_.engine_of.find(name);
  const std::string& engine = wanted == options_.engine_of.end() ? options_.engine : wanted->second;
  const bool automatic = engine == "auto";
  std::vector<Built> built;
  std::string refusals;
  const std::vector<Engine> candidates = candidates_for(engine);
  for (const Engine& candidate : candidates) {
    if (!automatic && !built.empty()) break;
    try {
      built.push_back({candidate.build(site), candidate.name, {}});
    } catch (const Error& error) {
      if (refusals.find(error.what()) == std::string::npos)
        refusals += (refusals.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  if (built.empty()) throw Error(refusals);
  if (!automatic) return built[0];
  std::vector<EngineTime> times;
  for (const Built& b : built) times.push_back({b.engine, clock_.seconds(*b.layer, shape_at(first.inputs[0]))});
  const auto fastest = std::ranges::min_element(times, {}, &EngineTime::seconds) - times.begin();
  Built best = built[static_cast<size_t>(fastest)];
  best.times = times;
  return best;
}

void Lowering::note_engine(const Built& built) {
  result_.report.back().engine = built.engine;
  result_.report.back().times = built.times;
}

const Shape& Lowering::shape_at(const std::string& name) {
  if (shapes_.empty()) {
    const Shape& sample = view_.graph().input_shape();
    NIBBLE_CHECK(sample.rank() > 0, "lower: to time engines the network must know the shape of its input");
    std::vector<int64_t> dims{1};
    dims.insert(dims.end(), sample.begin(), sample.end());
    const Tensor blank = Tensor::zeros(Shape(std::span<const int64_t>(dims)));
    shapes_["input"] = blank.shape();
    const NoRecord guard;
    view_.graph().forward(blank, {Mode::eval},
                          [this](const Node& node, const Tensor& y) { shapes_[node.name] = y.shape(); });
  }
  return shapes_.at(name);
}

void Lowering::visit_pointwise(const Node& node) {
  Refusals refusals;
  const Chain chain = view_.pointwise_after(node);
  const std::optional<Closing> closing = view_.closing(chain.empty() ? node : *chain.back());
  if (closing && close_pointwise(node, chain, *closing, refusals)) return;
  if (!closing && clamp_codes(node, *view_.facts(node).pointwise, refusals)) return;
  keep(node, refusals);
}

bool Lowering::close_pointwise(const Node& node, const Chain& chain, const Closing& closing, Refusals& refusals) {
  const Chain all = joined(node, chain, &closing), maps = joined(node, chain, nullptr);
  const Edge& in = edge(node.inputs[0]);
  const auto map_of = [&](const Node* n) -> const AffineClamp& { return *view_.facts(*n).pointwise; };
  if (std::ranges::all_of(maps, [&](const Node* n) { return same_for_all(map_of(n)); })) {
    const auto function = [&](float x) {
      for (const Node* n : maps) x = applied(map_of(n), x);
      return x;
    };
    put_codes(all, make_table(closing.coding, table_of(*in.coding, closing.grid, function)), {in.codes},
              closing.coding);
    return true;
  }
  size_t channels = 1;
  for (const Node* n : maps)
    for (const auto* list : {&map_of(n).a, &map_of(n).b, &map_of(n).lo, &map_of(n).hi})
      channels = std::max(channels, list->size());
  try {
    GemmForm gemm;
    gemm.geometry.groups = static_cast<int>(channels);
    ChannelMap map(channels, {});
    for (const Node* n : maps) map.then(map_of(n));
    const GemmSite site{gemm, *in.coding, map, closing.coding, closing.grid, fixed_};
    put_codes(all, build_conv(site, unit_weight(static_cast<int64_t>(channels))), {in.codes}, closing.coding);
    return true;
  } catch (const Error& error) {
    refusals.push_back(error.what());
    return false;
  }
}

bool Lowering::clamp_codes(const Node& node, const AffineClamp& map, Refusals& refusals) {
  const Edge& in = edge(node.inputs[0]);
  const Coding& coding = *in.coding;
  refusals.push_back("its output leaves the input's grid, and no quantizer alone reads it");
  if (!same_for_all(map) || map.a[0] != 1 || map.b[0] != 0 || !coding.uniform()) return false;
  std::vector<uint8_t> table(256);
  bool identity = true;
  for (int code = 0; code < 256; ++code) {
    const float value = applied(map, coding.value(code));
    const double to = std::nearbyint(static_cast<double>(value) / coding.scale) + coding.zero;
    const bool level = coding.is_level(code);
    const bool fits = to >= 0 && to <= 255 && coding.value(static_cast<int>(to)) == value;
    if (level && !fits) return false;
    table[static_cast<size_t>(code)] = fits && to <= coding.highest() ? static_cast<uint8_t>(to) : uint8_t{0};
    identity &= !level || to == code;
  }
  if (identity)
    drop(node, "its bounds lie outside the input's grid");
  else
    put_codes({&node}, make_table(coding, table), {in.codes}, coding);
  return true;
}

}  // namespace nibble
