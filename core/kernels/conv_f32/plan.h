#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/conv_f32/driver.h"

namespace nibble::conv_f32 {

/// A tap of the kernel along one axis and where it reads, relative to tap position 0.
struct Tap {
  int64_t index, offset;
};

/// Destinations dst0, dst0 + dst_step, ... along one axis, which all use the same taps: destination number q reads the
/// sources base + q * src_step + offset.
struct AxisClass {
  int64_t dst0, count, base;
  std::vector<Tap> taps;  ///< by ascending offset; may be empty
  int64_t first(int64_t q, int64_t src_step) const { return base + q * src_step + taps.front().offset; }
  int64_t last(int64_t q, int64_t src_step) const { return base + q * src_step + taps.back().offset; }
};

/// One axis of a correlation. Forward is one class that moves by the stride; backward data is a class per remainder
/// of the stride, each of which writes every stride-th pixel and has its own subset of the taps.
struct Axis {
  std::vector<AxisClass> classes;
  int64_t src_step = 1, dst_step = 1;
  int64_t longest() const;
};

/// Source coordinates [lo, hi).
struct Interval {
  int64_t lo = 0, hi = 0;
  int64_t size() const { return hi - lo; }
};
/// What destinations number [q0, q1) of all classes read.
Interval reads(const Axis& axis, int64_t q0, int64_t q1);

/// The taps shared by a class of rows and a class of columns.
struct TapSet {
  const AxisClass* rows;
  const AxisClass* cols;
  int64_t first_weight;      ///< in the packed weights of one group
  std::vector<int64_t> seg;  ///< as in Correlate
  int64_t run;               ///< floats per segment
  std::vector<int64_t> tap;  ///< kh * KW + kw, in the order of the packed weights
};

/// A convolution written as "every destination pixel is a sum over source pixels": forward (source x, destination y)
/// or backward data (source dy, destination dx).
struct Plan {
  Plan(const ConvShape& shape, ConvPass pass);
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  int64_t images;
  int64_t src_h, src_w, src_c, dst_h, dst_w, dst_c;
  int64_t groups;        ///< 1 if depthwise, which treats all channels at once
  int64_t src_g, dst_g;  ///< channels of one group
  bool depthwise;
  Axis rows, cols;
  Interval window;               ///< columns that are read
  bool padded;                   ///< reads reach beyond the source, into a border of zeros
  bool copied;                   ///< each image is copied into a scratch, for the border or for a better pitch
  int64_t row_pitch, col_pitch;  ///< of what the kernels read, in floats
  std::vector<TapSet> sets;
  int64_t taps;  ///< of all sets
};

/// The readable rows of an image.
struct Source {
  const float* origin;  ///< where pixel (0, 0) of the group is, or would be
};

/// Makes rows [rows.lo, rows.hi) of one image readable with the pitches of the plan: the image itself, or a copy in
/// `scratch` with zeros around it. `scratch` holds scratch_floats(plan, rows).
Source open_source(const Plan& plan, const float* image, int64_t group, Interval rows, float* scratch);
int64_t scratch_floats(const Plan& plan, Interval rows);

void copy_pixels(int64_t pixels, int64_t channels, const float* from, int64_t from_pitch, float* to, int64_t to_pitch);

/// A buffer of this thread, which keeps it for the next call.
float* thread_scratch(int64_t floats);

/// The distance at which to store pixels of `channels` values that are read a few channels at a time. A multiple of
/// 512 bytes would put all pixels into a few sets of the caches.
int64_t spread_pitch(int64_t channels);

/// a / b rounded up, of non-negative numbers.
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Adds the results of all chunks, `floats` each, to that of the first, in order, on all threads.
void sum_chunks(float* partial, int64_t chunks, int64_t floats);

}  // namespace nibble::conv_f32
