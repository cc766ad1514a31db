#pragma once

#include "layers/geometry.h"
#include "layers/layer.h"
#include "quant/kernels/int8_elementwise/int8_elementwise.h"

namespace nibble {

/// The window of a pooling layer as options.
struct PoolWindow {
  Extent2 kernel{2, 2}, stride{2, 2};
  PadOption pad{};
  bool ceil_mode = false, global = false;
  void fields(Fields& f, const std::string& prefix = {});

  static PoolWindow of(const WindowForm& form);
  /// The geometry on an input of this shape: explicit, and with a border that makes rounding up needless.
  PoolGeometry on(const Shape& x) const;
};

/// What the kernel takes. Throws Error unless x is an image on which the window fits.
int8::Int8PoolSpec pool_spec(const PoolGeometry& geometry, bool average);

}  // namespace nibble
