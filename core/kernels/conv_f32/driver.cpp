#include "core/kernels/conv_f32/driver.h"

#include <algorithm>

#include "core/allocator.h"
#include "core/kernels/conv_f32/dispatch.h"
#include "core/kernels/conv_f32/plan.h"
#include "core/kernels/conv_f32/winograd.h"
#include "core/parallel.h"

namespace nibble::conv_f32 {
namespace {

constexpr int64_t kStripeFloats = 96 * 1024;  // of the source, per stripe: stays in a 1 MiB L2 beside the weights
constexpr int64_t kTaskMacs = 1 << 20;        // about 10 us; below that a thread is not worth waking

struct Packed {
  std::shared_ptr<std::byte> storage;
  const float* data = nullptr;
  int64_t group_floats = 0;
  int64_t padded_dst = 0;  ///< channels of a group rounded up to vectors
};

/// Where element (source channel, destination channel, tap) of group 0 stands in O,I/groups,KH,KW.
struct WeightStrides {
  int64_t src, dst, group;
};

void pack_panel(const TapSet& set, int64_t src_g, WeightStrides stride, const float* w, int64_t live, int64_t width,
                float* to) {
  const auto taps = static_cast<int64_t>(set.tap.size());
  for (int64_t i = 0; i < src_g; ++i)
    for (int64_t t = 0; t < taps; ++t) {
      const float* from = w + i * stride.src + set.tap[static_cast<size_t>(t)];
      float* row = to + (t * src_g + i) * width;
      for (int64_t j = 0; j < live; ++j) row[j] = from[j * stride.dst];
      for (int64_t j = live; j < width; ++j) row[j] = 0;
    }
}

/// [group][tap set][panel of `block` channels][tap][source channel][channel of the panel]
Packed pack(const Kernels& k, Plan& plan, WeightStrides stride, const float* w) {
  Packed packed;
  packed.padded_dst = ceil_div(plan.dst_g, k.lanes) * k.lanes;
  for (TapSet& set : plan.sets) {
    set.first_weight = packed.group_floats;
    packed.group_floats += static_cast<int64_t>(set.tap.size()) * plan.src_g * packed.padded_dst;
  }
  packed.storage = allocate(static_cast<size_t>(plan.groups * packed.group_floats) * sizeof(float));
  auto* data = reinterpret_cast<float*>(packed.storage.get());
  const int64_t panels = ceil_div(plan.dst_g, k.block);
  const int64_t grain = 1 + kTaskMacs / 16 / std::max<int64_t>(1, packed.group_floats / panels);
  parallel_for(0, plan.groups * panels, grain, [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) {
      const int64_t g = i / panels, first = i % panels * k.block;
      const int64_t width = std::min(k.block, packed.padded_dst - first);
      for (const TapSet& set : plan.sets)
        pack_panel(set, plan.src_g, stride, w + g * stride.group + first * stride.dst,
                   std::min(width, plan.dst_g - first), width,
                   data + g * packed.group_floats + set.first_weight +
                       static_cast<int64_t>(set.tap.size()) * plan.src_g * first);
    }
  });
  packed.data = data;
  return packed;
}

/// Depthwise: [tap set][tap][channel].
Packed pack_depthwise(Plan& plan, const float* w) {
  Packed packed;
  packed.storage = allocate(static_cast<size_t>(plan.taps * plan.src_c) * sizeof(float));
  auto* data = reinterpret_cast<float*>(packed.storage.get());
  float* to = data;
  for (TapSet& set : plan.sets) {
    set.first_weight = to - data;
    for (const int64_t tap : set.tap)
      for (int64_t c = 0; c < plan.src_c; ++c) *to++ = w[c * plan.taps + tap];
  }
  packed.data = data;
  return packed;
}

/// One image is cut into stripes of rows, and the channels of a stripe into parts.
struct Cut {
  int64_t stripes, stripe_rows, parts;
  int64_t grain;
};

Cut cut(const Kernels& k, const Plan& plan) {
  const int64_t q = plan.rows.longest(), workers = threads();
  const int64_t cache = ceil_div(q * plan.rows.src_step * plan.row_pitch, kStripeFloats);
  const bool uneven = plan.images < 8 * workers && plan.images % workers != 0;
  int64_t stripes = std::max(cache, uneven ? workers : 1);
  Cut c;
  c.stripe_rows = std::max<int64_t>(ceil_div(q, stripes), std::min<int64_t>(q, 2));
  // Pairs of rows fill a tile.
  if (c.stripe_rows < q) c.stripe_rows += c.stripe_rows % 2;
  c.stripes = ceil_div(q, c.stripe_rows);
  const int64_t panels = plan.depthwise ? 1 : plan.groups * ceil_div(plan.dst_g, k.block);
  c.parts = std::clamp<int64_t>(workers / (plan.images * c.stripes), 1, panels);
  const int64_t per_pixel = plan.taps * plan.src_g * (plan.depthwise ? 1 : plan.dst_c);
  const int64_t macs = plan.images * plan.dst_h * plan.dst_w * per_pixel;
  c.grain = 1 + kTaskMacs / std::max<int64_t>(1, macs / (plan.images * c.stripes * c.parts));
  return c;
}

struct Work {
  const Kernels& k;
  const Plan& plan;
  const Packed& packed;
  const float* src;
  const float* bias;
  float* dst;

  const float* pixel(const Source& source, const TapSet& set, int64_t q) const {
    return source.origin + (set.rows->base + q * plan.rows.src_step) * plan.row_pitch + set.cols->base * plan.col_pitch;
  }
  float* result(const TapSet& set, int64_t image, int64_t q) const {
    return dst +
           ((image * plan.dst_h + set.rows->dst0 + q * plan.rows.dst_step) * plan.dst_w + set.cols->dst0) * plan.dst_c;
  }

  void panel(const Source& source, const TapSet& set, int64_t image, int64_t group, int64_t first, int64_t q0,
             int64_t q1) const {
    const int64_t channel = group * plan.dst_g + first;
    k.correlate({.x = pixel(source, set, q0),
                 .x_row = plan.rows.src_step * plan.row_pitch,
                 .x_col = plan.cols.src_step * plan.col_pitch,
                 .seg = set.seg.data(),
                 .segs = static_cast<int64_t>(set.seg.size()),
                 .run = set.run,
                 .w = packed.data + group * packed.group_floats + set.first_weight +
                      static_cast<int64_t>(set.tap.size()) * plan.src_g * first,
                 .bias = bias ? bias + channel : nullptr,
                 .y = result(set, image, q0) + channel,
                 .y_row = plan.rows.dst_step * plan.dst_w * plan.dst_c,
                 .y_col = plan.cols.dst_step * plan.dst_c,
                 .rows = q1 - q0,
                 .cols = set.cols->count,
                 .n = std::min(k.block, plan.dst_g - first)});
  }

  void channels(const Source& source, const TapSet& set, int64_t image, int64_t q0, int64_t q1) const {
    k.depthwise({.x = pixel(source, set, q0),
                 .x_row = plan.rows.src_step * plan.row_pitch,
                 .x_col = plan.cols.src_step * plan.col_pitch,
                 .seg = set.seg.data(),
                 .taps = static_cast<int64_t>(set.seg.size()),
                 .w = packed.data + set.first_weight,
                 .bias = bias,
                 .y = result(set, image, q0),
                 .y_row = plan.rows.dst_step * plan.dst_w * plan.dst_c,
                 .y_col = plan.cols.dst_step * plan.dst_c,
                 .rows = q1 - q0,
                 .cols = set.cols->count,
                 .n = plan.dst_c});
  }

  void stripe(int64_t image, int64_t q0, int64_t q1, int64_t part, int64_t parts) const {
    const Interval rows = reads(plan.rows, q0, q1);
    float* scratch = thread_scratch(scratch_floats(plan, rows));
    const int64_t panels = ceil_div(plan.dst_g, k.block);
    const int64_t end = plan.groups * panels * (part + 1) / parts;
    Source source{};
    int64_t open = -1;
    for (int64_t i = plan.groups * panels * part / parts; i < end; ++i) {
      const int64_t group = i / panels;
      if (group != open)
        source = open_source(plan, src + image * plan.src_h * plan.src_w * plan.src_c, group, rows, scratch);
      open = group;
      for (const TapSet& set : plan.sets) {
        const int64_t stop = std::min(q1, set.rows->count);
        if (q0 >= stop) continue;
        if (plan.depthwise)
          channels(source, set, image, q0, stop);
        else
          panel(source, set, image, group, i % panels * k.block, q0, stop);
      }
      if (plan.depthwise) break;
    }
  }
};

void correlate_all(const Kernels& k, Plan& plan, WeightStrides strides, const float* src, const float* w,
                   const float* bias, float* dst) {
  if (plan.images == 0) return;
  const Packed packed = plan.depthwise ? pack_depthwise(plan, w) : pack(k, plan, strides, w);
  const Cut c = cut(k, plan);
  const Work work{k, plan, packed, src, bias, dst};
  parallel_for(0, plan.images * c.stripes * c.parts, c.grain, [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) {
      const int64_t part = i % c.parts, stripe = i / c.parts % c.stripes, image = i / c.parts / c.stripes;
      const int64_t q0 = stripe * c.stripe_rows;
      work.stripe(image, q0, q0 + c.stripe_rows, part, c.parts);
    }
  });
}

bool is_pointwise(const ConvShape& s) {
  const ConvGeometry& g = s.geometry;
  return s.kh == 1 && s.kw == 1 && g.pad == Padding{} && g.groups == 1;
}

/// A 1x1 convolution does not care where rows end: narrow maps are regrouped into rows that fill a tile.
ConvShape widened(ConvShape s) {
  const bool flat = is_pointwise(s) && s.geometry.stride_h == 1 && s.geometry.stride_w == 1;
  const int64_t pixels = s.n * s.h * s.w;
  for (const int64_t width : {7, 6, 5, 4})
    if (flat && s.w < 4 && pixels > 0 && pixels % width == 0) {
      s.n = 1, s.h = s.oh = pixels / width, s.w = s.ow = width;
      break;
    }
  return s;
}

}  // namespace

std::string_view choose_conv(const ConvShape& shape, ConvPass pass) {
  if (pass != ConvPass::forward && winograd_pays(shape, pass)) return "winograd";
  const Plan plan(shape, pass);
  if (plan.depthwise) return "depthwise";
  if (is_pointwise(shape)) return "pointwise";
  return plan.padded ? "direct padded" : "direct";
}

void conv_forward(const Kernels& k, const ConvShape& shape, const float* x, const float* w, const float* bias,
                  float* y) {
  profile::Span span(profile::Stage::forward, "conv2d");
  if (span) span.note(work_of(k, shape, ConvPass::forward));
  Plan plan(widened(shape), ConvPass::forward);
  const int64_t taps = shape.kh * shape.kw, in = shape.group_in();
  correlate_all(k, plan, {taps, in * taps, shape.group_out() * in * taps}, x, w, bias, y);
}

void conv_forward_fast(const Kernels& k, const ConvShape& shape, ImageRange images, const float* x, const float* w,
                       float* y) {
  ConvShape part = shape;
  part.n = images.count;
  x += images.first * shape.h * shape.w * shape.c;
  y += images.first * shape.oh * shape.ow * shape.o;
  if (!winograd_pays(shape, ConvPass::forward)) return conv_forward(k, part, x, w, nullptr, y);
  profile::Span span(profile::Stage::forward, "conv2d");
  if (span) {
    profile::Work work = work_of(k, part, ConvPass::forward);
    work.kernel = concat_text(conv_f32::name_of(k), " winograd");
    span.note(std::move(work));
  }
  winograd_forward(k, part, x, w, y);
}

void conv_backward_data(const Kernels& k, const ConvShape& shape, const float* dy, const float* w, float* dx) {
  profile::Span span(profile::Stage::backward_data, "conv2d");
  if (span) span.note(work_of(k, shape, ConvPass::data));
  if (winograd_pays(shape, ConvPass::data)) return winograd_backward_data(k, shape, dy, w, dx);
  Plan plan(widened(shape), ConvPass::data);
  const int64_t taps = shape.kh * shape.kw, in = shape.group_in();
  correlate_all(k, plan, {in * taps, taps, shape.group_out() * in * taps}, dy, w, nullptr, dx);
}

}  // namespace nibble::conv_f32
