#include "core/kernels/conv_f32/plan.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "core/parallel.h"

namespace nibble::conv_f32 {
namespace {

int64_t floor_mod(int64_t a, int64_t b) { return ((a % b) + b) % b; }

Axis forward_axis(int64_t out, int64_t k, int64_t stride, int64_t pad, int64_t dilation) {
  AxisClass all{0, out, -pad, {}};
  for (int64_t i = 0; i < k; ++i) all.taps.push_back({i, i * dilation});
  return {{all}, stride, 1};
}

Axis data_axis(int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dilation) {
  Axis axis{{}, 1, stride};
  for (int64_t r = 0; r < stride; ++r) {
    // Input i meets tap t at output (i + pad - t * dilation) / stride, if that is whole.
    const int64_t dst0 = floor_mod(r - pad, stride);
    if (dst0 >= in) continue;
    AxisClass one{dst0, ceil_div(in - dst0, stride), (dst0 + pad - r) / stride, {}};
    for (int64_t t = k - 1; t >= 0; --t)
      if ((t * dilation) % stride == r) one.taps.push_back({t, -(t * dilation - r) / stride});
    axis.classes.push_back(one);
  }
  return axis;
}

bool is_contiguous(const std::vector<Tap>& taps) {
  for (size_t i = 1; i < taps.size(); ++i)
    if (taps[i].offset != taps[i - 1].offset + 1) return false;
  return true;
}

}  // namespace

int64_t Axis::longest() const {
  int64_t most = 0;
  for (const AxisClass& c : classes) most = std::max(most, c.count);
  return most;
}

Interval reads(const Axis& axis, int64_t q0, int64_t q1) {
  Interval all;
  bool none = true;
  for (const AxisClass& c : axis.classes) {
    const int64_t end = std::min(q1, c.count);
    if (c.taps.empty() || q0 >= end) continue;
    const Interval one{c.first(q0, axis.src_step), c.last(end - 1, axis.src_step) + 1};
    all = none ? one : Interval{std::min(all.lo, one.lo), std::max(all.hi, one.hi)};
    none = false;
  }
  return all;
}

Plan::Plan(const ConvShape& s, ConvPass pass) {
  const ConvGeometry& g = s.geometry;
  depthwise = g.groups > 1 && g.groups == s.c && s.c == s.o;
  groups = depthwise ? 1 : g.groups;
  images = s.n;
  if (pass == ConvPass::data) {
    src_h = s.oh, src_w = s.ow, src_c = s.o, dst_h = s.h, dst_w = s.w, dst_c = s.c;
    rows = data_axis(s.h, s.kh, g.stride_h, g.pad.top, g.dilation_h);
    cols = data_axis(s.w, s.kw, g.stride_w, g.pad.left, g.dilation_w);
  } else {
    src_h = s.h, src_w = s.w, src_c = s.c, dst_h = s.oh, dst_w = s.ow, dst_c = s.o;
    rows = forward_axis(s.oh, s.kh, g.stride_h, g.pad.top, g.dilation_h);
    cols = forward_axis(s.ow, s.kw, g.stride_w, g.pad.left, g.dilation_w);
  }
  src_g = src_c / groups;
  dst_g = dst_c / groups;
  const Interval tall = reads(rows, 0, rows.longest());
  window = reads(cols, 0, cols.longest());
  padded = tall.lo < 0 || tall.hi > src_h || window.lo < 0 || window.hi > src_w;
  const int64_t pitch = depthwise || pass == ConvPass::weights ? spread_pitch(src_g) : src_g;
  copied = padded || (pitch != src_g && !depthwise);
  col_pitch = copied ? pitch : src_c;
  row_pitch = col_pitch * (copied ? window.size() : src_w);

  taps = 0;
  for (const AxisClass& r : rows.classes)
    for (const AxisClass& c : cols.classes) {
      const bool merge = !depthwise && col_pitch == src_g && is_contiguous(c.taps);
      TapSet set{&r, &c, 0, {}, merge ? static_cast<int64_t>(c.taps.size()) * src_g : src_g, {}};
      for (const Tap& tr : r.taps)
        for (const Tap& tc : c.taps) {
          if (!merge || &tc == &c.taps.front()) set.seg.push_back(tr.offset * row_pitch + tc.offset * col_pitch);
          set.tap.push_back(tr.index * s.kw + tc.index);
        }
      taps += static_cast<int64_t>(set.tap.size());
      sets.push_back(std::move(set));
    }
}

int64_t scratch_floats(const Plan& p, Interval rows) { return p.copied ? rows.size() * p.row_pitch : 0; }

Source open_source(const Plan& p, const float* image, int64_t group, Interval rows, float* scratch) {
  const float* from = image + group * p.src_g;
  if (!p.copied) return {from};
  const int64_t left = std::max<int64_t>(0, -p.window.lo);
  const int64_t first = std::max<int64_t>(0, p.window.lo);
  const int64_t inside = std::max<int64_t>(0, std::min(p.src_w, p.window.hi) - first);
  const auto clear = [](float* at, int64_t floats) {
    if (floats > 0) std::memset(at, 0, static_cast<size_t>(floats) * sizeof(float));
  };
  for (int64_t r = rows.lo; r < rows.hi; ++r) {
    float* to = scratch + (r - rows.lo) * p.row_pitch;
    if (r < 0 || r >= p.src_h || inside == 0) {
      clear(to, p.row_pitch);
      continue;
    }
    const float* pixel = from + (r * p.src_w + first) * p.src_c;
    clear(to, left * p.col_pitch);
    copy_pixels(inside, p.src_g, pixel, p.src_c, to + left * p.col_pitch, p.col_pitch);
    clear(to + (left + inside) * p.col_pitch, p.row_pitch - (left + inside) * p.col_pitch);
  }
  return {scratch - rows.lo * p.row_pitch - p.window.lo * p.col_pitch};
}

void copy_pixels(int64_t pixels, int64_t channels, const float* from, int64_t from_pitch, float* to, int64_t to_pitch) {
  if (from_pitch == channels && to_pitch == channels) channels *= std::exchange(pixels, 1);
  for (int64_t i = 0; i < pixels; ++i)
    std::memcpy(to + i * to_pitch, from + i * from_pitch, static_cast<size_t>(channels) * sizeof(float));
}

int64_t spread_pitch(int64_t channels) { return channels % 128 == 0 ? channels + 16 : channels; }

float* thread_scratch(int64_t floats) {
  struct Free {
    void operator()(float* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  thread_local std::unique_ptr<float, Free> buffer;
  thread_local int64_t size = 0;
  floats = std::max<int64_t>(floats, 16);
  if (size < floats) {
    buffer.reset();
    size = 0;
    buffer.reset(
        static_cast<float*>(::operator new (static_cast<size_t>(floats) * sizeof(float), std::align_val_t{64})));
    size = floats;
  }
  return buffer.get();
}

void sum_chunks(float* partial, int64_t chunks, int64_t floats) {
  parallel_for(0, floats, 16 * 1024, [&](int64_t lo, int64_t hi) {
    for (int64_t i = 1; i < chunks; ++i)
      for (int64_t j = lo; j < hi; ++j) partial[j] += partial[i * floats + j];
  });
}

}  // namespace nibble::conv_f32
