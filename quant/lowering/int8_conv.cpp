#include "quant/lowering/int8_conv.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ops/banded_max_pool.h"
#include "layers/packed.h"

namespace nibble {

namespace {

template <class T>
std::vector<T> list_of(const Tensor& tensor) {
  if (!tensor.defined()) return {};
  const auto values = tensor.data<T>();
  return {values.begin(), values.end()};
}

void check_finite(const char* what, const Tensor& tensor) {
  if (!tensor.defined()) return;
  for (const float v : tensor.data<float>())
    NIBBLE_CHECK(std::abs(v) <= std::numeric_limits<float>::max(), what, " must be finite, holds ", v);
}

}  // namespace

void Int8ConvLayer::Options::fields(Fields& f) {
  GemmWindow::fields(f, 1 << 28);
  f("bits", bits, "width of the packed weight codes", {1, 8});
  f("halves", halves, "weight zeros count half steps");
  f("zero_per_channel", zero_per_channel, "every output channel has its own weight zero");
  f("sum_term", sum_term, "the weight grid has an offset that is no multiple of half its step");
  f.choice("engine", engine, {"int8", "float"}, "integer kernels, or the same bits out of f32 arithmetic");
  f.choice("epilogue", epilogue, {"fixed", "float"},
           "fixed-point multipliers as in gemmlowp, or one single-precision multiplication and half to even");
  f("real", real, "the output is reals (f32), not codes");
  reals.fields(f);
  f("in_zero", in_zero, "the input's code of 0", {0, 255});
  coding.fields(f);
  f("lo", lo, "smallest code of the output", {0, 255});
  f("hi", hi, "largest code of the output", {0, 255});
}

Int8ConvLayer::Int8ConvLayer(const Options& options) : options_(options) {
  const Options& o = options;
  check_uniform("int8_conv", o.coding);
  o.check("int8_conv");
  o.reals.check("int8_conv", o.real, o.linear);
  NIBBLE_CHECK(o.coding.unit == 1 && o.lo <= o.hi && o.hi <= o.coding.highest(),
               "int8_conv: expected lo <= hi <= ", o.coding.highest(), " and unit 1, got lo ", o.lo, ", hi ", o.hi,
               ", unit ", o.coding.unit);
  NIBBLE_CHECK(!o.sum_term || !fixed_codes(), "int8_conv: fixed-point codes have no sum term");
  const int64_t weights = o.weight_shape().numel();
  state_.weight = new_buffer({packed_bytes(weights, o.bits)}, DType::u8, "int8_conv");
  state_.weight_zero = new_buffer({o.zero_per_channel ? o.out : 1}, DType::i32, "int8_conv");
  if (fixed_codes()) {
    for (Tensor* t : {&state_.bias, &state_.multiplier, &state_.shift})
      *t = new_buffer({o.out}, DType::i32, "int8_conv");
  } else {
    for (Tensor* t : {&state_.scale, &state_.offset}) *t = new_buffer({o.out}, DType::f32, "int8_conv");
    if (o.sum_term) state_.sum_scale = new_buffer({o.out}, DType::f32, "int8_conv");
  }
}

void Int8ConvLayer::visit(StateVisitor& visitor) {
  visitor.buffer("weight", state_.weight);
  visitor.buffer("weight_zero", state_.weight_zero);
  const auto visit_if = [&](const char* name, Tensor& tensor) {
    if (tensor.defined()) visitor.buffer(name, tensor);
  };
  visit_if("bias", state_.bias);
  visit_if("multiplier", state_.multiplier);
  visit_if("shift", state_.shift);
  visit_if("scale", state_.scale);
  visit_if("offset", state_.offset);
  visit_if("sum_scale", state_.sum_scale);
}

void Int8ConvLayer::after_load() {
  const std::lock_guard lock(mutex_);
  plans_.clear();
  for (const auto& [what, tensor] :
       {std::pair{"scale", state_.scale}, std::pair{"offset", state_.offset}, std::pair{"sum_scale", state_.sum_scale}})
    check_finite(what, tensor);
  const Padding pad = options_.padding();
  // For the other engine, too, the plan is what refuses numbers out of their range.
  const auto plan = std::make_shared<const int8::Int8Conv>(spec(pad));
  if (options_.engine == "float")
    float_ = std::make_shared<const FloatConv>(spec(pad));
  else
    plans_[{pad.top, pad.bottom, pad.left, pad.right}] = plan;
}

std::optional<Coding> Int8ConvLayer::coding(std::span<const std::optional<Coding>> inputs) const {
  const Coding& in = gemm_coding(*this, inputs, options_.reals.adds);
  check_uniform("int8_conv", in);
  NIBBLE_CHECK(in.zero == options_.in_zero, "int8_conv: expected the input's code of 0 to be ", options_.in_zero,
               ", is ", in.zero);
  if (options_.real) return std::nullopt;
  return options_.coding;
}

double Int8ConvLayer::slack() const {
  double most = 0;
  if (fixed_codes()) {
    for (size_t c = 0; c < state_.bias.data<int32_t>().size(); ++c) {
      const int shift = state_.shift.data<int32_t>()[c];
      const double bias = 0.5 * std::ldexp(state_.multiplier.data<int32_t>()[c], shift - 31);
      most = std::max(most, bias + (shift < 0 ? std::ldexp(0.5, shift) : 0));
    }
  }
  return most + LoweredLayer::slack();
}

int8::Int8ConvSpec Int8ConvLayer::spec(const Padding& pad) const {
  const Options& o = options_;
  int8::Int8ConvSpec spec;
  spec.in_channels = o.in;
  spec.out_channels = o.out;
  spec.kh = o.kernel.h;
  spec.kw = o.kernel.w;
  spec.geometry = o.geometry(pad);
  spec.weights.resize(static_cast<size_t>(o.weight_shape().numel()));
  unpack_codes(state_.weight, o.bits, spec.weights);
  spec.w_zero = list_of<int32_t>(state_.weight_zero);
  spec.w_unit = o.halves ? 2 : 1;
  spec.x_zero = o.in_zero;
  spec.bias = list_of<int32_t>(state_.bias);
  int8::Epilogue& e = spec.epilogue;
  e.rule = fixed_codes() ? int8::Epilogue::Rule::fixed : int8::Epilogue::Rule::real;
  e.output = o.real ? int8::Epilogue::Output::reals : int8::Epilogue::Output::codes;
  e.multiplier = list_of<int32_t>(state_.multiplier);
  e.shift = list_of<int32_t>(state_.shift);
  e.scale = list_of<float>(state_.scale);
  e.offset = list_of<float>(state_.offset);
  e.x_sum_scale = list_of<float>(state_.sum_scale);
  e.zero = o.coding.zero;
  e.lo = o.lo;
  e.hi = o.hi;
  e.least = o.reals.lower();
  e.most = o.reals.upper();
  return spec;
}

std::shared_ptr<const int8::Int8Conv> Int8ConvLayer::plan_for(const Padding& pad) {
  const std::lock_guard lock(mutex_);
  const std::array key{pad.top, pad.bottom, pad.left, pad.right};
  const auto found = plans_.find(key);
  if (found != plans_.end()) return found->second;
  const auto plan = std::make_shared<const int8::Int8Conv>(plans_.empty() ? int8::Int8Conv(spec(pad))
                                                                          : plans_.begin()->second->with_padding(pad));
  return plans_.emplace(key, plan).first->second;
}

Tensor Int8ConvLayer::compute(Inputs in) {
  const Options& o = options_;
  check_gemm_inputs(*this, in, o.reals.adds);
  const Tensor& x = in[0];
  // A layer without a window takes rows, too: a batch norm behind a linear layer.
  const bool rows = o.linear || (x.rank() == 2 && o.pixelwise());
  NIBBLE_CHECK(x.rank() == (rows ? 2 : 4) && x.dim(-1) == o.in, "int8_conv: expected an input ",
               rows ? "(N, " : "(N, H, W, ", o.in, "), got ", x.shape());
  const int64_t n = x.dim(0), h = rows ? 1 : x.dim(1), w = rows ? 1 : x.dim(2);
  const Padding pad = o.padding(h, w);
  if (o.reals.pools && float_ == nullptr && o.overlaps(pad)) return compute_bands(x, o.output(n, h, w, pad), pad);
  const Tensor y = new_output(*this, o.output(n, h, w, pad), o.real ? DType::f32 : DType::u8);
  const Tensor term = o.reals.adds ? in[1] : Tensor();
  if (o.reals.adds) check_term(*this, term, rows ? Shape{n, o.out} : y.shape());
  if (float_ != nullptr) {
    float_->run(x.view({n, h, w, o.in}), pad, y);
    if (o.real) o.reals.finish(y, term);
  } else {
    run_plan(*plan_for(pad), x.view({n, h, w, o.in}), y, o.reals.adds ? term.data<float>().data() : nullptr);
  }
  return rows ? y.view({n, o.out}) : o.reals.pooled(y);
}

Tensor Int8ConvLayer::compute_bands(const Tensor& x, const Shape& whole, const Padding& pad) {
  const Options& o = options_;
  check_output(*this, whole);
  const BandedMaxPool pool(whole, o.reals.window.on(whole));
  const Tensor y = new_output(*this, pool.output_shape(), DType::f32);
  const int64_t h = x.dim(1), w = x.dim(2), row = w * o.in;
  pool.run(
      [&](int64_t image, int64_t first, int64_t count, float* to) {
        const GemmWindow::Rows read = o.rows_read(first, count, h, pad);
        const auto plan = plan_for(read.pad);
        const Tensor scratch = Tensor::empty({plan->scratch_bytes(read.count, w, 1) * threads()}, DType::u8);
        plan->run(x.data<uint8_t>().data() + (image * h + read.first) * row, 1, read.count, w, to,
                  {scratch.raw(), scratch.bytes()});
      },
      y);
  return y;
}

std::string Int8ConvLayer::signature() const {
  const Options& o = options_;
  return concat_text(o.engine == "float" ? "float" : describe(), ", ", o.text(), o.real ? ", reals" : "",
                     o.reals.adds ? " and a term" : "", o.reals.pools ? ", pooled" : "");
}

int64_t Int8ConvLayer::plan_bytes() const {
  const std::lock_guard lock(mutex_);
  return plans_.empty() ? 0 : plans_.begin()->second->packed_bytes();
}

std::string Int8ConvLayer::describe() const {
  const std::lock_guard lock(mutex_);
  if (!plans_.empty()) return plans_.begin()->second->describe();
  const Padding pad = options_.padding();
  return int8::Int8Conv(spec(pad)).describe();
}

NIBBLE_REGISTER_LAYER(Int8ConvLayer, "int8_conv", "Lowered: a convolution or linear layer and what follows it.");

}  // namespace nibble
