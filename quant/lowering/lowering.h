#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "quant/lowering/channel_map.h"
#include "quant/lowering/engine.h"
#include "quant/lowering/graph_view.h"
#include "quant/lowering/lower.h"

namespace nibble {

/// The work of lower(): goes through the nodes in order and writes the lowered network.
class Lowering {
 public:
  /// The view's layers become the lowered network's where they are kept.
  Lowering(const GraphView& view, const LowerOptions& options, bool fixed, EngineClock& clock);
  Lowered run();

 private:
  /// A value of the original network in the lowered one: the nodes that hold it as codes and as reals, "" if none yet.
  struct Edge {
    std::string codes, real;
    std::optional<Coding> coding;
  };
  using Chain = std::vector<const Node*>;
  using Refusals = std::vector<std::string>;

  void visit(const Node& node);
  void visit_gemm(const Node& node, const GemmForm& gemm);
  void visit_quantizer(const Node& node, const Grid& grid);
  void visit_pointwise(const Node& node);
  void visit_sum(const Node& node);
  void visit_join(const Node& node);
  void visit_window(const Node& node, const WindowForm& window, const std::optional<MoveForm>& move);
  void visit_move(const Node& node, const MoveForm& move);
  void visit_softmax(const Node& node);

  /// What no engine can compute on codes keeps its weights packed, if they have few levels; else it is kept as it is.
  void pack_gemm(const Node& node, const GemmForm& gemm, Refusals refusals);
  bool close_gemm(const Node& node, const GemmForm& gemm, const Chain& chain, Refusals& refusals);
  /// Max-pooling between a gemm and the quantizer that closes it: pools codes, if what follows it ascends.
  bool close_pooled(const Node& node, const GemmForm& gemm, const Chain& chain);
  bool open_gemm(const Node& node, const GemmForm& gemm, const Chain& chain, Refusals& refusals);
  /// The max-pooling that alone reads a node's value, if it keeps images.
  const Node* max_pool_of(const Node& node) const;
  /// The sum that alone reads a node's value, if the value of its other term is there already.
  const Node* sum_of_two(const Node& term) const;
  bool close_pointwise(const Node& node, const Chain& chain, const Closing& closing, Refusals& refusals);
  bool clamp_codes(const Node& node, const AffineClamp& map, Refusals& refusals);
  void join_codes(const Node& node, const Grid& grid, const Coding& out, const Chain& absorbed);

  /// Adds a node that holds a value as codes, in place of `absorbed`, of which the last gives the name.
  void put_codes(const Chain& absorbed, const std::shared_ptr<Layer>& layer, std::vector<std::string> inputs,
                 const Coding& coding, Refusals refusals = {});
  void put_real(const Chain& absorbed, const std::shared_ptr<Layer>& layer, std::vector<std::string> inputs,
                Refusals refusals = {});
  /// The node is kept as it is.
  void keep(const Node& node, Refusals refusals);
  /// The node does nothing: its value is that of its input.
  void drop(const Node& node, const std::string& why);
  void decide(const Chain& absorbed, std::string became, Refusals refusals);

  const Edge& edge(const std::string& name) const { return edges_.at(name); }
  const std::optional<Coding>& coding_at(const std::string& name) const { return edge(name).coding; }
  /// The name of a node that holds the value as reals; decodes it if none does yet.
  std::string real(const std::string& name);
  /// The given name, or one made of it that is not taken.
  std::string fresh(std::string name) const;

  /// What an engine makes of a gemm.
  struct Built {
    std::shared_ptr<LoweredLayer> layer;
    std::string engine;
    std::vector<EngineTime> times;
  };
  /// By the engine that is wanted for the node of this name; reads its input's shape from the node `first`.
  Built build_gemm(const GemmSite& site, const Node& first, const std::string& name);
  /// Says in the last decision what was built.
  void note_engine(const Built& built);
  /// The shape of one image at a node of the original network.
  const Shape& shape_at(const std::string& name);

  const GraphView& view_;
  const LowerOptions& options_;
  bool fixed_;
  EngineClock& clock_;
  std::map<std::string, Shape> shapes_;  ///< filled when first asked
  std::map<std::string, Edge> edges_;
  std::set<std::string> absorbed_;
  Lowered result_;
};

/// The codes on a grid of what a function makes of the value of each code of `in`.
std::vector<uint8_t> table_of(const Coding& in, const Grid& grid, const std::function<float(float)>& function);

}  // namespace nibble
