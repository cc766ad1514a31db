#pragma once

#include <memory>

#include "quant/lowering/bit_conv.h"
#include "quant/lowering/gemm_site.h"

namespace nibble {

/// A gemm whose weights have up to 4 bits and whose inputs have up to 8, as a layer with its state, checked.
///   whole:   both grids are equally spaced and 0 is a level of them or half way between two: sums of whole numbers,
///            scale = a S_w S_in [/ S_out], offset = b [/ S_out], as in build_conv's float epilogue
///   learned: any levels that are sums of bits, or at most 5 levels for the weights: scale = a, offset = b
/// An output that rounds is divided by its scale; any other has its grid's thresholds, cut to the bounds of the layers
/// between. Throws Error saying why the site cannot be a bit_conv.
std::shared_ptr<BitConvLayer> build_bits(const GemmSite& site, const std::string& engine);

}  // namespace nibble
