#pragma once

#include <memory>
#include <span>
#include <string>

#include "quant/lowering/gemm_site.h"
#include "quant/lowering/lowered_layer.h"

namespace nibble {

/// One kind of kernels that a gemm on codes can become. All give the same bits.
struct Engine {
  const char* name;
  const char* doc;
  /// Throws Error saying why the site cannot be computed so.
  std::shared_ptr<LoweredLayer> (*build)(const GemmSite& site);
};

/// In order of preference where nothing is known of their speed.
std::span<const Engine> engines();

/// Tells how fast a layer is on this machine; lower() asks it where the engine is "auto".
class EngineClock {
 public:
  virtual ~EngineClock() = default;
  /// Seconds of one forward pass on an input of this shape.
  virtual double seconds(LoweredLayer& layer, const Shape& input) = 0;
};

/// Measures: the fastest of some passes on random codes, which what else the machine does disturbs least.
class MeasuringClock final : public EngineClock {
 public:
  double seconds(LoweredLayer& layer, const Shape& input) override;
};

}  // namespace nibble
