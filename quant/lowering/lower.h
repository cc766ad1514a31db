#pragma once

#include <map>
#include <string>
#include <vector>

#include "layers/graph.h"
#include "quant/lowering/coding.h"
#include "quant/lowering/engine.h"

/// From a quantized network to one that computes on codes. Everything is decided by what layers say of themselves
/// (Facts); nothing here knows a quantizer or a network.
namespace nibble {

struct LowerOptions {
  std::string epilogue = "auto";  ///< "fixed", "float", or "auto"
  /// One of engines(), and where that one cannot compute a gemm the first that can; "any": the first that can; "auto":
  /// the one that is fastest on this machine.
  std::string engine = "any";
  /// For nodes of the lowered network by name: the engine instead, as another lowering chose it.
  std::map<std::string, std::string> engine_of = {};
  void fields(Fields& f);
};

/// What an engine would take for a node.
struct EngineTime {
  std::string engine;
  double seconds = 0;
};

/// What became of a node, or of a node and what it absorbed.
struct Decision {
  std::string node;    ///< in the lowered network: the last node that was absorbed
  std::string became;  ///< "int8_conv", "encode", "the edge 'x'", ..., "float" if it stayed, or "dropped"
  std::vector<std::string> absorbed;   ///< the original nodes, in order
  std::vector<std::string> refusals;   ///< why it could not become more
  std::string engine = {};             ///< of a gemm on codes
  std::vector<EngineTime> times = {};  ///< what it was chosen by, if it was measured
};

struct Lowered {
  Graph graph;
  std::vector<Decision> report;
  std::string epilogue;  ///< "fixed" or "float": the one rounding of the model
};

/// A network that computes what `quantized` computes in evaluation, on u8 codes wherever a value lies on a uniform grid
/// of at most 256 levels. Pure: shares no storage with `quantized`. A convolution or linear layer whose input is coded
/// and whose weight grid is uniform becomes one int8_conv with the bias, batch norms and activations behind it that
/// nothing else reads, and with the quantizer that closes them; if none does, its output is real. Sums, joined
/// channels, pooling and layers that only move values become integer modules where their inputs are coded and their
/// output is on a grid. A convolution or linear layer that no engine can compute on codes, because its input is real
/// for example, becomes a packed_conv if its weights have few levels; everything else is kept, behind `decode` nodes. A
/// fused node takes the name of the last node it absorbed. The output is real: codes are decoded at the very end.
///
/// Of several outputs only the first is kept, which is the one that evaluation looks at: nodes that it does not need
/// (auxiliary classifiers) are dropped, and the report names them last.
///
/// Epilogue "auto" is "fixed" (Jacob et al. 2018: integer multipliers, spec sec. 2 and 3) if all activation grids round
/// ties up as that paper does, else "float" (one single-precision multiplication, half to even as in encode()).
/// Every engine gives the same bits. With "auto" all that can compute a gemm are timed on one image by the clock (a
/// MeasuringClock if null), and the network must know its input shape.
/// Throws Error, saying what to do instead, if nothing is quantized, a quantizer was never trained or calibrated, or
/// the network is lowered already.
Lowered lower(const Graph& quantized, const LowerOptions& options = {}, EngineClock* clock = nullptr);
Lowered lower(const Graph& quantized, const Config& policy);

/// The engine of each node of a lowered network that has one: LowerOptions::engine_of of the same lowering.
std::map<std::string, std::string> engines_of(const Graph& lowered);

/// A network as it is evaluated, and why not on codes if so.
struct Evaluated {
  Graph graph;
  std::string why_real;  ///< empty: computed on codes
};
/// Fake-quantized evaluation on the codes themselves: sums of whole numbers, exact, and rounded as the lowered network
/// does; so what is measured is what the lowered network gives, bit for bit. By the engine "float" it is computed by
/// the float network's convolutions; "any" is faster. A network that lower() refuses stays as it is (and shares its
/// layers with `graph`).
Evaluated evaluated(const Graph& graph, const LowerOptions& options = {});

/// Follows the codings through a lowered network: for each node its output's, or nothing where that is real. Throws
/// Error naming the node where they do not fit together.
std::vector<std::optional<Coding>> codings_of(const Graph& lowered);

}  // namespace nibble
