#include "layers/geometry.h"

#include <algorithm>
#include <vector>

#include "layers/layer.h"

namespace nibble {
namespace {

// Far beyond any real network, and small enough that no product of them overflows.
constexpr int kLargest = 4096;

int checked_int(const Config& config, int lo) {
  const Json& json = config.json;
  if (!json.is_number_integer()) config.fail("expected an integer, found " + kind_of(json));
  // A number above 2^63 is stored unsigned and would turn negative.
  const bool huge = json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{kLargest};
  if (huge || json.get<int64_t>() < lo || json.get<int64_t>() > kLargest)
    config.fail(concat_text("expected an integer in [", lo, ", ", kLargest, "], found ", kind_of(json)));
  return json.get<int>();
}

std::vector<int> checked_list(const Config& config, size_t length, int lo, const char* what) {
  if (!config.json.is_array() || config.json.size() != length)
    config.fail(concat_text("expected ", what, ", found ", kind_of(config.json)));
  std::vector<int> values;
  for (size_t i = 0; i < length; ++i) values.push_back(checked_int(config.at(i), lo));
  return values;
}

Padding one_axis(int64_t n, int k, int stride, int dilation) {
  const int64_t out = (n + stride - 1) / stride;
  const int64_t total = std::max<int64_t>((out - 1) * stride + int64_t{dilation} * (k - 1) + 1 - n, 0);
  return {static_cast<int>(total / 2), static_cast<int>(total - total / 2), 0, 0};
}

}  // namespace

void extent_field(Fields& fields, std::string_view key, Extent2& value, std::string_view doc, int lo) {
  Config raw(value.h == value.w ? Json(value.h) : Json{value.h, value.w});
  fields.raw(key, raw, "an integer or [height, width]", doc);
  if (raw.json.is_array()) {
    const std::vector<int> list = checked_list(raw, 2, lo, "an integer or [height, width]");
    value = {list[0], list[1]};
  } else {
    value.h = value.w = checked_int(raw, lo);
  }
}

void pad_field(Fields& fields, std::string_view key, PadOption& value, std::string_view doc) {
  const char* const what = "an integer, [top, bottom, left, right] or \"same\"";
  const Padding& p = value.pixels;
  const bool even = p == Padding{p.top, p.top, p.top, p.top};
  Config raw(value.same ? Json("same") : even ? Json(p.top) : Json{p.top, p.bottom, p.left, p.right});
  fields.raw(key, raw, what, doc);
  value = {};
  if (raw.json.is_number_integer()) {
    const int n = checked_int(raw, 0);
    value.pixels = {n, n, n, n};
  } else if (raw.json == "same") {
    value.same = true;
  } else {
    const std::vector<int> list = checked_list(raw, 4, 0, what);
    value.pixels = {list[0], list[1], list[2], list[3]};
  }
}

Padding same_padding(int64_t h, int64_t w, Extent2 kernel, Extent2 stride, Extent2 dilation) {
  const Padding rows = one_axis(h, kernel.h, stride.h, dilation.h);
  const Padding columns = one_axis(w, kernel.w, stride.w, dilation.w);
  return {rows.top, rows.bottom, columns.top, columns.bottom};
}

Padding resolve_pad(const PadOption& pad, const Shape& x, Extent2 kernel, Extent2 stride, Extent2 dilation) {
  NIBBLE_CHECK(x.rank() == 4, "expected an input (N, H, W, C), got ", x);
  return pad.same ? same_padding(x[1], x[2], kernel, stride, dilation) : pad.pixels;
}

ConvGeometry geometry_for(const GemmForm& gemm, const Shape& x) {
  ConvGeometry geometry = gemm.geometry;
  if (gemm.same_padding) {
    const Shape& w = gemm.weight.shape();
    geometry.pad = resolve_pad({{}, true}, x, {static_cast<int>(w[2]), static_cast<int>(w[3])},
                               {geometry.stride_h, geometry.stride_w}, {geometry.dilation_h, geometry.dilation_w});
  }
  return geometry;
}

PoolGeometry geometry_for(const WindowForm& window, const Shape& x) {
  NIBBLE_CHECK(x.rank() == 4, "expected an input (N, H, W, C), got ", x);
  PoolGeometry geometry = window.geometry;
  if (window.global) {
    NIBBLE_CHECK(x[1] <= kLargest && x[2] <= kLargest, "the image ", x, " is too large for one window");
    geometry = {static_cast<int>(x[1]), static_cast<int>(x[2]), 1, 1};
  } else if (window.same_padding) {
    geometry.pad =
        resolve_pad({{}, true}, x, {geometry.kernel_h, geometry.kernel_w}, {geometry.stride_h, geometry.stride_w});
  }
  return geometry;
}

}  // namespace nibble
