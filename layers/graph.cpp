#include "layers/graph.h"

#include <set>
#include <string_view>

#include "core/profile.h"
#include "layers/quantizer.h"

namespace nibble {
namespace {

constexpr const char* kInput = "input";

/// "conv2d 'layer2.0.conv1': expected ...", without the op's own "conv2d: " in front of the message.
[[noreturn]] void fail_at(const Node& node, std::string_view what) {
  const std::string type(node.layer->type());
  const std::string own = type + ": ";
  if (what.substr(0, own.size()) == own) what.remove_prefix(own.size());
  throw Error(concat_text(type, " '", node.name, "': ", what));
}

profile::Stage stage_of(const Layer& layer) {
  const bool quantizes = profile::on() && dynamic_cast<const Quantizer*>(&layer) != nullptr;
  return quantizes ? profile::Stage::quantizer : profile::Stage::forward;
}

profile::Work work_of(const std::vector<Tensor>& in, const Tensor& y) {
  profile::Work work;
  for (const Tensor& x : in) {
    work.bytes += static_cast<double>(x.bytes());
    work.shapes += concat_text(x.shape(), " ");
  }
  work.bytes += static_cast<double>(y.bytes());
  work.shapes += concat_text("-> ", y.shape());
  return work;
}

class StateCollector final : public StateVisitor {
 public:
  explicit StateCollector(bool with_buffers) : with_buffers_(with_buffers) {}
  std::vector<NamedTensor> take() { return std::move(found_); }

 private:
  void on_param(const std::string& name, Tensor& tensor, const ParamTraits& traits) override {
    add({name, tensor, traits, true});
  }
  void on_buffer(const std::string& name, Tensor& tensor) override {
    if (with_buffers_) add({name, tensor, {}, false});
  }
  void add(NamedTensor entry) {
    NIBBLE_CHECK(names_.insert(entry.name).second, "graph: two tensors are named '", entry.name, "'");
    found_.push_back(std::move(entry));
  }

  bool with_buffers_;
  std::vector<NamedTensor> found_;
  std::set<std::string> names_;
};

/// Gives the visited tensors the values of another graph's.
class StateCopier final : public StateVisitor {
 public:
  explicit StateCopier(const std::vector<NamedTensor>& source) {
    for (const NamedTensor& entry : source) source_.emplace(entry.name, entry.tensor);
  }

 private:
  void on_param(const std::string& name, Tensor& tensor, const ParamTraits&) override { copy(name, tensor); }
  void on_buffer(const std::string& name, Tensor& tensor) override { copy(name, tensor); }
  void copy(const std::string& name, Tensor& tensor) const {
    const auto found = source_.find(name);
    NIBBLE_CHECK(found != source_.end(), "graph: the rebuilt layer has a tensor '", name, "' that the original lacks");
    // A layer that sizes its state by its first batch may have none yet, or more than a freshly built one.
    tensor = found->second.defined() ? found->second.clone() : Tensor();
    if (tensor.defined()) tensor.set_requires_grad(found->second.requires_grad());
  }

  std::unordered_map<std::string, Tensor> source_;
};

std::vector<NamedTensor> collect(const Graph& graph, bool with_buffers) {
  StateCollector collector(with_buffers);
  graph.visit(collector);
  return collector.take();
}

}  // namespace

std::string Graph::add(std::string name, std::shared_ptr<Layer> layer, std::vector<std::string> inputs) {
  NIBBLE_CHECK(!name.empty(), "graph: a node needs a name");
  NIBBLE_CHECK(name != kInput, "graph: a node cannot be named 'input', which is the input of the graph");
  NIBBLE_CHECK(name.find('/') == std::string::npos, "graph: node '", name, "': a name cannot contain '/'");
  NIBBLE_CHECK(!contains(name), "graph: two nodes are named '", name, "'");
  NIBBLE_CHECK(layer != nullptr, "graph: node '", name, "' has no layer");
  NIBBLE_CHECK(!inputs.empty(), "graph: node '", name, "' has no inputs");
  for (const std::string& input : inputs) {
    NIBBLE_CHECK(input != name, "graph: node '", name, "' reads itself");
    try {
      if (input != kInput) index_of(input);
    } catch (const Error& error) {
      throw Error(concat_text("graph: node '", name, "' reads a node that does not exist before it: ", error.what()));
    }
  }
  // A misprint in a config must not exhaust the memory: 2 GiB, several times any network here.
  constexpr int64_t kLargest = int64_t{1} << 29;
  parameters_ += parameter_count(*layer);
  NIBBLE_CHECK(parameters_ <= kLargest, "graph: with node '", name, "' the network has ", parameters_,
               " parameters, more than the ", kLargest, " that are accepted");
  index_.emplace(name, nodes_.size());
  nodes_.push_back({std::move(name), std::move(layer), std::move(inputs)});
  return nodes_.back().name;
}

std::string Graph::add(std::string name, const Json& layer, std::vector<std::string> inputs) {
  std::shared_ptr<Layer> built;
  try {
    built = Registry<Layer>::get().make(Config(layer));
  } catch (const Error& error) {
    throw Error(concat_text("graph: node '", name, "': ", error.what()));
  }
  return add(std::move(name), std::move(built), std::move(inputs));
}

size_t Graph::index_of(const std::string& name) const {
  const auto found = index_.find(name);
  if (found != index_.end()) return found->second;
  std::vector<std::string> known;
  for (const Node& node : nodes_) known.push_back(node.name);
  const auto guess = closest(name, known);
  throw Error(concat_text("there is no node '", name, "'", guess ? ", did you mean '" + *guess + "'?" : ""));
}

const Node& Graph::node(const std::string& name) const { return nodes_[index_of(name)]; }

bool Graph::contains(const std::string& name) const { return index_.count(name) > 0; }

std::vector<std::string> Graph::outputs() const {
  if (!outputs_.empty() || nodes_.empty()) return outputs_;
  return {nodes_.back().name};
}

void Graph::set_outputs(std::vector<std::string> names) {
  for (const std::string& name : names) index_of(name);
  outputs_ = std::move(names);
}

Tensor Graph::forward(const Tensor& x, const Pass& pass, const Watch& watch) const {
  return forward_all(x, pass, watch).front();
}

std::vector<Tensor> Graph::forward_all(const Tensor& x, const Pass& pass, const Watch& watch) const {
  NIBBLE_CHECK(!nodes_.empty(), "graph: there are no nodes to run");
  NIBBLE_CHECK(x.defined(), "graph: the input is undefined");
  std::optional<NoRecord> guard;
  if (pass.mode == Mode::eval) guard.emplace();

  // Slot 0 is the input, slot i + 1 the output of node i.
  const auto slot_of = [this](const std::string& name) { return name == kInput ? 0 : index_of(name) + 1; };
  std::vector<int> readers(nodes_.size() + 1, 0);
  for (const Node& node : nodes_)
    for (const std::string& input : node.inputs) ++readers[slot_of(input)];
  const std::vector<std::string> wanted = outputs();
  for (const std::string& name : wanted) ++readers[slot_of(name)];

  std::vector<Tensor> values(nodes_.size() + 1);
  values[0] = x;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    std::vector<Tensor> in;
    for (const std::string& input : node.inputs) {
      const size_t slot = slot_of(input);
      // The last reader gets the graph's own handle: in evaluation the activation goes when the layer returns.
      in.push_back(--readers[slot] == 0 ? std::move(values[slot]) : values[slot]);
    }
    Tensor y;
    try {
      profile::Span span(stage_of(*node.layer), node.layer->type(), node.name);
      y = node.layer->forward(in, pass);
      NIBBLE_CHECK(y.defined(), "returned an undefined tensor");
      if (span) span.note(work_of(in, y));
    } catch (const Error& error) {
      fail_at(node, error.what());
    }
    in.clear();
    if (watch) watch(node, y);
    if (readers[i + 1] > 0) values[i + 1] = std::move(y);
  }
  std::vector<Tensor> results;
  for (const std::string& name : wanted) results.push_back(values[slot_of(name)]);
  return results;
}

void Graph::visit(StateVisitor& visitor) const {
  for (const Node& node : nodes_) visitor.child(node.name, *node.layer);
}

void Graph::initialize(uint64_t seed) const {
  const Rng rng = Rng(seed).named("initialize");
  for (const Node& node : nodes_) node.layer->initialize(rng.named(node.name));
}

Graph Graph::clone() const {
  Graph copy(input_shape_);
  for (const Node& node : nodes_) {
    Json options = node.layer->config();
    options["type"] = std::string(node.layer->type());
    copy.add(node.name, options, node.inputs);
  }
  copy.outputs_ = outputs_;
  StateCopier copier(state_of(*this));
  copy.visit(copier);
  return copy;
}

std::vector<NamedTensor> state_of(const Graph& graph) { return collect(graph, true); }

std::vector<NamedTensor> parameters_of(const Graph& graph) { return collect(graph, false); }

}  // namespace nibble
