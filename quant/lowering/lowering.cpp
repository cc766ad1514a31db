#include "quant/lowering/lowering.h"

#include <algorithm>

namespace nibble {

Lowering::Lowering(const GraphView& view, const LowerOptions& options, bool fixed, EngineClock& clock)
    : view_(view), options_(options), fixed_(fixed), clock_(clock) {
  result_.graph = Graph(view.graph().input_shape());
  result_.epilogue = fixed ? "fixed" : "float";
  edges_["input"] = {"", "input", std::nullopt};
}

Lowered Lowering::run() {
  for (const Node& node : view_.graph().nodes()) {
    if (!absorbed_.contains(node.name)) visit(node);
  }
  std::vector<std::string> outputs;
  for (const std::string& name : view_.graph().outputs()) outputs.push_back(real(name));
  result_.graph.set_outputs(outputs);
  return std::move(result_);
}

void Lowering::visit(const Node& node) {
  const Facts& facts = view_.facts(node);
  const bool single = node.inputs.size() == 1;
  if (facts.join == Join::sum)
    visit_sum(node);
  else if (facts.join == Join::channels)
    visit_join(node);
  else if (single && facts.gemm)
    visit_gemm(node, *facts.gemm);
  else if (single && facts.snaps_to)
    visit_quantizer(node, *facts.snaps_to);
  else if (single && !coding_at(node.inputs[0]))
    keep(node, {"its input is real"});
  else if (single && facts.pointwise)
    visit_pointwise(node);
  else if (single && facts.window && (!facts.move || facts.window->mean))
    visit_window(node, *facts.window, facts.move);
  else if (single && facts.move && !facts.window)
    visit_move(node, *facts.move);
  else if (single && facts.softmax)
    visit_softmax(node);
  else
    keep(node, {"there is no integer form of it"});
}

void Lowering::put_codes(const Chain& absorbed, const std::shared_ptr<Layer>& layer, std::vector<std::string> inputs,
                         const Coding& coding, Refusals refusals) {
  const std::string& name = absorbed.back()->name;
  result_.graph.add(name, layer, std::move(inputs));
  edges_[name] = {name, "", coding};
  decide(absorbed, std::string(layer->type()), std::move(refusals));
}

void Lowering::put_real(const Chain& absorbed, const std::shared_ptr<Layer>& layer, std::vector<std::string> inputs,
                        Refusals refusals) {
  const std::string& name = absorbed.back()->name;
  const std::string became(layer->type());
  result_.graph.add(name, layer, std::move(inputs));
  edges_[name] = {"", name, std::nullopt};
  decide(absorbed, became, std::move(refusals));
}

void Lowering::keep(const Node& node, Refusals refusals) {
  std::vector<std::string> inputs;
  for (const std::string& input : node.inputs) inputs.push_back(real(input));
  result_.graph.add(node.name, node.layer, std::move(inputs));
  edges_[node.name] = {"", node.name, std::nullopt};
  decide({&node}, "float", std::move(refusals));
}

void Lowering::drop(const Node& node, const std::string& why) {
  edges_[node.name] = edge(node.inputs[0]);
  decide({&node}, "the edge '" + edge(node.inputs[0]).codes + "'", {why});
}

void Lowering::decide(const Chain& absorbed, std::string became, Refusals refusals) {
  Decision decision{absorbed.back()->name, std::move(became), {}, std::move(refusals)};
  for (const Node* node : absorbed) {
    decision.absorbed.push_back(node->name);
    absorbed_.insert(node->name);
  }
  result_.report.push_back(std::move(decision));
}

std::string Lowering::real(const std::string& name) {
  Edge& edge = edges_.at(name);
  if (edge.real.empty()) {
    Json options{{"type", "decode"}};
    Fields writer = Fields::writer();
    edge.coding->fields(writer);
    options.update(writer.json());
    edge.real = result_.graph.add(fresh(edge.codes + ".decode"), options, {edge.codes});
    result_.report.push_back({edge.real, "decode", {}, {}});
  }
  return edge.real;
}

std::string Lowering::fresh(std::string name) const {
  while (view_.graph().contains(name) || result_.graph.contains(name)) name += "_";
  return name;
}

std::vector<uint8_t> table_of(const Coding& in, const Grid& grid, const std::function<float(float)>& function) {
  std::string why;
  const std::optional<Coding> out = coding_of(grid, why);
  NIBBLE_CHECK(out, "a table needs codes: ", why);
  Tensor values = Tensor::empty({256});
  for (int code = 0; code < 256; ++code)
    values.mutable_data<float>()[static_cast<size_t>(code)] = function(in.value(std::min(code, in.highest())));
  const std::array<uint8_t, 256> codes = code_table(grid, *out);
  std::vector<uint8_t> table;
  for (const uint8_t code : encode(values, grid).data<uint8_t>()) table.push_back(codes[code]);
  return table;
}

}  // namespace nibble
