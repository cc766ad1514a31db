#include "quant/kernels/bit_conv/frame.h"

#include <algorithm>
#include <cstring>

namespace nibble::bits::detail {
namespace {

// What a block may take of the second-level cache, next to weights and outputs.
constexpr int64_t kBlockBytes = 160 << 10, kTableBlockBytes = 768 << 10;
// Kernels read 3 bytes beyond a plane and write 7.
constexpr int64_t kSlack = 16;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Columns [lo, hi) of the copy that lie inside the image, of `cols`.
struct Inside {
  int64_t lo, hi;
};
Inside inside(int64_t left, int64_t w, int64_t cols) {
  const int64_t lo = std::min(left, cols);
  return {lo, std::clamp(left + w, lo, cols)};
}

/// One axis of a window: taps, their distance, and the border before the image.
struct Axis {
  int64_t taps, dilation, stride, pad;
};

/// Number of the class of output position `at` on an axis of n pixels: (taps before the image, taps behind it).
int64_t class_of(const Axis& a, const Overhang& over, int64_t n, int64_t at) {
  const int64_t first = at * a.stride - a.pad;
  const auto taps_below = [&](int64_t end) {  // taps with first + tap * dilation < end
    return first >= end ? 0 : std::min((end - first + a.dilation - 1) / a.dilation, a.taps);
  };
  return taps_below(0) * (over.behind + 1) + (a.taps - taps_below(n));
}

}  // namespace

Frame::Frame(const BitConvPlan& p, int64_t height, int64_t width, int64_t batch) : plan(&p), h(height), w(width) {
  const ConvGeometry& g = p.geometry;
  oh = conv_extent(h, p.kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h);
  ow = conv_extent(w, p.kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w);
  cols_read = (ow - 1) * g.stride_w + (p.kw - 1) * g.dilation_w + 1;
  row_bytes = cols_read * p.pixel_bytes;

  const int64_t room = p.path == Path::tables ? kTableBlockBytes : kBlockBytes;
  const int64_t row = p.planes * row_bytes + (p.sums ? (p.planes + 1) * cols_read * 4 : 0);
  const int64_t image_bytes = rows_read(oh) * row + p.planes * 64;
  block_images = std::clamp<int64_t>(room / image_bytes, 1, std::max<int64_t>(1, batch));
  block_rows = oh;
  if (image_bytes > room) {
    const int64_t first = rows_read(1) * row;
    block_rows = std::clamp<int64_t>((room - first) / (g.stride_h * row) + 1, 1, oh);
  }
  const int64_t pixel_sums = p.sums ? (rows_read(block_rows) * p.planes + 1) * cols_read * 4 : 0;
  const int64_t pixels = block_images * block_rows * ow;
  copy_at = round_up(p.segs * 8, 64);
  pixel_sums_at = copy_at + round_up(block_images * copy_bytes(block_rows) + kSlack, 64);
  sums_at = pixel_sums_at + round_up(pixel_sums, 64);
  classes_at = sums_at + round_up(p.sum_planes() * pixels * 4, 64);
  scratch_bytes = classes_at + (p.borders() ? round_up(block_rows * ow * 4, 64) : 0);
}

int64_t Frame::rows_read(int64_t rows) const {
  return (rows - 1) * plan->geometry.stride_h + (plan->kh - 1) * int64_t{plan->geometry.dilation_h} + 1;
}

int64_t Frame::plane_bytes(int64_t rows) const { return round_up(rows_read(rows) * row_bytes + kSlack, 64); }

void Frame::fill_segments(std::span<int64_t> seg) const {
  const ConvGeometry& g = plan->geometry;
  const int64_t per_row = plan->runs ? 1 : plan->kw;
  for (size_t s = 0; s < seg.size(); ++s) {
    const auto i = static_cast<int64_t>(s);
    seg[s] = i / per_row * g.dilation_h * row_bytes + i % per_row * g.dilation_w * plan->pixel_bytes;
  }
}

void Frame::copy_rows(const Stripe& stripe, uint8_t* to, int64_t plane, int32_t* sums, int64_t sum_plane) const {
  const BitConvPlan& p = *plan;
  const Inside in = inside(p.geometry.pad.left, w, cols_read);
  const Kernels& kernels = *p.kernels;
  const auto copy = p.path == Path::tables ? kernels.tabulate : p.path == Path::bytes ? kernels.spread : kernels.pack;
  const auto clear = [&](int64_t from, int64_t until) {
    for (int64_t j = 0; j < p.planes; ++j) {
      std::memset(to + j * plane + from * p.pixel_bytes, 0, static_cast<size_t>((until - from) * p.pixel_bytes));
      if (sums) std::fill(sums + j * sum_plane + from, sums + j * sum_plane + until, 0);
    }
  };
  for (int64_t r = stripe.from; r < stripe.from + stripe.rows; ++r, to += row_bytes) {
    if (r < 0 || r >= h || in.lo == in.hi) {
      clear(0, cols_read);
    } else {
      clear(0, in.lo);
      const Pixels pixels{.x = stripe.image + r * w * p.in + stripe.group * p.group_in,
                          .x_pitch = p.in,
                          .pixels = in.hi - in.lo,
                          .channels = p.group_in,
                          .a_bits = p.a_bits,
                          .planes = p.planes,
                          .to = to + in.lo * p.pixel_bytes,
                          .to_pitch = p.pixel_bytes,
                          .to_plane = plane,
                          .sums = sums ? sums + in.lo : nullptr,
                          .sum_plane = sum_plane};
      copy(pixels);
      clear(in.hi, cols_read);
    }
    if (sums) sums += cols_read;
  }
}

void Frame::sum_windows(const int32_t* pixels, int64_t rows, int32_t* columns, int32_t* to) const {
  const ConvGeometry& g = plan->geometry;
  for (int64_t r = 0; r < rows; ++r, to += ow) {
    const int32_t* top = pixels + r * g.stride_h * cols_read;
    const int64_t below = g.dilation_h * cols_read;
    std::copy(top, top + cols_read, columns);
    for (int64_t i = 1; i < plan->kh; ++i)
      for (int64_t c = 0; c < cols_read; ++c) columns[c] += top[i * below + c];
    if (g.stride_w == 1 && plan->kw == 3) {
      const int64_t d = g.dilation_w;
      for (int64_t c = 0; c < ow; ++c) to[c] = columns[c] + columns[c + d] + columns[c + 2 * d];
      continue;
    }
    for (int64_t c = 0; c < ow; ++c) to[c] = columns[c * g.stride_w];
    for (int64_t j = 1; j < plan->kw; ++j)
      for (int64_t c = 0; c < ow; ++c) to[c] += columns[c * g.stride_w + j * g.dilation_w];
  }
}

void Frame::fill_classes(int64_t from, int64_t rows, int32_t* to) const {
  const BitConvPlan& p = *plan;
  const ConvGeometry& g = p.geometry;
  const Axis down{p.kh, g.dilation_h, g.stride_h, g.pad.top}, across{p.kw, g.dilation_w, g.stride_w, g.pad.left};
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = class_of(down, p.over_rows, h, from + r) * p.over_cols.classes();
    for (int64_t c = 0; c < ow; ++c)
      to[r * ow + c] = static_cast<int32_t>((row + class_of(across, p.over_cols, w, c)) * p.outcome.stride);
  }
}

}  // namespace nibble::bits::detail
