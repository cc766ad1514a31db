#include "quant/kernels/int8_conv/frame.h"

#include <algorithm>
#include <cstring>

#include "core/cpu.h"
#if NIBBLE_X86
#include <emmintrin.h>
#endif

namespace nibble::int8::detail {
namespace {

// What a block may take of the second-level cache, next to weights and outputs.
constexpr int64_t kBlockBytes = 160 << 10;
// With Winograd's transform, which pays weights once a block.
constexpr int64_t kWinogradBytes = 512 << 10;
// Tiles whose products stay in the first-level cache.
constexpr int64_t kProductTiles = 24;

// A step of dense pixels may begin in the last bytes of the copy; what lies behind has weights of 0.
constexpr int64_t kOverhang = 3;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Columns [lo, hi) of the copy that lie inside the image, of `cols`.
struct Inside {
  int64_t lo, hi;
};
Inside inside(int64_t left, int64_t w, int64_t cols) {
  const int64_t lo = std::min(left, cols);
  return {lo, std::clamp(left + w, lo, cols)};
}

void widen(const uint8_t* x, int64_t n, uint8_t* to) {
  for (int64_t i = 0; i < n; ++i) {
    const int16_t v = x[i];
    std::memcpy(to + 2 * i, &v, 2);
  }
}

void centre(const uint8_t* x, int64_t n, uint8_t* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = x[i] ^ 0x80;
}

void convert(Operand operand, const uint8_t* x, int64_t n, uint8_t* to) {
  if (operand == Operand::s16_s16)
    widen(x, n, to);
  else if (operand == Operand::s8_s8)
    centre(x, n, to);
  else
    std::memcpy(to, x, static_cast<size_t>(n));
}

#if NIBBLE_X86
/// Sum of 16 * blocks bytes; SSE2, which every x86-64 has.
int32_t sum_blocks(const uint8_t* x, int64_t blocks) {
  __m128i sums = _mm_setzero_si128();
  for (int64_t i = 0; i < blocks; ++i) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + 16 * i));
    sums = _mm_add_epi64(sums, _mm_sad_epu8(v, _mm_setzero_si128()));
  }
  return _mm_cvtsi128_si32(_mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums)));
}
#else
int32_t sum_blocks(const uint8_t* x, int64_t blocks) {
  int32_t total = 0;
  for (int64_t i = 0; i < 16 * blocks; ++i) total += x[i];
  return total;
}
#endif

int32_t sum_bytes(const uint8_t* x, int64_t n) {
  int32_t total = sum_blocks(x, n / 16);
  for (int64_t i = n / 16 * 16; i < n; ++i) total += x[i];
  return total;
}

/// to[i] = sum of the `channels` bytes at x + i * pitch, less `zero`.
void sum_row(const uint8_t* x, int64_t pitch, int64_t pixels, int64_t channels, int32_t zero, int32_t* to) {
  const auto each = [&](const auto& sum) {
    for (int64_t i = 0; i < pixels; ++i) to[i] = sum(x + i * pitch) - zero;
  };
  // A known number of blocks is unrolled.
  if (channels == 3)
    each([](const uint8_t* p) { return p[0] + p[1] + p[2]; });
  else if (channels == 16)
    each([](const uint8_t* p) { return sum_blocks(p, 1); });
  else if (channels == 32)
    each([](const uint8_t* p) { return sum_blocks(p, 2); });
  else if (channels == 64)
    each([](const uint8_t* p) { return sum_blocks(p, 4); });
  else
    each([channels](const uint8_t* p) { return sum_bytes(p, channels); });
}

}  // namespace

Frame::Frame(const Int8ConvPlan& p, int64_t height, int64_t width, int64_t batch) : plan(&p), h(height), w(width) {
  const ConvGeometry& g = p.geometry;
  oh = conv_extent(h, p.kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h);
  ow = conv_extent(w, p.kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w);
  output_bytes = p.output == Epilogue::Output::codes ? 1 : 4;
  cols_read = p.in_winograd ? 2 * tile_cols() + 2 : (ow - 1) * g.stride_w + (p.kw - 1) * g.dilation_w + 1;
  col_bytes = p.copied ? p.pixel_bytes : p.in;
  row_bytes = p.copied ? cols_read * col_bytes : w * p.in;
  // The taps of a kernel row are one segment if nothing lies between them; dense pixels have to be read so. Runs name
  // taps otherwise, whatever lies between them.
  const bool dense = p.pixel_bytes % 4 != 0;
  const bool rows = !p.depthwise && g.dilation_w == 1 && (dense || (!p.in_runs && (p.copied || p.groups == 1)));
  segs = p.depthwise ? round_up(int64_t{p.kh} * p.kw, 2) : rows ? p.kh : int64_t{p.kh} * p.kw;
  steps = round_up((rows ? p.kw : 1) * p.pixel_bytes, 4) / 4;

  const int64_t most = p.in_winograd ? kWinogradBytes : kBlockBytes;
  const int64_t image_bytes = std::max<int64_t>(1, rows_read(oh) * row_bytes + input_bytes(oh));
  block_images = std::clamp<int64_t>(most / image_bytes, 1, std::max<int64_t>(1, batch));
  block_rows = oh;
  if (image_bytes > most) {
    const int64_t each = std::max<int64_t>(1, g.stride_h * row_bytes + (input_bytes(4) - input_bytes(2)) / 2);
    const int64_t first = rows_read(1) * row_bytes + input_bytes(1);
    block_rows = std::clamp<int64_t>((most - first) / each + 1, 2, std::max<int64_t>(oh, 2));
    block_rows = std::min(block_rows / 2 * 2, oh);
  }
  copy_at = round_up(segs * 8, 64);
  sums_at = copy_at + (p.copied ? round_up(block_images * copy_bytes(block_rows) + kOverhang, 64) : 0);
  window_sums_at = sums_at + (p.sums ? round_up((rows_read(block_rows) + 1) * cols_read * 4, 64) : 0);
  inputs_at = window_sums_at + (p.sums ? round_up(block_images * block_rows * ow * 4, 64) : 0);
  weights_at = products_at = scratch_bytes = inputs_at;
  if (!p.in_winograd) return;
  const int64_t outputs = 2 * p.kernels->lanes;
  weights_at = inputs_at + block_images * input_bytes(block_rows);
  products_at = weights_at + 16 * (p.in + kWinogradGap) * outputs * 2;
  scratch_bytes = products_at + (16 * (product_tiles() + 1) + 4 * tile_cols()) * outputs * 4;
}

int64_t Frame::product_tiles() const { return std::max<int64_t>(1, kProductTiles / tile_cols()) * tile_cols(); }

int64_t Frame::input_position(int64_t rows) const {
  constexpr int64_t kSpread = 32;  // as kWinogradGap
  return plan->in_winograd ? (rows + 1) / 2 * tile_cols() * plan->in + kSpread : 0;
}

int64_t Frame::pointwise_scratch_bytes(const Int8ConvPlan& p) {
  // One segment, twice a sum for every pixel of a block, and a row of sums.
  const int64_t pixels = p.sums ? std::max(kBlockBytes / p.in, 2 * p.kernels->pixels) + p.kernels->pixels : 0;
  return 3 * 64 + 2 * round_up(pixels * 4, 64);
}

int64_t Frame::rows_read(int64_t rows) const {
  if (plan->in_winograd) return (rows + 1) / 2 * 2 + 2;
  return (rows - 1) * plan->geometry.stride_h + (plan->kh - 1) * int64_t{plan->geometry.dilation_h} + 1;
}

int64_t Frame::copy_bytes(int64_t rows) const { return rows_read(rows) * row_bytes; }

void Frame::fill_segments(std::span<int64_t> seg) const {
  const ConvGeometry& g = plan->geometry;
  const auto segments = static_cast<int64_t>(seg.size()), per_row = std::max<int64_t>(1, segments / plan->kh);
  for (int64_t s = 0; s < segments; ++s) {
    // The partner of an odd last tap has weights of 0 and may read anything.
    const int64_t tap = plan->depthwise ? std::min(s, int64_t{plan->kh} * plan->kw - 1) : s;
    const int64_t cols = plan->depthwise ? plan->kw : per_row;
    seg[static_cast<size_t>(s)] = tap / cols * g.dilation_h * row_bytes + tap % cols * g.dilation_w * col_bytes;
  }
}

void Frame::copy_rows(const uint8_t* image, int64_t group, int64_t from, int64_t rows, uint8_t* to) const {
  const Int8ConvPlan& p = *plan;
  const Operand operand = p.operand;
  const Inside in = inside(p.geometry.pad.left, w, cols_read);
  const int64_t used = p.group_in * p.value_bytes, pixels = in.hi - in.lo, channels = p.group_in;
  const auto fill = [&](uint8_t* at, int64_t count) {
    // Values between the channels and the end of a pixel have weights of 0.
    const int border = operand == Operand::s8_s8 ? p.x_zero ^ 0x80 : p.x_zero;
    if (operand != Operand::s16_s16) {
      std::memset(at, border, static_cast<size_t>(count * p.pixel_bytes));
      return;
    }
    const auto value = static_cast<int16_t>(border);
    for (int64_t i = 0; i < count * p.pixel_bytes; i += 2) std::memcpy(at + i, &value, 2);
  };
  for (int64_t r = from; r < from + rows; ++r, to += row_bytes) {
    if (r < 0 || r >= h || pixels == 0) {
      fill(to, cols_read);
      continue;
    }
    fill(to, in.lo);
    const uint8_t* x = image + r * w * p.in + group * channels;
    uint8_t* at = to + in.lo * p.pixel_bytes;
    if (used == p.pixel_bytes && p.groups == 1) {
      convert(operand, x, pixels * channels, at);
    } else {
      for (int64_t i = 0; i < pixels; ++i) {
        convert(operand, x + i * p.in, channels, at + i * p.pixel_bytes);
        std::memset(at + i * p.pixel_bytes + used, 0, static_cast<size_t>(p.pixel_bytes - used));
      }
    }
    fill(to + in.hi * p.pixel_bytes, cols_read - in.hi);
  }
}

void Frame::sum_pixels(const uint8_t* image, int64_t group, int64_t from, int64_t rows, int32_t* to) const {
  const Int8ConvPlan& p = *plan;
  const Inside in = inside(p.geometry.pad.left, w, cols_read);
  const auto zero = static_cast<int32_t>(p.x_zero * p.group_in);
  for (int64_t r = from; r < from + rows; ++r, to += cols_read) {
    std::fill(to, to + cols_read, 0);
    if (r < 0 || r >= h) continue;
    const uint8_t* x = image + r * w * p.in + group * p.group_in;
    sum_row(x, p.in, in.hi - in.lo, p.group_in, zero, to + in.lo);
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
    if (plan->sum_factor != 1)
      for (int64_t c = 0; c < cols_read; ++c) columns[c] *= plan->sum_factor;
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

}  // namespace nibble::int8::detail
