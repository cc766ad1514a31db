#include "quant/kernels/bf16_conv/bf16_conv.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "core/allocator.h"
#include "core/kernels/conv_f32/dispatch.h"
#include "core/kernels/conv_f32/plan.h"
#include "core/kernels/elementwise/dispatch.h"
#include "core/parallel.h"
#include "core/profile.h"

namespace nibble::bf16 {
namespace {

using conv_f32::ceil_div;

constexpr int64_t kBandBytes = 192 << 10;  // of the copied source: stays in the second-level cache beside the weights

/// A convolution as sums over windows of a frame, in which the pixels of the source lie `spread` apart with zeros
/// between and around them: forward, or backward data.
struct Windows {
  int64_t images;
  int64_t src_h, src_w, src_c, dst_h, dst_w, dst_c;
  int64_t top, left;  ///< where pixel (0, 0) of the source lies; may be negative
  int64_t spread, step, dilation_h, dilation_w, kh, kw;

  int64_t frame_w() const { return (dst_w - 1) * step + dilation_w * (kw - 1) + 1; }
  int64_t frame_rows(int64_t rows) const { return (rows - 1) * step + dilation_h * (kh - 1) + 1; }
  int64_t row_values() const { return frame_w() * src_c; }
};

Windows forward_windows(const ConvShape& s) {
  const ConvGeometry& g = s.geometry;
  return {s.n,        s.h, s.w,        s.c,          s.oh,         s.ow, s.o, g.pad.top,
          g.pad.left, 1,   g.stride_h, g.dilation_h, g.dilation_w, s.kh, s.kw};
}

Windows data_windows(const ConvShape& s) {
  const ConvGeometry& g = s.geometry;
  return {s.n,
          s.oh,
          s.ow,
          s.o,
          s.h,
          s.w,
          s.c,
          g.dilation_h * (s.kh - 1) - g.pad.top,
          g.dilation_w * (s.kw - 1) - g.pad.left,
          g.stride_h,
          1,
          g.dilation_h,
          g.dilation_w,
          s.kh,
          s.kw};
}

/// w[from * from_step + to * to_step + tap], the taps turned by half a turn or not.
struct Taps {
  const float* w;
  int64_t from_step, to_step;
  bool turned;
};

/// Weights as the kernels read them, a panel of output channels after another.
class Packed {
 public:
  Packed(const Kernels& kernels, const Windows& k, const Taps& taps)
      : values_(k.kh * k.kw * k.src_c), panels_(ceil_div(k.dst_c, kPanel)) {
    storage_ = allocate(static_cast<size_t>(values_ * panels_ * kPanel) * sizeof(uint16_t));
    data_ = reinterpret_cast<uint16_t*>(storage_.get());
    parallel_for(0, panels_, 1 + (1 << 14) / (values_ * kPanel), [&](int64_t lo, int64_t hi) {
      std::vector<float> panel(static_cast<size_t>(values_ * kPanel));
      for (int64_t p = lo; p < hi; ++p) {
        fill(k, taps, p * kPanel, panel.data());
        kernels.round(panel.data(), values_ * kPanel, data_ + p * values_ * kPanel);
      }
    });
  }
  int64_t panels() const { return panels_; }
  const uint16_t* panel(int64_t p) const { return data_ + p * values_ * kPanel; }

 private:
  /// [tap][pair of source channels][channel of the panel][2]; channels beyond the last have weights of 0.
  void fill(const Windows& k, const Taps& taps, int64_t first, float* to) const {
    const int64_t live = std::min(kPanel, k.dst_c - first);
    const int64_t count = k.kh * k.kw;
    for (int64_t t = 0; t < count; ++t)
      for (int64_t c = 0; c < k.src_c; ++c)
        for (int64_t j = 0; j < live; ++j)
          to[((t * k.src_c + c) / 2 * kPanel + j) * 2 + c % 2] =
              taps.w[c * taps.from_step + (first + j) * taps.to_step + (taps.turned ? count - 1 - t : t)];
  }

  int64_t values_, panels_;
  std::shared_ptr<std::byte> storage_;
  uint16_t* data_ = nullptr;
};

/// Rows [from, from + rows) of the frame of one image.
void fill_frame(const Kernels& kernels, const Windows& k, const float* image, int64_t from, int64_t rows,
                uint16_t* to) {
  const int64_t begin = std::max<int64_t>(0, ceil_div(-k.left, k.spread));
  const int64_t end = std::clamp(ceil_div(k.frame_w() - k.left, k.spread), begin, k.src_w);
  for (int64_t row = from; row < from + rows; ++row, to += k.row_values()) {
    const int64_t y = row - k.top;
    std::memset(to, 0, static_cast<size_t>(k.row_values()) * sizeof(uint16_t));
    if (y < 0 || y % k.spread != 0 || y / k.spread >= k.src_h) continue;
    const float* const line = image + y / k.spread * k.src_w * k.src_c;
    if (k.spread == 1) {
      kernels.round(line + begin * k.src_c, (end - begin) * k.src_c, to + (k.left + begin) * k.src_c);
      continue;
    }
    for (int64_t x = begin; x < end; ++x)
      kernels.round(line + x * k.src_c, k.src_c, to + (k.left + x * k.spread) * k.src_c);
  }
}

/// Bytes from a window's first pixel to its segments. Rows of neighbouring taps are one segment.
std::vector<int64_t> segments(const Windows& k) {
  std::vector<int64_t> seg;
  for (int64_t i = 0; i < k.kh; ++i)
    for (int64_t j = 0; j < (k.dilation_w == 1 ? 1 : k.kw); ++j)
      seg.push_back(2 * (i * k.dilation_h * k.row_values() + j * k.dilation_w * k.src_c));
  return seg;
}

/// dst = factor * base + offset + the sums.
struct Addition {
  const float *base, *factor, *offset;
  float* dst;
};

/// Rows of an image that are worked on at a time, so many that what they read stays in the cache.
int64_t band_of(const Windows& k) {
  return std::clamp<int64_t>(kBandBytes / (2 * k.step * k.row_values()), 1, k.dst_h);
}

/// then(number of the band, its first value, how many) is called where a band is done, from several threads.
template <class Then>
void correlate_all(const Kernels& kernels, const Windows& k, const Taps& taps, const float* src, const Addition& a,
                   const Then& then) {
  if (k.images == 0) return;
  const Packed packed(kernels, k, taps);
  const std::vector<int64_t> seg = segments(k);
  const int64_t band = band_of(k), bands = ceil_div(k.dst_h, band);
  parallel_for(0, k.images * bands, 1, [&](int64_t lo, int64_t hi) {
    const int64_t floats = ceil_div(k.frame_rows(band) * k.row_values(), 2);
    auto* const frame = reinterpret_cast<uint16_t*>(conv_f32::thread_scratch(floats));
    for (int64_t i = lo; i < hi; ++i) {
      const int64_t image = i / bands, first = i % bands * band, rows = std::min(band, k.dst_h - first);
      fill_frame(kernels, k, src + image * k.src_h * k.src_w * k.src_c, first * k.step, k.frame_rows(rows), frame);
      for (int64_t p = 0; p < packed.panels(); ++p) {
        const int64_t channel = p * kPanel, at = (image * k.dst_h + first) * k.dst_w * k.dst_c + channel;
        kernels.correlate({.x = frame,
                           .x_row = k.step * k.row_values(),
                           .x_col = k.step * k.src_c,
                           .seg = seg.data(),
                           .segs = static_cast<int64_t>(seg.size()),
                           .pairs = k.kh * k.kw * k.src_c / 2 / static_cast<int64_t>(seg.size()),
                           .w = packed.panel(p),
                           .base = a.base + at,
                           .factor = a.factor ? a.factor + channel : nullptr,
                           .offset = a.offset ? a.offset + channel : nullptr,
                           .y = a.dst + at,
                           .y_row = k.dst_w * k.dst_c,
                           .y_col = k.dst_c,
                           .rows = rows,
                           .cols = k.dst_w,
                           .n = std::min(kPanel, k.dst_c - channel)});
      }
      then(i, a.dst + (image * k.dst_h + first) * k.dst_w * k.dst_c, rows * k.dst_w * k.dst_c);
    }
  });
}

/// The work of the pass, named after the kernels.
profile::Work work_of(const ConvShape& shape, ConvPass pass) {
  profile::Work work = conv_f32::work_of(conv_f32::kernels(), shape, pass);
  work.kernel = "bf16 tiles";
  return work;
}

}  // namespace

bool fits(const ConvShape& s, ConvPass pass) {
  const ConvGeometry& g = s.geometry;
  const int64_t summed = pass == ConvPass::data ? s.o : s.c;
  return g.groups == 1 && summed % 2 == 0 && g.stride_h == g.stride_w && pass != ConvPass::weights;
}

std::optional<ValueRange> conv_forward(const Kernels& kernels, const ConvShape& s, const float* x, const float* w,
                                       const float* base, const float* factor, const float* offset, float* y) {
  profile::Span span(profile::Stage::forward, "conv2d");
  if (span) span.note(work_of(s, ConvPass::forward));
  const int64_t taps = s.kh * s.kw;
  const Windows windows = forward_windows(s);
  std::vector<ValueRange> ranges(static_cast<size_t>(s.n * ceil_div(s.oh, band_of(windows))));
  std::atomic<bool> finite{true};
  correlate_all(kernels, windows, {w, taps, s.c * taps, false}, x, {base, factor, offset, y},
                [&](int64_t band, const float* values, int64_t count) {
                  ValueRange& range = ranges[static_cast<size_t>(band)];
                  if (!elementwise::kernels().extremes(values, count, &range.lowest, &range.highest)) finite = false;
                });
  if (!finite) return {};
  ValueRange total;
  for (const ValueRange& range : ranges)
    total = {std::min(total.lowest, range.lowest), std::max(total.highest, range.highest)};
  return total;
}

void conv_backward_data(const Kernels& kernels, const ConvShape& s, const float* dy, const float* w, float* dx) {
  profile::Span span(profile::Stage::backward_data, "conv2d");
  if (span) span.note(work_of(s, ConvPass::data));
  const int64_t taps = s.kh * s.kw;
  correlate_all(kernels, data_windows(s), {w, s.c * taps, taps, true}, dy, {dx, nullptr, nullptr, dx},
                [](int64_t, const float*, int64_t) {});
}

}  // namespace nibble::bf16
