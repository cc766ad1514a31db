#pragma once

#include <string_view>

#include "core/config.h"
#include "core/ops.h"

namespace nibble {

struct GemmForm;
struct WindowForm;

/// Height and width; in JSON one integer for both, or [height, width].
struct Extent2 {
  int h = 1, w = 1;
  bool operator==(const Extent2&) const = default;
};

/// In JSON one integer for all sides, [top, bottom, left, right], or "same" (TensorFlow's SAME: the output has
/// ceil(n / stride) pixels and the odd one of the border lies behind).
struct PadOption {
  Padding pixels;
  bool same = false;
};

/// Declares an option of these types (see Fields). `lo` is the smallest accepted extent.
void extent_field(Fields& fields, std::string_view key, Extent2& value, std::string_view doc, int lo = 1);
void pad_field(Fields& fields, std::string_view key, PadOption& value, std::string_view doc);

/// TensorFlow's SAME border for an input of h x w pixels.
Padding same_padding(int64_t h, int64_t w, Extent2 kernel, Extent2 stride, Extent2 dilation = {1, 1});
/// The border for an input x of shape (N, H, W, C); throws if x is no image.
Padding resolve_pad(const PadOption& pad, const Shape& x, Extent2 kernel, Extent2 stride, Extent2 dilation = {1, 1});
/// The geometry a gemm has on an input of this shape: its own, with SAME borders worked out.
ConvGeometry geometry_for(const GemmForm& gemm, const Shape& x);
/// The same for a window; a global one becomes one that covers x.
PoolGeometry geometry_for(const WindowForm& window, const Shape& x);

}  // namespace nibble
