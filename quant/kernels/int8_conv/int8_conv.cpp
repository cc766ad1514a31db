#include "quant/kernels/int8_conv/int8_conv.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/kernels/int8_conv/frame.h"
#include "quant/kernels/int8_conv/plan.h"

namespace nibble::int8 {
namespace {

using detail::Frame;
using detail::Int8ConvPlan;
using detail::Panel;

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
    const std::span<int64_t> seg(seg_, static_cast<size_t>(f_.segs));
    f_.fill_segments(seg);
    copy_ = reinterpret_cast<uint8_t*>(scratch) + f_.copy_at;
    sums_ = reinterpret_cast<int32_t*>(scratch + f_.sums_at);
    window_sums_ = reinterpret_cast<int32_t*>(scratch + f_.window_sums_at);
    inputs_ = reinterpret_cast<int16_t*>(scratch + f_.inputs_at);
    weights_ = reinterpret_cast<int16_t*>(scratch + f_.weights_at);
    products_ = reinterpret_cast<int32_t*>(scratch + f_.products_at);
  }

  /// Panels [first, last) of all groups.
  void run(const Block& b, int64_t first, int64_t last) {
    for (int64_t i = first; i < last;) {
      const int64_t group = i / p_.panels_per_group, end = std::min(last, (group + 1) * p_.panels_per_group);
      for (int64_t image = 0; image < b.images; ++image) prepare(b, image, group);
      for (; i < end; ++i) {
        const Panel& panel = p_.panels[static_cast<size_t>(i)];
        if (p_.in_winograd)
          p_.kernels->winograd_weights(reinterpret_cast<const int8_t*>(p_.weight_bytes() + panel.weights), p_.in,
                                       weights_);
        for (int64_t image = 0; image < b.images; ++image) correlate(b, image, panel);
      }
    }
  }

 private:
  const uint8_t* input(const Block& b, int64_t image) const { return x_ + (b.image + image) * f_.h * f_.w * p_.in; }

  void prepare(const Block& b, int64_t image, int64_t group) {
    const int64_t rows = f_.rows_read(b.rows), from = b.row * p_.geometry.stride_h - p_.geometry.pad.top;
    uint8_t* const copy = copy_ + image * f_.copy_bytes(b.rows);
    if (p_.copied) f_.copy_rows(input(b, image), group, from, rows, copy);
    if (p_.in_winograd)
      p_.kernels->winograd_input({.x = copy,
                                  .x_row = f_.row_bytes,
                                  .x_col = f_.col_bytes,
                                  .tile_rows = (b.rows + 1) / 2,
                                  .tile_cols = f_.tile_cols(),
                                  .channels = p_.in,
                                  .v = transformed(image),
                                  .v_position = f_.input_position(f_.block_rows)});
    if (!p_.sums) return;
    f_.sum_pixels(input(b, image), group, from, rows, sums_);
    f_.sum_windows(sums_, b.rows, sums_ + rows * f_.cols_read, window_sums_ + image * b.rows * f_.ow);
  }

  int16_t* transformed(int64_t image) const { return inputs_ + image * f_.input_bytes(f_.block_rows) / 2; }

  void correlate(const Block& b, int64_t image, const Panel& panel) const {
    const int64_t group = panel.channel / (p_.out / p_.groups);
    const ConvGeometry& g = p_.geometry;
    const uint8_t* x = p_.copied ? copy_ + image * f_.copy_bytes(b.rows)
                                 : input(b, image) + b.row * g.stride_h * f_.w * p_.in + group * p_.group_in;
    const int64_t first = ((b.image + image) * f_.oh + b.row) * f_.ow * p_.out + panel.channel;
    uint8_t* y = to_.y + first * f_.output_bytes;
    Outcome outcome = p_.outcome_of(panel);
    outcome.add = to_.add ? to_.add + first : nullptr;
    const int64_t x_row = f_.row_bytes * g.stride_h, x_col = f_.col_bytes * g.stride_w;
    if (p_.depthwise) {
      p_.kernels->depthwise({.x = x,
                             .x_row = x_row,
                             .x_col = x_col,
                             .seg = seg_,
                             .pairs = f_.segs / 2,
                             .w = reinterpret_cast<const int16_t*>(p_.weight_bytes()),
                             .y = y,
                             .y_row = f_.ow * p_.out,
                             .y_col = p_.out,
                             .rows = b.rows,
                             .cols = f_.ow,
                             .n = p_.out,
                             .outcome = outcome});
      return;
    }
    const int32_t* x_sum = p_.sums ? window_sums_ + image * b.rows * f_.ow : nullptr;
    if (p_.in_winograd) {
      p_.kernels->winograd({.v = transformed(image),
                            .v_position = f_.input_position(f_.block_rows),
                            .u = weights_,
                            .channels = p_.in,
                            .m = products_,
                            .m_tiles = f_.product_tiles(),
                            .x_sum = x_sum,
                            .y = y,
                            .y_row = f_.ow * p_.out,
                            .y_col = p_.out,
                            .rows = b.rows,
                            .cols = f_.ow,
                            .n = panel.n,
                            .outcome = outcome});
      return;
    }
    const auto kernel = p_.in_runs ? p_.kernels->correlate_runs : p_.kernels->correlate;
    kernel({.x = x,
            .x_row = x_row,
            .x_col = x_col,
            .seg = seg_,
            .segs = f_.segs,
            .steps = f_.steps,
            .w = p_.weight_bytes() + panel.weights,
            .step = p_.tables->run_steps.data() + panel.step,
            .run = p_.tables->runs.data() + panel.run,
            .runs = panel.runs,
            .x_sum = x_sum,
            .y = y,
            .y_row = f_.ow * p_.out,
            .y_col = p_.out,
            .rows = b.rows,
            .cols = f_.ow,
            .n = panel.n,
            .outcome = outcome});
  }

  const Frame& f_;
  const Int8ConvPlan& p_;
  const uint8_t* x_;
  Target to_;
  int64_t* seg_;
  uint8_t* copy_;
  int32_t *sums_, *window_sums_;
  int16_t *inputs_, *weights_;
  int32_t* products_;
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
  // Kernels work on pairs of rows.
  const Share pairs = share((rows + 1) / 2, part, parts);
  run_rows(f, x, to, {pairs.begin * 2, std::min(rows, pairs.end * 2)}, {0, panels}, scratch);
}

/// A matrix product as an image of kernels->pixels columns; the pixels that are left are a row of their own.
void run_pointwise(const Int8ConvPlan& plan, const uint8_t* x, int64_t pixels, const Target& to, int part, int parts,
                   std::byte* scratch) {
  const int64_t cols = std::min(plan.kernels->pixels, pixels), rows = pixels / cols, rest = pixels - rows * cols;
  run_frame(Frame(plan, rows, cols, 1), x, 1, to, part, parts, scratch);
  const int64_t done = rows * cols;
  if (rest > 0 && part == parts - 1)
    run_frame(Frame(plan, 1, rest, 1), x + done * plan.in, 1,
              {to.y + done * plan.out * (plan.output == Epilogue::Output::codes ? 1 : 4),
               to.add ? to.add + done * plan.out : nullptr},
              0, 1, scratch);
}

void check_run(const Int8ConvPlan& plan, int64_t batch, int64_t h, int64_t w, const float* add) {
  NIBBLE_CHECK(batch >= 0 && h >= 1 && w >= 1, "int8 convolution: batch ", batch, ", image ", h, "x", w);
  NIBBLE_CHECK(!add || plan.output == Epilogue::Output::reals, "int8 convolution: only to reals something is added");
}

}  // namespace

Int8Conv::Int8Conv(const Int8ConvSpec& spec, std::string_view isa) : plan_(std::make_shared<Int8ConvPlan>(spec, isa)) {}

Int8Conv Int8Conv::with_padding(const Padding& pad) const {
  Int8Conv other(*this);
  other.plan_ = std::make_shared<Int8ConvPlan>(*plan_, pad);
  return other;
}

Int8Conv::Extent Int8Conv::output(int64_t h, int64_t w) const {
  const ConvGeometry& g = plan_->geometry;
  return {conv_extent(h, plan_->kh, g.stride_h, g.pad.top, g.pad.bottom, g.dilation_h),
          conv_extent(w, plan_->kw, g.stride_w, g.pad.left, g.pad.right, g.dilation_w)};
}

int64_t Int8Conv::in_channels() const { return plan_->in; }
int64_t Int8Conv::out_channels() const { return plan_->out; }
int64_t Int8Conv::output_bytes() const { return plan_->output == Epilogue::Output::codes ? 1 : 4; }

int64_t Int8Conv::packed_bytes() const {
  const detail::Tables& t = *plan_->tables;
  return static_cast<int64_t>(t.weights.size() * sizeof(detail::Line) + t.run_steps.size() * sizeof(Step) +
                              t.runs.size() * sizeof(Runs) + (t.ints.size() + t.floats.size()) * 4);
}

std::string Int8Conv::describe() const {
  const char* path = plan_->depthwise   ? "depthwise"
                     : plan_->pointwise ? "pointwise"
                     : plan_->copied    ? "direct padded"
                                        : "direct";
  return std::string(path) + ", " + plan_->variant + (plan_->in_runs ? " runs" : plan_->in_winograd ? " winograd" : "");
}

int64_t Int8Conv::scratch_bytes(int64_t h, int64_t w, int64_t batch) const {
  if (plan_->pointwise) return Frame::pointwise_scratch_bytes(*plan_);
  return Frame(*plan_, h, w, batch).scratch_bytes;
}

void Int8Conv::run_part(const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, int part, int parts,
                        std::byte* scratch, const float* add) const {
  NIBBLE_CHECK(part >= 0 && part < parts, "int8 convolution: part ", part, " of ", parts);
  check_run(*plan_, batch, h, w, add);
  if (batch == 0) return;
  const Target to{static_cast<uint8_t*>(y), add};
  if (plan_->pointwise) return run_pointwise(*plan_, x, batch * h * w, to, part, parts, scratch);
  run_frame(Frame(*plan_, h, w, batch), x, batch, to, part, parts, scratch);
}

void Int8Conv::run(const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y, std::span<std::byte> scratch,
                   const float* add) const {
  check_run(*plan_, batch, h, w, add);
  std::optional<Frame> frame;
  if (!plan_->pointwise) frame.emplace(*plan_, h, w, batch);
  const int64_t each = frame ? frame->scratch_bytes : Frame::pointwise_scratch_bytes(*plan_);
  const int64_t room = static_cast<int64_t>(scratch.size()) / each;
  NIBBLE_CHECK(room >= 1, "int8 convolution: scratch of ", scratch.size(), " bytes, expected at least ", each);
  NIBBLE_CHECK(reinterpret_cast<uintptr_t>(scratch.data()) % 8 == 0, "int8 convolution: scratch is not aligned to 8");
  if (batch == 0) return;
  const Target to{static_cast<uint8_t*>(y), add};
  constexpr int64_t kDepthwiseThreadWork = 1 << 17;
  const auto thread_work = static_cast<double>(plan_->depthwise ? kDepthwiseThreadWork : plan_->kernels->thread_work);
  const auto taps =
      static_cast<double>(plan_->kh) * plan_->kw * static_cast<double>(in_channels()) / plan_->geometry.groups;
  const int64_t pixels = batch * (frame ? frame->oh * frame->ow : h * w);
  const double work = static_cast<double>(pixels) * static_cast<double>(out_channels()) * taps;
  const double most = std::clamp(work / thread_work, 1., static_cast<double>(threads()));
  const int parts = static_cast<int>(std::min(static_cast<double>(room), most));
  const auto run_one = [&](int part, std::byte* mine) {
    if (frame)
      run_frame(*frame, x, batch, to, part, parts, mine);
    else
      run_pointwise(*plan_, x, pixels, to, part, parts, mine);
  };
  if (parts == 1) return run_one(0, scratch.data());
  parallel_for(0, parts, 1, [&](int64_t lo, int64_t hi) {
    for (int64_t part = lo; part < hi; ++part) run_one(static_cast<int>(part), scratch.data() + part * each);
  });
}

}  // namespace nibble::int8
