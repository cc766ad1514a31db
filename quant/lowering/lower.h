#pragma once

#include <string>
#include <vector>

#include "layers/graph.h"
#include "quant/lowering/coding.h"

/// From a quantized network to one that computes on codes. Everything is decided by what layers say of themselves
/// (Facts); nothing here knows a quantizer or a network.
namespace nibble {

struct LowerOptions {
  std::string epilogue = "auto";  ///< "fixed", "float", or "auto"
  void fields(Fields& f);
};

/// What became of a node, or of a node and what it absorbed.
struct Decision {
  std::string node;                   ///< in the lowered network: the last node that was absorbed
  std::string became;                 ///< "int8_conv", "encode", "the edge 'x'", ..., or "float" if it stayed as it is
  std::vector<std::string> absorbed;  ///< the original nodes, in order
  std::vector<std::string> refusals;  ///< why it could not become more
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
/// output is on a grid; everything else is kept, behind `decode` nodes. A fused node takes the name of the last node it
/// absorbed. Outputs are real: codes are decoded at the very end.
///
/// Epilogue "auto" is "fixed" (Jacob et al. 2018: integer multipliers, spec sec. 2 and 3) if all activation grids round
/// ties up as that paper does, else "float" (one single-precision multiplication, half to even as in encode()).
/// Throws Error, saying what to do instead, if nothing is quantized, a quantizer was never trained or calibrated, or
/// the network is lowered already.
Lowered lower(const Graph& quantized, const LowerOptions& options = {});
Lowered lower(const Graph& quantized, const Config& policy);

/// Follows the codings through a lowered network: for each node its output's, or nothing where that is real. Throws
/// Error naming the node where they do not fit together.
std::vector<std::optional<Coding>> codings_of(const Graph& lowered);

}  // namespace nibble
