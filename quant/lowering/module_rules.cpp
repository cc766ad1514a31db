#include <algorithm>
#include <limits>

#include "quant/lowering/int8_add.h"
#include "quant/lowering/int8_avg_pool.h"
#include "quant/lowering/int8_concat.h"
#include "quant/lowering/int8_function.h"
#include "quant/lowering/int8_max_pool.h"
#include "quant/lowering/int8_move.h"
#include "quant/lowering/int8_table.h"
#include "quant/lowering/lowering.h"

namespace nibble {

namespace {

constexpr const char* kUneven = "the levels of its input are not equally spaced";
constexpr const char* kOpenOutput =
    "its output leaves the input's grid: a quantizer behind it would keep it in integers";

float itself(float x) { return x; }

/// Whether a table leaves every level of a coding where it is.
bool is_identity(const std::vector<uint8_t>& table, const Coding& coding) {
  for (const uint8_t code : coding.ascending())
    if (table[code] != code) return false;
  return true;
}

Int8Move::Options move_options(const MoveForm& move, const Coding& coding) {
  const int zero = coding.uniform() ? coding.zero : coding.zero_code().value_or(0);
  return {move.stride, move.channels, move.centred, move.flatten, zero};
}

std::shared_ptr<Layer> encode_layer(const Grid& grid) {
  return Registry<Layer>::get().make(Config(Json{{"type", "encode"}, {"grid", grid_json(grid)}}));
}

}  // namespace

void Lowering::visit_quantizer(const Node& node, const Grid& grid) {
  const std::string& input = node.inputs[0];
  std::string why;
  const std::optional<Coding> out = coding_of(grid, why);
  if (!out) return keep(node, {why});
  if (!coding_at(input)) return put_codes({&node}, encode_layer(grid), {real(input)}, *out);
  const std::vector<uint8_t> table = table_of(*coding_at(input), grid, itself);
  if (*coding_at(input) == *out && is_identity(table, *out)) return drop(node, "its input lies on the same grid");
  auto layer = std::make_shared<Int8Table>(Int8Table::Options{*out});
  layer->set_table(table);
  put_codes({&node}, layer, {edge(input).codes}, *out);
}

void Lowering::visit_sum(const Node& node) {
  const auto coded = [&](const std::string& input) { return coding_at(input).has_value(); };
  if (node.inputs.size() != 2) return keep(node, {"it has more than two terms"});
  if (!std::ranges::all_of(node.inputs, coded)) return keep(node, {"one of its terms is real"});
  const auto even = [&](const std::string& input) { return coding_at(input)->uniform(); };
  if (!std::ranges::all_of(node.inputs, even)) return keep(node, {kUneven});
  Chain chain{&node};
  ChannelMap map(1, {});
  for (const Node* next : view_.pointwise_after(node)) {
    const AffineClamp& clamp = *view_.facts(*next).pointwise;
    if (!same_for_all(clamp) || clamp.a[0] != 1 || clamp.b[0] != 0) break;
    map.then(clamp);
    chain.push_back(next);
  }
  const std::optional<Closing> closing = view_.closing(*chain.back());
  if (!closing) return keep(node, {kOpenOutput});
  const CodeBounds bounds = *code_bounds(map, closing->coding, fixed_);
  Int8AddLayer::Options options;
  options.epilogue = fixed_ ? "fixed" : "float";
  options.a = *coding_at(node.inputs[0]);
  options.b = *coding_at(node.inputs[1]);
  options.out = closing->coding;
  options.lo = bounds.lo;
  options.hi = bounds.hi;
  std::shared_ptr<Layer> layer;
  try {
    layer = std::make_shared<Int8AddLayer>(options);
  } catch (const Error& error) {
    return keep(node, {error.what()});
  }
  if (!closing->behind_join) chain.push_back(closing->quantizer);
  put_codes(chain, layer, {edge(node.inputs[0]).codes, edge(node.inputs[1]).codes}, closing->coding);
}

void Lowering::visit_join(const Node& node) {
  const std::optional<Coding>& first = coding_at(node.inputs[0]);
  const auto like_first = [&](const std::string& input) { return coding_at(input) == first; };
  const Node* next = view_.sole_reader(node.name);
  std::string why;
  // Also quantizers that cannot close a gemm: tables do for any grid.
  if (next != nullptr && view_.facts(*next).snaps_to) {
    const Grid& grid = *view_.facts(*next).snaps_to;
    if (const std::optional<Coding> out = coding_of(grid, why)) return join_codes(node, grid, *out, {&node, next});
  }
  if (const auto closing = view_.closing(node)) return join_codes(node, closing->grid, closing->coding, {&node});
  if (!first || !std::ranges::all_of(node.inputs, like_first))
    return keep(node, {"its parts do not lie on one grid, and no quantizer alone reads it"});
  Int8Concat::Options options;
  options.out = *first;
  options.own.assign(node.inputs.size(), 0);
  std::vector<std::string> inputs;
  for (const std::string& input : node.inputs) inputs.push_back(edge(input).codes);
  put_codes({&node}, std::make_shared<Int8Concat>(options), inputs, *first);
}

void Lowering::join_codes(const Node& node, const Grid& grid, const Coding& out, const Chain& absorbed) {
  Int8Concat::Options options;
  options.out = out;
  std::vector<std::string> inputs;
  std::vector<uint8_t> tables;
  for (const std::string& input : node.inputs) {
    const std::optional<Coding> coding = coding_at(input);
    if (!coding) {
      // What the quantizer behind does to all parts is done to this one in front.
      const std::string name = fresh(input + ".encode");
      inputs.push_back(result_.graph.add(name, encode_layer(grid), {real(input)}));
      result_.report.push_back({name, "encode", {}, {}});
      options.own.push_back(0);
      continue;
    }
    inputs.push_back(edge(input).codes);
    const std::vector<uint8_t> table = table_of(*coding, grid, itself);
    options.own.push_back(coding == out ? 0 : 1);
    if (coding != out) tables.insert(tables.end(), table.begin(), table.end());
  }
  auto layer = std::make_shared<Int8Concat>(options);
  layer->set_tables(tables);
  put_codes(absorbed, layer, inputs, out);
}

void Lowering::visit_window(const Node& node, const WindowForm& window, const std::optional<MoveForm>& move) {
  const Edge& in = edge(node.inputs[0]);
  if (!window.mean && !std::ranges::is_sorted(in.coding->ascending()))
    return keep(node, {"the codes of its input do not ascend with their values"});
  if (window.mean && !in.coding->uniform()) return keep(node, {kUneven});
  if (!window.mean)
    return put_codes({&node}, std::make_shared<Int8MaxPool>(PoolWindow::of(window)), {in.codes}, *in.coding);
  const std::optional<Closing> closing = view_.closing(node);
  if (!closing) return keep(node, {kOpenOutput});
  Int8AvgPool::Options options;
  options.window = PoolWindow::of(window);
  options.count_padding = window.geometry.count_padding;
  options.epilogue = fixed_ ? "fixed" : "float";
  options.in = *in.coding;
  options.out = closing->coding;
  std::shared_ptr<Layer> layer;
  try {
    layer = std::make_shared<Int8AvgPool>(options);
  } catch (const Error& error) {
    return keep(node, {error.what()});
  }
  Chain absorbed{&node};
  if (!closing->behind_join) absorbed.push_back(closing->quantizer);
  std::string input = in.codes;
  if (move) {
    input = result_.graph.add(fresh(node.name + ".mean"), layer, {input});
    result_.report.push_back({input, "int8_avg_pool", {}, {}});
    layer = std::make_shared<Int8Move>(move_options(*move, closing->coding));
  }
  put_codes(absorbed, layer, {input}, closing->coding);
}

void Lowering::visit_move(const Node& node, const MoveForm& move) {
  const Edge& in = edge(node.inputs[0]);
  const Coding coding = *in.coding;
  if (move.channels > 0 && !coding.zero_code()) return keep(node, {"0, which it adds, is no level of its input"});
  if (move.stride == 1 && move.channels == 0 && !move.flatten) return drop(node, "it does nothing in evaluation");
  put_codes({&node}, std::make_shared<Int8Move>(move_options(move, coding)), {in.codes}, coding);
}

void Lowering::visit_softmax(const Node& node) {
  if (!fixed_) return keep(node, {"its integer form belongs to the fixed-point epilogue"});
  const Edge& in = edge(node.inputs[0]);
  if (!in.coding->uniform()) return keep(node, {kUneven});
  std::shared_ptr<Int8Softmax> layer;
  try {
    layer = std::make_shared<Int8Softmax>(Int8Softmax::Options{*in.coding});
  } catch (const Error& error) {
    return keep(node, {error.what()});
  }
  const std::optional<Coding> inputs[] = {in.coding};
  const Coding out = *layer->coding(inputs);
  put_codes({&node}, layer, {in.codes}, out);
}

}  // namespace nibble
