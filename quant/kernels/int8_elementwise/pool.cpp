#include <algorithm>

#include "core/error.h"
#include "core/ops.h"
#include "core/parallel.h"
#include "quant/kernels/int8_elementwise/int8_elementwise.h"

namespace nibble::int8 {
namespace {

constexpr int64_t kChannels = 64;  // summed or compared at a time

/// Taps [lo, hi) of one axis of a window that lie inside the image, as positions in it.
struct Range {
  int64_t lo, hi;
};
Range inside(int64_t out, int stride, int pad, int64_t k, int64_t extent) {
  const int64_t first = out * stride - pad;
  return {std::max<int64_t>(first, 0), std::min(first + k, extent)};
}

/// One output pixel's window in one image.
struct Window {
  const uint8_t* x;
  int64_t w, c;
  Range rows, cols;
  int64_t taps() const { return (rows.hi - rows.lo) * (cols.hi - cols.lo); }
};

/// Calls f(pointer to channel c0) for every tap.
template <class F>
void for_taps(const Window& win, int64_t c0, const F& f) {
  for (int64_t r = win.rows.lo; r < win.rows.hi; ++r)
    for (int64_t q = win.cols.lo; q < win.cols.hi; ++q) f(win.x + (r * win.w + q) * win.c + c0);
}

/// y and x do not overlap, which lets the compiler do without a check in front of every short loop.
void take_larger(uint8_t* __restrict y, const uint8_t* __restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = std::max(y[i], x[i]);
}

void maximum(const Window& win, int64_t c0, int64_t n, uint8_t* y) {
  std::fill(y, y + n, uint8_t{0});
  // A constant count where it can be: whole vectors, nothing left over.
  if (n == kChannels)
    for_taps(win, c0, [&](const uint8_t* x) { take_larger(y, x, kChannels); });
  else
    for_taps(win, c0, [&](const uint8_t* x) { take_larger(y, x, n); });
}

void add_up(int32_t* __restrict y, const uint8_t* __restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void sums(const Window& win, int64_t c0, int64_t n, int32_t* y) {
  std::fill(y, y + n, 0);
  if (n == kChannels)
    for_taps(win, c0, [&](const uint8_t* x) { add_up(y, x, kChannels); });
  else
    for_taps(win, c0, [&](const uint8_t* x) { add_up(y, x, n); });
}

void average(const Window& win, int64_t c0, int64_t n, uint8_t* y) {
  int32_t acc[kChannels];
  sums(win, c0, n, acc);
  const auto taps = static_cast<int32_t>(win.taps());
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<uint8_t>((acc[i] + taps / 2) / taps);
}

struct Extents {
  int64_t h, w, c, oh, ow;
};

/// Calls f(window, first channel, channels, index of the first output) for all blocks of channels of all outputs.
template <class F>
void for_windows(const Int8PoolSpec& s, const uint8_t* x, int64_t batch, const Extents& e, const F& f) {
  const int64_t kh = s.global ? e.h : s.kh, kw = s.global ? e.w : s.kw;
  parallel_for(0, batch * e.oh, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, e.ow * e.c * kh * kw)),
               [&](int64_t lo, int64_t hi) {
                 for (int64_t row = lo; row < hi; ++row)
                   for (int64_t col = 0; col < e.ow; ++col) {
                     const Range all_rows{0, e.h}, all_cols{0, e.w};
                     const Window win{x + row / e.oh * e.h * e.w * e.c, e.w, e.c,
                                      s.global ? all_rows : inside(row % e.oh, s.stride_h, s.pad_top, kh, e.h),
                                      s.global ? all_cols : inside(col, s.stride_w, s.pad_left, kw, e.w)};
                     for (int64_t c = 0; c < e.c; c += kChannels)
                       f(win, c, std::min(kChannels, e.c - c), (row * e.ow + col) * e.c + c);
                   }
               });
}

}  // namespace

Int8Pool::Int8Pool(const Int8PoolSpec& s) : spec_(s) {
  if (s.global) return;
  constexpr int kLimit = 1 << 20;
  for (const int v : {s.kh, s.kw, s.stride_h, s.stride_w})
    NIBBLE_CHECK(v >= 1 && v <= kLimit, "int8 pool: extents and strides are 1 to ", kLimit, ", got ", v);
  for (const int pad : {s.pad_top, s.pad_bottom})
    NIBBLE_CHECK(pad >= 0 && pad < s.kh, "int8 pool: a padding of ", pad, " rows for a window of ", s.kh);
  for (const int pad : {s.pad_left, s.pad_right})
    NIBBLE_CHECK(pad >= 0 && pad < s.kw, "int8 pool: a padding of ", pad, " columns for a window of ", s.kw);
  NIBBLE_CHECK(!s.average || int64_t{s.kh} * s.kw <= 1 << 23, "int8 pool: an average of ", int64_t{s.kh} * s.kw,
               " codes, the most is 2^23");
}

int64_t Int8Pool::output_h(int64_t h) const {
  return spec_.global ? 1 : conv_extent(h, spec_.kh, spec_.stride_h, spec_.pad_top, spec_.pad_bottom, 1);
}
int64_t Int8Pool::output_w(int64_t w) const {
  return spec_.global ? 1 : conv_extent(w, spec_.kw, spec_.stride_w, spec_.pad_left, spec_.pad_right, 1);
}

void Int8Pool::run(const uint8_t* x, int64_t batch, int64_t h, int64_t w, int64_t c, uint8_t* y) const {
  NIBBLE_CHECK(!spec_.global || !spec_.average || h * w <= 1 << 23, "int8 pool: an average of ", h * w,
               " codes, the most is 2^23");
  const Extents e{h, w, c, output_h(h), output_w(w)};
  for_windows(spec_, x, batch, e, [&](const Window& win, int64_t c0, int64_t n, int64_t at) {
    spec_.average ? average(win, c0, n, y + at) : maximum(win, c0, n, y + at);
  });
}

void Int8Pool::run_sums(const uint8_t* x, int64_t batch, int64_t h, int64_t w, int64_t c, int32_t* y) const {
  NIBBLE_CHECK(!spec_.global || h * w <= 1 << 23, "int8 pool: a sum of ", h * w, " codes, the most is 2^23");
  const Extents e{h, w, c, output_h(h), output_w(w)};
  for_windows(spec_, x, batch, e,
              [&](const Window& win, int64_t c0, int64_t n, int64_t at) { sums(win, c0, n, y + at); });
}

}  // namespace nibble::int8
