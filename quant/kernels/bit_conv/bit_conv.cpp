#include "quant/kernels/bit_conv/bit_conv.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/kernels/bit_conv/frame.h"
#include "quant/kernels/bit_conv/plan.h"

namespace nibble::bits {
namespace {

using detail::BitConvPlan;
using detail::Frame;
using detail::Panel;

// Columns of a matrix product that is run as an image.
constexpr int64_t kProductCols = 64;

/// Some output rows of some images, which one copy of the input serves.
struct Block {
  int64_t image = 0, images = 1, row = 0, rows = 0;
};

/// Where outputs go, and what is added to them.
struct Target {
  uint8_t* y;
  const float* add;  ///< null: nothing
};

/// The work of one part on one block.
class Worker {
 public:
  Worker(const Frame& frame, const uint8_t* x, const Target& to, std::byte* scratch)
      : f_(frame), p_(*frame.plan), x_(x), to_(to) {
    seg_ = reinterpret_cast<int64_t*>(scratch);
    f_.fill_segments({seg_, static_cast<size_t>(p_.segs)});
    copy_ = reinterpret_cast<uint8_t*>(scratch) + f_.copy_at;
    pixel_sums_ = reinterpret_cast<int32_t*>(scratch + f_.pixel_sums_at);
    sums_ = reinterpret_cast<int32_t*>(scratch + f_.sums_at);
    classes_ = reinterpret_cast<int32_t*>(scratch + f_.classes_at);
  }

  /// Panels [first, last) of all groups.
  void run(const Block& b, int64_t first, int64_t last) {
    if (p_.borders()) f_.fill_classes(b.row, b.rows, classes_);
    for (int64_t i = first; i < last;) {
      const int64_t group = i / p_.panels_per_group, end = std::min(last, (group + 1) * p_.panels_per_group);
      for (int64_t image = 0; image < b.images; ++image) prepare(b, image, group);
      for (; i < end; ++i)
        for (int64_t image = 0; image < b.images; ++image) correlate(b, image, p_.panels[static_cast<size_t>(i)]);
    }
  }

 private:
  int64_t pixels(const Block& b) const { return b.rows * f_.ow; }

  void prepare(const Block& b, int64_t image, int64_t group) {
    const int64_t rows = f_.rows_read(b.rows), from = b.row * p_.geometry.stride_h - p_.geometry.pad.top;
    const int64_t read = rows * f_.cols_read;
    f_.copy_rows({x_ + (b.image + image) * f_.h * f_.w * p_.in, group, from, rows},
                 copy_ + image * f_.copy_bytes(b.rows), f_.plane_bytes(b.rows), p_.sums ? pixel_sums_ : nullptr, read);
    if (!p_.sums) return;
    if (!p_.learned) weigh(read);
    for (int64_t j = 0; j < p_.sum_planes(); ++j)
      f_.sum_windows(pixel_sums_ + j * read, b.rows, pixel_sums_ + p_.planes * read,
                     sums_ + (image * p_.sum_planes() + j) * pixels(b));
  }

  /// The sums of all planes times their factors, into the first.
  void weigh(int64_t read) const {
    for (int64_t i = 0; i < read; ++i) pixel_sums_[i] *= p_.sum_factor[0];
    for (int64_t j = 1; j < p_.planes; ++j)
      for (int64_t i = 0; i < read; ++i)
        pixel_sums_[i] += p_.sum_factor[static_cast<size_t>(j)] * pixel_sums_[j * read + i];
  }

  void correlate(const Block& b, int64_t image, const Panel& panel) const {
    const ConvGeometry& g = p_.geometry;
    const int64_t first = ((b.image + image) * f_.oh + b.row) * f_.ow * p_.out + panel.channel;
    const Correlate k{.x = copy_ + image * f_.copy_bytes(b.rows),
                      .x_plane = f_.plane_bytes(b.rows),
                      .x_row = f_.row_bytes * g.stride_h,
                      .x_col = p_.pixel_bytes * g.stride_w,
                      .seg = seg_,
                      .segs = p_.segs,
                      .steps = p_.steps,
                      .w = p_.weight_bytes() + panel.weights,
                      .w_bits = p_.w_planes,
                      .a_bits = p_.path == Path::tables ? p_.a_bits : p_.planes,
                      .factor = p_.factor.data(),
                      .sums = p_.sums ? sums_ + image * p_.sum_planes() * pixels(b) : nullptr,
                      .sum_plane = pixels(b),
                      .at = classes_,
                      .y = to_.y + first * p_.output_bytes,
                      .add = to_.add ? to_.add + first : nullptr,
                      .y_row = f_.ow * p_.out,
                      .y_col = p_.out,
                      .rows = b.rows,
                      .cols = f_.ow,
                      .n = panel.n,
                      .outcome = p_.outcome_of(panel)};
    const Kernels& kernels = *p_.kernels;
    const auto kernel = p_.path == Path::tables  ? kernels.tables
                        : p_.path == Path::bytes ? kernels.bytes
                                                 : kernels.planes;
    kernel(k);
  }

  const Frame& f_;
  const BitConvPlan& p_;
  const uint8_t* x_;
  Target to_;
  int64_t* seg_;
  uint8_t* copy_;
  int32_t *pixel_sums_, *sums_, *classes_;
};

/// Share `part` of `parts` of n things.
struct Share {
  int64_t begin, end;
};
Share share(int64_t n, int part, int parts) { return {n * part / parts, n * (part + 1) / parts}; }

/// Rows [begin, end) of all images, panels [first, last).
void run_rows(const Frame& f, const uint8_t* x, const Target& to, Share rows, Share panels, std::byte* scratch) {
  Worker worker(f, x, to, scratch);
  for (int64_t t = rows.begin; t < rows.end;) {
    Block b{.image = t / f.oh, .images = 1, .row = t % f.oh, .rows = 0};
    if (b.row == 0 && rows.end - t >= f.oh && f.block_rows == f.oh) {
      b.images = std::min(f.block_images, (rows.end - t) / f.oh);
      b.rows = f.oh;
    } else {
      b.rows = std::min({f.block_rows, f.oh - b.row, rows.end - t});
    }
    worker.run(b, panels.begin, panels.end);
    t += b.images * b.rows;
  }
}

void run_frame(const Frame& f, const uint8_t* x, int64_t batch, const Target& to, int part, int parts,
               std::byte* scratch) {
  const auto panels = static_cast<int64_t>(f.plan->panels.size());
  const int64_t rows = batch * f.oh;
  // Few rows: sharing them would leave threads idle, and each would read all weights.
  if (rows < 8 * parts && panels >= parts) return run_rows(f, x, to, {0, rows}, share(panels, part, parts), scratch);
  run_rows(f, x, to, share(rows, part, parts), {0, panels}, scratch);
}

/// A matrix product as an image of some columns; the pixels that are left are a row of their own.
void run_pointwise(const BitConvPlan& plan, const uint8_t* x, int64_t pixels, const Target& to, int part, int parts,
                   std::byte* scratch) {
  const int64_t cols = std::min(kProductCols, pixels), rows = pixels / cols, rest = pixels - rows * cols;
  run_frame(Frame(plan, rows, cols, 1), x, 1, to, part, parts, scratch);
  const int64_t done = rows * cols;
  if (rest > 0 && part == parts - 1)
    run_frame(Frame(plan, 1, rest, 1), x + done * plan.in, 1,
              {to.y + done * plan.out * plan.output_bytes, to.add ? to.add + done * plan.out : nullptr}, 0, 1, scratch);
}

}  // namespace

BitConv::BitConv(const BitConvSpec& spec, std::string_view isa, Path path)
    : plan_(std::make_shared<BitConvPlan>(spec, isa, path)) {}

BitConv::Extent BitConv::output(int64_t h, int64_t w) const {
  const ConvGeometry& g = plan_->geometry;
  return {conv_extent(h, plan_->kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h),
          conv_extent(w, plan_->kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w)};
}

int64_t BitConv::in_channels() const { return plan_->in; }
int64_t BitConv::out_channels() const { return plan_->out; }
int64_t BitConv::output_bytes() const { return plan_->output_bytes; }

int64_t BitConv::packed_bytes() const {
  return static_cast<int64_t>(plan_->weights.size() * sizeof(detail::Line) +
                              (plan_->ints.size() + plan_->floats.size()) * 4);
}

std::string BitConv::describe() const {
  return std::string(detail::path_name(plan_->path)) + " " + std::to_string(plan_->w_bits) + "x" +
         std::to_string(plan_->a_bits) + ", " + plan_->variant;
}

int64_t BitConv::scratch_bytes(int64_t h, int64_t w, int64_t batch) const {
  // Frames of a product grow with their number of rows to the size of a block.
  if (plan_->pointwise) return Frame(*plan_, 1 << 20, kProductCols, 1).scratch_bytes;
  return Frame(*plan_, h, w, batch).scratch_bytes;
}

void BitConv::run_part(const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, int part, int parts,
                       std::byte* scratch, const float* add) const {
  NIBBLE_CHECK(batch >= 0 && h >= 1 && w >= 1 && part >= 0 && part < parts, "bit convolution: batch ", batch,
               ", image ", h, "x", w, ", part ", part, " of ", parts);
  NIBBLE_CHECK(!add || plan_->output == Epilogue::Output::reals, "bit convolution: only to reals something is added");
  if (batch == 0) return;
  const Target to{static_cast<uint8_t*>(y), add};
  if (plan_->pointwise) return run_pointwise(*plan_, x, batch * h * w, to, part, parts, scratch);
  run_frame(Frame(*plan_, h, w, batch), x, batch, to, part, parts, scratch);
}

void BitConv::run(const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, std::span<std::byte> scratch,
                  const float* add) const {
  const int64_t each = scratch_bytes(h, w, batch), room = static_cast<int64_t>(scratch.size()) / each;
  NIBBLE_CHECK(room >= 1, "bit convolution: scratch of ", scratch.size(), " bytes, expected at least ", each);
  NIBBLE_CHECK(reinterpret_cast<uintptr_t>(scratch.data()) % 8 == 0, "bit convolution: scratch is not aligned to 8");
  if (batch == 0) return;
  const Extent out = output(h, w);
  const double products = static_cast<double>(batch * out.h * out.w) * static_cast<double>(out_channels()) * plan_->kh *
                          plan_->kw * static_cast<double>(plan_->group_in) * plan_->w_planes * plan_->planes;
  const double most = std::clamp(products / static_cast<double>(plan_->kernels->thread_work), 1., double(threads()));
  const int parts = static_cast<int>(std::min(static_cast<double>(room), most));
  parallel_for(0, parts, 1, [&](int64_t lo, int64_t hi) {
    for (int64_t part = lo; part < hi; ++part)
      run_part(x, batch, h, w, y, static_cast<int>(part), parts, scratch.data() + part * each, add);
  });
}

}  // namespace nibble::bits
