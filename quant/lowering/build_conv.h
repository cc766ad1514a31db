#pragma once

#include <memory>

#include "quant/lowering/channel_map.h"
#include "quant/lowering/gemm_site.h"
#include "quant/lowering/int8_conv.h"
#include "quant/lowering/weight_codes.h"

namespace nibble {

/// The layer with its state, checked. Throws Error saying why the site cannot be an int8_conv (its input or output is
/// not on an equally spaced grid with a level at 0, for example).
///   fixed:  M = a S_w S_in / S_out as multiplier and shift; bias = round(b / (a S_w S_in)), half away from 0 (eq. 6,
///           11). A channel with a < 0 gets its weight's codes mirrored; one whose weight cannot move the output by a
///           thousandth of a code becomes its bias alone, since that would not fit 32 bits.
///   float:  scale = a S_w S_in / S_out, offset = b / S_out, each formed in double and rounded once
///   real:   scale = a S_w S_in, offset = b
std::shared_ptr<Int8ConvLayer> build_conv(const GemmSite& site, const WeightCodes& weight,
                                          const std::string& engine = "int8");

}  // namespace nibble
