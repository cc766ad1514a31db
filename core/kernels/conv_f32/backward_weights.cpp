#include <algorithm>
#include <utility>

#include "core/allocator.h"
#include "core/kernels/conv_f32/plan.h"
#include "core/kernels/conv_f32/winograd.h"
#include "core/parallel.h"

namespace nibble::conv_f32 {
namespace {

constexpr int64_t kMostChunks = 16;
constexpr int64_t kChunkPixels = 512;        // fewer would cost more in adding up than they gain
constexpr int64_t kPartialFloats = 1 << 20;  // all partial results together
constexpr int64_t kChainPixels = 1024;       // added in one chain, which bounds its rounding error
constexpr int64_t kBlockFloats = 96 * 1024;  // of both operands, for a chain: stays in a 1 MiB L2
constexpr int64_t kSliceChannels = 64;
constexpr int64_t kUnpackChannels = 16;
constexpr int64_t kTaskMacs = 1 << 20;

/// How the sum over pixels is cut, which depends on the shape only. The images are summed in chunks. Within one, a
/// chain of additions is made of `together` images, or of `rows` rows of one image. Large weights leave few chunks;
/// then the outer products of a chunk, one per segment and slice of the output channels, are spread over `parts`.
struct Cut {
  int64_t chunks, chunk_images, together, rows;
  int64_t slices, products, parts;
  int64_t grain;
};

Cut cut(const ConvShape& s, const Plan& plan) {
  Cut c;
  const int64_t image = s.oh * s.ow;
  const int64_t fit = kPartialFloats / s.weights(), useful = s.n * image / kChunkPixels;
  const int64_t most = std::clamp<int64_t>(std::min(fit, useful), 1, kMostChunks);
  c.chunk_images = ceil_div(s.n, most);
  c.chunks = ceil_div(s.n, c.chunk_images);
  const int64_t chain = std::clamp<int64_t>(kBlockFloats / (plan.src_g + s.o), 64, kChainPixels);
  c.together = std::clamp<int64_t>(chain / image, 1, c.chunk_images);
  c.rows = std::clamp<int64_t>(chain / s.ow, 1, s.oh);
  c.slices = ceil_div(plan.dst_g, kSliceChannels);
  c.products = plan.depthwise ? 1 : c.slices * static_cast<int64_t>(plan.sets.front().seg.size());
  c.parts = std::min(c.products, kMostChunks / c.chunks);
  c.grain = 1 + kTaskMacs / std::max<int64_t>(1, s.n * image * s.weights() / (c.chunks * c.parts));
  return c;
}

/// The outer products have the inputs as rows and the outputs as columns, or the other way round, whichever wastes
/// fewer lanes; a single vector of columns is bound by loads.
bool outputs_are_rows(const Kernels& k, int64_t run, int64_t out) {
  const auto cost = [&](int64_t m, int64_t n) {
    const int64_t vectors = ceil_div(n, k.lanes);
    return m * vectors * (vectors == 1 ? 17 : 16);
  };
  return cost(out, run) < cost(run, out);
}

/// Pixels that are added in one chain: `images` images from x (readable through `origin`) and dy.
struct Chain {
  const float* origin;
  int64_t x_image;
  const float* dy;
  int64_t dy_image, dy_pitch;
  int64_t images, rows;
  bool add;  ///< to what earlier chains of the chunk have left
};

struct Work {
  const Kernels& k;
  const ConvShape& s;
  const Plan& plan;
  const Cut& c;
  const float* x;
  const float* dy;
  bool swap;  ///< outputs are rows

  void product(const Chain& chain, int64_t group, int64_t seg, int64_t first, int64_t out, float* partial) const {
    const TapSet& set = plan.sets.front();
    partial += (group * static_cast<int64_t>(set.seg.size()) + seg) * set.run * plan.dst_g;
    Outer job{.a = chain.origin + set.seg[static_cast<size_t>(seg)],
              .a_image = chain.x_image,
              .a_row = plan.rows.src_step * plan.row_pitch,
              .a_col = plan.cols.src_step * plan.col_pitch,
              .m = set.run,
              .b = chain.dy + group * plan.dst_g + first,
              .b_image = chain.dy_image,
              .b_row = s.ow * chain.dy_pitch,
              .b_col = chain.dy_pitch,
              .n = out,
              .images = chain.images,
              .rows = chain.rows,
              .cols = s.ow,
              .c = partial + (swap ? first * set.run : first),
              .ldc = swap ? set.run : plan.dst_g,
              .add = chain.add};
    if (swap) {
      std::swap(job.a, job.b);
      std::swap(job.a_image, job.b_image);
      std::swap(job.a_row, job.b_row);
      std::swap(job.a_col, job.b_col);
      std::swap(job.m, job.n);
    }
    k.outer(job);
  }

  void channels(const Chain& chain, float* partial) const {
    const TapSet& set = plan.sets.front();
    k.depthwise_outer({.x = chain.origin,
                       .x_image = chain.x_image,
                       .x_row = plan.rows.src_step * plan.row_pitch,
                       .x_col = plan.cols.src_step * plan.col_pitch,
                       .seg = set.seg.data(),
                       .taps = static_cast<int64_t>(set.seg.size()),
                       .dy = chain.dy,
                       .dy_image = chain.dy_image,
                       .dy_row = s.ow * chain.dy_pitch,
                       .dy_col = chain.dy_pitch,
                       .images = chain.images,
                       .rows = chain.rows,
                       .cols = s.ow,
                       .n = s.c,
                       .dw = partial,
                       .add = chain.add});
  }

  void chain(int64_t image, int64_t images, int64_t row, int64_t rows, int64_t part, bool add, float* partial) const {
    const TapSet& set = plan.sets.front();
    const Interval read = reads(plan.rows, row, row + rows);
    const int64_t copy = scratch_floats(plan, read), x_image = s.h * s.w * s.c;
    const int64_t pitch = spread_pitch(s.o), g_copy = pitch == s.o ? 0 : rows * s.ow * pitch;
    float* scratch = thread_scratch((copy + g_copy) * images);
    const float* g = dy + (image * s.oh + row) * s.ow * s.o;
    if (g_copy) {
      float* to = scratch + copy * images;
      for (int64_t i = 0; i < images; ++i)
        copy_pixels(rows * s.ow, s.o, g + i * s.oh * s.ow * s.o, s.o, to + i * g_copy, pitch);
      g = to;
    }
    for (int64_t group = 0; group < plan.groups; ++group) {
      const Source source = open_source(plan, x + image * x_image, group, read, scratch);
      for (int64_t i = 1; plan.copied && i < images; ++i)
        open_source(plan, x + (image + i) * x_image, group, read, scratch + i * copy);
      const Chain all{source.origin + (set.rows->base + row * plan.rows.src_step) * plan.row_pitch +
                          set.cols->base * plan.col_pitch,
                      plan.copied ? copy : x_image,
                      g,
                      g_copy ? g_copy : s.oh * s.ow * s.o,
                      pitch,
                      images,
                      rows,
                      add};
      if (plan.depthwise) {
        channels(all, partial);
      } else {
        for (int64_t i = c.products * part / c.parts; i < c.products * (part + 1) / c.parts; ++i) {
          const int64_t first = i % c.slices * kSliceChannels;
          product(all, group, i / c.slices, first, std::min(kSliceChannels, plan.dst_g - first), partial);
        }
      }
    }
  }

  void chunk(int64_t index, int64_t part, float* partial) const {
    const int64_t end = std::min(s.n, (index + 1) * c.chunk_images);
    bool add = false;
    for (int64_t image = index * c.chunk_images; image < end; image += c.together)
      for (int64_t row = 0; row < s.oh; row += c.rows) {
        chain(image, std::min(c.together, end - image), row, std::min(c.rows, s.oh - row), part, add, partial);
        add = true;
      }
  }
};

/// Puts the packed sum into O,I/groups,KH,KW for `count` output channels of a group, from `first` on.
void unpack(const Plan& plan, bool swap, const float* sum, int64_t group, int64_t first, int64_t count, float* dw) {
  const TapSet& set = plan.sets.front();
  const auto taps = static_cast<int64_t>(set.tap.size());
  const int64_t in = plan.src_g, out = plan.dst_g, per = set.run / in;
  sum += group * taps * in * out + first * (swap ? set.run : 1);
  dw += (group * out + first) * in * taps;
  // Element (i, j) of a tap; the transposition reads or writes pieces of a line, which stay in L1 for few outputs.
  const int64_t step_i = swap ? 1 : out, step_j = swap ? set.run : 1;
  for (int64_t i = 0; i < in; ++i)
    for (int64_t t = 0; t < taps; ++t) {
      const float* from = sum + t / per * set.run * out + t % per * in * step_i + i * step_i;
      float* to = dw + i * taps + set.tap[static_cast<size_t>(t)];
      for (int64_t j = 0; j < count; ++j) to[j * in * taps] = from[j * step_j];
    }
}

void unpack_depthwise(const Plan& plan, const float* sum, float* dw) {
  const TapSet& set = plan.sets.front();
  const auto taps = static_cast<int64_t>(set.tap.size());
  for (int64_t t = 0; t < taps; ++t)
    for (int64_t c = 0; c < plan.src_c; ++c) dw[c * taps + set.tap[static_cast<size_t>(t)]] = sum[t * plan.src_c + c];
}

}  // namespace

void conv_backward_weights(const Kernels& k, const ConvShape& shape, const float* x, const float* dy, float* dw) {
  profile::Span span(profile::Stage::backward_weights, "conv2d");
  if (span) span.note(work_of(k, shape, ConvPass::weights));
  const int64_t floats = shape.weights();
  if (shape.n == 0) return std::fill(dw, dw + floats, 0.f);
  if (winograd_pays(shape, ConvPass::weights)) return winograd_backward_weights(k, shape, x, dy, dw);
  const Plan plan(shape, ConvPass::weights);
  const Cut c = cut(shape, plan);
  const auto storage = allocate(static_cast<size_t>(c.chunks * floats) * sizeof(float));
  auto* partial = reinterpret_cast<float*>(storage.get());
  const bool swap = !plan.depthwise && outputs_are_rows(k, plan.sets.front().run, plan.dst_g);
  const Work work{k, shape, plan, c, x, dy, swap};
  parallel_for(0, c.chunks * c.parts, c.grain, [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) work.chunk(i / c.parts, i % c.parts, partial + i / c.parts * floats);
  });
  sum_chunks(partial, c.chunks, floats);
  if (plan.depthwise) return unpack_depthwise(plan, partial, dw);
  const int64_t blocks = ceil_div(plan.dst_g, kUnpackChannels);
  parallel_for(0, plan.groups * blocks, 1 + 1024 * shape.o / floats, [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) {
      const int64_t first = i % blocks * kUnpackChannels;
      unpack(plan, swap, partial, i / blocks, first, std::min(kUnpackChannels, plan.dst_g - first), dw);
    }
  });
}

}  // namespace nibble::conv_f32
