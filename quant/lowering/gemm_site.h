#pragma once

#include <optional>

#include "layers/layer.h"
#include "quant/lowering/channel_map.h"
#include "quant/lowering/coding.h"

namespace nibble {

/// A gemm on codes and what follows it.
struct GemmSite {
  const GemmForm& gemm;
  Coding in;
  ChannelMap map;             ///< of the bias and the pointwise layers
  std::optional<Coding> out;  ///< of the closing quantizer; nothing: the output is real
  Grid out_grid = Real{};     ///< of the closing quantizer
  bool fixed = true;          ///< the epilogue of codes
  bool adds = false;          ///< a real output: another term is added between the map and its bounds
  std::optional<WindowForm> pool = std::nullopt;  ///< a real output: max-pooling behind all that
};

}  // namespace nibble
