#include "quant/lowering/bit_conv.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/parallel.h"
#include "layers/packed.h"

namespace nibble {

namespace {

template <class T>
std::vector<T> list_of(const Tensor& tensor, int64_t first, int64_t count) {
  const auto values = tensor.data<float>().subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  return {values.begin(), values.end()};
}

/// Codes without their lowest bits.
Tensor shifted(const Tensor& x, int shift) {
  if (shift == 0) return x;
  Tensor y = Tensor::empty_like(x);
  const uint8_t* from = x.data<uint8_t>().data();
  uint8_t* to = y.mutable_data<uint8_t>().data();
  parallel_for(0, x.numel(), 1 << 16, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = static_cast<uint8_t>(from[i] >> shift);
  });
  return y;
}

constexpr size_t kMostThresholds = 15;

/// What the options say twice, and what the plan would not look at.
void check_levels(const BitConvLayer::Options& o) {
  BitConvLayer::Options expected = o;
  expected.take_input(o.input);
  NIBBLE_CHECK(o.a_shift == expected.a_shift && o.a_bits == expected.a_bits && o.a_offset == expected.a_offset &&
                   o.a_basis == expected.a_basis,
               "bit_conv: a_shift ", o.a_shift, ", a_bits ", o.a_bits, ", a_offset ", o.a_offset, " and a_basis (",
               o.a_basis.size(), " entries) are not those of the input's coding, which has a_shift ", expected.a_shift,
               ", a_bits ", expected.a_bits, " and a_offset ", expected.a_offset);
  NIBBLE_CHECK(!o.per_channel || o.rule == "learned",
               "bit_conv: only learned levels may differ from channel to channel");
  if (o.real || o.rounds) {
    NIBBLE_CHECK(o.thresholds.empty() && o.codes.empty(), "bit_conv: an output that ", o.real ? "is real" : "rounds",
                 " has no thresholds or codes, found ", o.thresholds.size(), " and ", o.codes.size());
    return;
  }
  NIBBLE_CHECK(o.thresholds.size() <= kMostThresholds && o.codes.size() == o.thresholds.size() + 1,
               "bit_conv: ", o.thresholds.size(), " thresholds and ", o.codes.size(), " codes, expected at most ",
               kMostThresholds, " and one more code");
  for (size_t l = 0; l < o.thresholds.size(); ++l)
    NIBBLE_CHECK(
        std::isfinite(static_cast<float>(o.thresholds[l])) && (l == 0 || o.thresholds[l - 1] <= o.thresholds[l]),
        "bit_conv: threshold ", l, ", ", o.thresholds[l], ", is not finite or out of order");
  for (const int code : o.codes) NIBBLE_CHECK(o.coding.is_level(code), "bit_conv: ", code, " is no code of the output");
}

}  // namespace

void BitConvLayer::Options::fields(Fields& f) {
  GemmWindow::fields(f, 1 << 20);
  f("w_bits", w_bits, "bits of a weight", {1, 4});
  f("a_bits", a_bits, "bits of an activation", {1, 8});
  f("a_shift", a_shift, "bits of an activation's code below those", {0, 1});
  f.choice("engine", engine, {"bits", "float"}, "bitwise kernels, or the same bits out of f32 arithmetic");
  f.choice("rule", rule, {"integer", "learned"}, "whether sums are whole numbers or of learned levels");
  f("per_channel", per_channel, "every output channel has its own levels");
  f("a_offset", a_offset, "the activation of bits 0");
  f("a_basis", a_basis, "what each bit of an activation adds");
  input.fields(f, "in_");
  f("real", real, "the output is reals (f32), not codes");
  reals.fields(f);
  f("rounds", rounds, "the output's codes come from rounding, not from thresholds");
  coding.fields(f);
  f("lo", lo, "smallest code of an output that rounds", {0, 255});
  f("hi", hi, "largest code of an output that rounds", {0, 255});
  f("thresholds", thresholds, "values above which the next code begins");
  f("codes", codes, "the codes between the thresholds", {0, 255});
}

void BitConvLayer::Options::take_input(const Coding& from) {
  input = from;
  a_shift = from.uniform() && from.unit == 2 ? 1 : 0;
  if (!from.uniform()) {
    a_bits = static_cast<int>(from.basis.size());
    a_offset = from.offset;
    a_basis = from.basis;
    return;
  }
  const double step = rule == "integer" ? 1 : static_cast<double>(from.scale);
  a_bits = std::max(1, static_cast<int>(std::bit_width(static_cast<unsigned>(from.levels - 1))));
  a_offset = -step * from.zero;
  a_basis.clear();
  for (int j = 0; j < a_bits; ++j) a_basis.push_back(step * (from.unit << j));
}

BitConvLayer::BitConvLayer(const Options& options) : options_(options) {
  const Options& o = options;
  o.coding.check();
  o.input.check();
  o.check("bit_conv");
  o.reals.check("bit_conv", o.real, o.linear);
  check_levels(o);
  if (!o.real && o.rounds)
    NIBBLE_CHECK(o.coding.uniform() && o.coding.unit == 1 && o.lo <= o.hi && o.hi <= o.coding.highest(),
                 "bit_conv: expected an equally spaced output with lo <= hi <= ", o.coding.highest(), ", got lo ", o.lo,
                 ", hi ", o.hi);
  const int64_t weights = o.weight_shape().numel(), columns = o.per_channel ? o.out : 1;
  state_.weight = new_buffer({nibble::packed_bytes(weights, o.w_bits)}, DType::u8, "bit_conv");
  state_.w_offset = new_buffer({columns}, DType::f32, "bit_conv");
  state_.w_basis = new_buffer({o.w_bits, columns}, DType::f32, "bit_conv");
  for (Tensor* t : {&state_.scale, &state_.offset}) *t = new_buffer({o.out}, DType::f32, "bit_conv");
}

void BitConvLayer::visit(StateVisitor& visitor) {
  visitor.buffer("weight", state_.weight);
  visitor.buffer("w_offset", state_.w_offset);
  visitor.buffer("w_basis", state_.w_basis);
  visitor.buffer("scale", state_.scale);
  visitor.buffer("offset", state_.offset);
}

void BitConvLayer::after_load() {
  const std::lock_guard lock(mutex_);
  plans_.clear();
  const Padding pad = options_.padding();
  // For the other engine, too, the plan is what refuses numbers out of their range.
  const auto plan = std::make_shared<const bits::BitConv>(spec(pad));
  if (options_.engine == "float")
    float_ = std::make_shared<const FloatBits>(spec(pad));
  else
    plans_[{pad.top, pad.bottom, pad.left, pad.right}] = plan;
}

std::optional<Coding> BitConvLayer::coding(std::span<const std::optional<Coding>> inputs) const {
  NIBBLE_CHECK(gemm_coding(*this, inputs, options_.reals.adds) == options_.input,
               "bit_conv: the input is not coded as the layer expects");
  if (options_.real) return std::nullopt;
  return options_.coding;
}

bits::BitConvSpec BitConvLayer::spec(const Padding& pad) const {
  const Options& o = options_;
  bits::BitConvSpec spec;
  spec.in_channels = o.in;
  spec.out_channels = o.out;
  spec.kh = o.kernel.h;
  spec.kw = o.kernel.w;
  spec.geometry = o.geometry(pad);
  spec.w_bits = o.w_bits;
  spec.a_bits = o.a_bits;
  const auto codes = unpack_codes(state_.weight, o.weight_shape(), o.w_bits);
  spec.weights.assign(codes.data<uint8_t>().begin(), codes.data<uint8_t>().end());
  spec.rule = o.rule == "integer" ? bits::BitConvSpec::Rule::integer : bits::BitConvSpec::Rule::learned;
  const int64_t columns = state_.w_offset.numel();
  spec.w_offset = list_of<double>(state_.w_offset, 0, columns);
  for (int64_t k = 0; k < o.w_bits; ++k) spec.w_basis.push_back(list_of<double>(state_.w_basis, k * columns, columns));
  spec.a_offset = o.a_offset;
  spec.a_basis = o.a_basis;
  bits::Epilogue& e = spec.epilogue;
  using Output = bits::Epilogue::Output;
  e.output = o.real ? Output::reals : o.rounds ? Output::uniform : Output::levels;
  e.scale = list_of<float>(state_.scale, 0, o.out);
  e.offset = list_of<float>(state_.offset, 0, o.out);
  e.thresholds.assign(o.thresholds.begin(), o.thresholds.end());
  for (const int code : o.codes) e.codes.push_back(static_cast<uint8_t>(code));
  e.zero = o.coding.zero;
  e.lo = o.lo;
  e.hi = o.hi;
  e.least = o.reals.lower();
  e.most = o.reals.upper();
  return spec;
}

std::shared_ptr<const bits::BitConv> BitConvLayer::plan_for(const Padding& pad) {
  const std::lock_guard lock(mutex_);
  auto& plan = plans_[{pad.top, pad.bottom, pad.left, pad.right}];
  if (plan == nullptr) plan = std::make_shared<const bits::BitConv>(spec(pad));
  return plan;
}

Tensor BitConvLayer::compute(Inputs in) {
  const Options& o = options_;
  check_gemm_inputs(*this, in, o.reals.adds);
  NIBBLE_CHECK(in[0].rank() == (o.linear ? 2 : 4) && in[0].dim(-1) == o.in, "bit_conv: expected an input ",
               o.linear ? "(N, " : "(N, H, W, ", o.in, "), got ", in[0].shape());
  const int64_t n = in[0].dim(0), h = o.linear ? 1 : in[0].dim(1), w = o.linear ? 1 : in[0].dim(2);
  const Padding pad = o.padding(h, w);
  const double read = static_cast<double>(h + pad.top + pad.bottom) * static_cast<double>(w + pad.left + pad.right);
  NIBBLE_CHECK(read * o.in <= static_cast<double>(kMostActivations), "bit_conv: an image of ", h, "x", w, "x", o.in,
               " is too large with its border of ", pad.top, "/", pad.bottom, "/", pad.left, "/", pad.right);
  const Tensor y = new_output(*this, o.output(n, h, w, pad), o.real ? DType::f32 : DType::u8);
  const Tensor x = shifted(in[0], o.a_shift).view({n, h, w, o.in});
  const Tensor term = o.reals.adds ? in[1] : Tensor();
  if (o.reals.adds) check_term(*this, term, o.linear ? Shape{n, o.out} : y.shape());
  if (float_ != nullptr) {
    float_->run(x, pad, y);
    o.reals.finish(y, term);
  } else {
    run_plan(*plan_for(pad), x, y, o.reals.adds ? term.data<float>().data() : nullptr);
  }
  return o.linear ? y.view({n, o.out}) : o.reals.pooled(y);
}

std::string BitConvLayer::signature() const {
  const Options& o = options_;
  return concat_text(o.engine == "float" ? "float" : describe(), ", ", o.rule, ", ", o.w_bits, "x", o.a_bits, " bits, ",
                     o.text(), o.real ? ", reals" : "", o.reals.adds ? " and a term" : "",
                     o.reals.pools ? ", pooled" : "");
}

int64_t BitConvLayer::plan_bytes() const {
  const std::lock_guard lock(mutex_);
  int64_t bytes = 0;
  for (const auto& [pad, plan] : plans_) bytes += plan->packed_bytes();
  return bytes;
}

std::string BitConvLayer::describe() const {
  const std::lock_guard lock(mutex_);
  if (!plans_.empty()) return plans_.begin()->second->describe();
  return bits::BitConv(spec(options_.padding())).describe();
}

NIBBLE_REGISTER_LAYER(BitConvLayer, "bit_conv", "Lowered: a convolution or linear layer of few bits, on bit planes.");

}  // namespace nibble
