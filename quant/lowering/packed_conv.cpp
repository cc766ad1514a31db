#include "quant/lowering/packed_conv.h"

#include <algorithm>
#include <cmath>

#include "core/ops.h"
#include "core/parallel.h"
#include "core/tape.h"
#include "layers/packed.h"

namespace nibble {

namespace {

/// Weights that are unpacked at a time.
constexpr int64_t kUnpacked = 1 << 16;

/// Codes first .. first + count - 1 of a string; call(i, code) for each.
template <class Call>
void each_code(std::span<const uint8_t> packed, int bits, int64_t first, int64_t count, const Call& call) {
  const unsigned mask = (1u << bits) - 1;
  int64_t at = first * bits;
  for (int64_t i = 0; i < count; ++i, at += bits) {
    const auto byte = static_cast<size_t>(at / 8);
    unsigned word = packed[byte];
    if (byte + 1 < packed.size()) word |= static_cast<unsigned>(packed[byte + 1]) << 8;
    call(i, word >> (at % 8) & mask);
  }
}

PackedConvLayer::Options options_for(const GemmForm& gemm) {
  const Shape& shape = gemm.weight.shape();
  const ConvGeometry& g = gemm.geometry;
  PackedConvLayer::Options o;
  o.linear = shape.rank() == 2;
  o.groups = g.groups;
  o.in = static_cast<int>(shape[1] * g.groups);
  o.out = static_cast<int>(shape[0]);
  if (!o.linear) {
    o.kernel = {static_cast<int>(shape[2]), static_cast<int>(shape[3])};
    o.stride = {g.stride_h, g.stride_w};
    o.pad = {g.pad, gemm.same_padding};
    o.dilation = {g.dilation_h, g.dilation_w};
  }
  o.bits = packed_bits(gemm.weight_grid);
  o.levels = static_cast<int>(level_count(gemm.weight_grid));
  o.per_channel = channel_count(gemm.weight_grid) > 1;
  o.bias = !gemm.bias.empty();
  return o;
}

}  // namespace

void PackedConvLayer::Options::fields(Fields& f) {
  f.required()("in", in, "input channels or features", {1, 1 << 28});
  f.required()("out", out, "output channels or features", {1, 1 << 28});
  extent_field(f, "kernel", kernel, "extent of the window");
  extent_field(f, "stride", stride, "distance of the windows");
  pad_field(f, "pad", pad, "pixels of 0 around the image; \"same\" is TensorFlow's SAME");
  extent_field(f, "dilation", dilation, "distance of the taps");
  f("groups", groups, "blocks of channels that are convolved apart", {1, 1 << 20});
  f("linear", linear, "the input is (N, in), the output (N, out)");
  f("bits", bits, "width of the packed weight codes", {1, 8});
  f("levels", levels, "number of values that a weight may have", {1, 256});
  f("per_channel", per_channel, "every output channel has its own levels");
  f("bias", bias, "there is a bias");
}

PackedConvLayer::PackedConvLayer(const Options& options) : options_(options) {
  const Options& o = options;
  NIBBLE_CHECK(o.in % o.groups == 0 && o.out % o.groups == 0, "packed_conv: groups must divide both channel counts, ",
               "got in ", o.in, ", out ", o.out, ", groups ", o.groups);
  NIBBLE_CHECK(o.levels <= 1 << o.bits, "packed_conv: ", o.bits, " bits do not hold ", o.levels, " levels");
  NIBBLE_CHECK(!o.linear || (o.kernel == Extent2{} && o.stride == Extent2{} && o.dilation == Extent2{} &&
                             o.groups == 1 && !o.pad.same && o.pad.pixels == Padding{}),
               "packed_conv: a linear layer has no window");
  const int64_t weights = Shape{o.out, o.in / o.groups, o.kernel.h, o.kernel.w}.numel();
  weight_ = new_buffer({packed_bytes(weights, o.bits)}, DType::u8, "packed_conv");
  levels_ = new_buffer({o.per_channel ? o.out : 1, o.levels}, DType::f32, "packed_conv");
  if (o.bias) bias_ = new_buffer({o.out}, DType::f32, "packed_conv");
}

void PackedConvLayer::visit(StateVisitor& visitor) {
  visitor.buffer("weight", weight_);
  visitor.buffer("levels", levels_);
  if (bias_.defined()) visitor.buffer("bias", bias_);
}

void PackedConvLayer::after_load() {
  for (const Tensor& t : {levels_, bias_}) {
    if (!t.defined()) continue;
    for (const float v : t.data<float>())
      NIBBLE_CHECK(std::isfinite(v), "packed_conv: levels and biases must be finite, one is ", v);
  }
  const Options& o = options_;
  const int64_t count = int64_t{o.out} * (o.in / o.groups) * o.kernel.h * o.kernel.w;
  each_code(weight_.data<uint8_t>(), o.bits, 0, count, [&](int64_t i, unsigned code) {
    NIBBLE_CHECK(code < static_cast<unsigned>(o.levels), "packed_conv: weight ", i, " has the code ", code,
                 ", expected 0..", o.levels - 1);
  });
}

std::optional<Coding> PackedConvLayer::coding(std::span<const std::optional<Coding>> inputs) const {
  NIBBLE_CHECK(inputs.size() == 1 && !inputs[0], "packed_conv: expected one input of values (f32)");
  return std::nullopt;
}

void PackedConvLayer::set(const GemmForm& gemm) {
  weight_.copy_from(pack_codes(exact_codes(gemm.weight, gemm.weight_grid), options_.bits));
  float* to = levels_.mutable_data<float>().data();
  for (int64_t c = 0; c < levels_.dim(0); ++c)
    for (const float level : levels_of(gemm.weight_grid, c)) *to++ = level;
  if (bias_.defined()) bias_.copy_from(Tensor::from({options_.out}, gemm.bias));
}

Tensor PackedConvLayer::unpacked(int64_t first, int64_t last) const {
  const Options& o = options_;
  const int64_t size = int64_t{o.in / o.groups} * o.kernel.h * o.kernel.w;
  Tensor weight = Tensor::empty({last - first, o.in / o.groups, o.kernel.h, o.kernel.w});
  float* to = weight.mutable_data<float>().data();
  const float* levels = levels_.data<float>().data();
  const std::span<const uint8_t> packed = weight_.data<uint8_t>();
  parallel_for(first, last, 1 + (1 << 14) / size, [=, &o](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const float* own = levels + (o.per_channel ? c * o.levels : 0);
      float* row = to + (c - first) * size;
      each_code(packed, o.bits, c * size, size, [=](int64_t i, unsigned code) { row[i] = own[code]; });
    }
  });
  return weight;
}

Tensor PackedConvLayer::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::f32);
  const NoRecord guard;
  const Options& o = options_;
  NIBBLE_CHECK(in[0].rank() == (o.linear ? 2 : 4) && in[0].dim(-1) == o.in, "packed_conv: expected an input ",
               o.linear ? "(N, " : "(N, H, W, ", o.in, "), got ", in[0].shape());
  const int64_t n = in[0].dim(0), h = o.linear ? 1 : in[0].dim(1), w = o.linear ? 1 : in[0].dim(2);
  const Padding pad = o.pad.same ? same_padding(h, w, o.kernel, o.stride, o.dilation) : o.pad.pixels;
  const ConvGeometry geometry{o.stride.h, o.stride.w, pad, o.dilation.h, o.dilation.w, o.groups};
  const Tensor x = in[0].view({n, h, w, o.in});
  const int64_t oh = conv_extent(h, o.kernel.h, o.stride.h, pad.top, pad.bottom, o.dilation.h);
  const int64_t ow = conv_extent(w, o.kernel.w, o.stride.w, pad.left, pad.right, o.dilation.w);
  Tensor y = new_output(*this, {n, oh, ow, o.out}, DType::f32);
  // The channels of a group read the same inputs, so only one group can be cut.
  const int64_t size = int64_t{o.in / o.groups} * o.kernel.h * o.kernel.w;
  const int64_t some = o.groups > 1 ? o.out : std::clamp<int64_t>(kUnpacked / size / 16 * 16, 16, o.out);
  float* to = y.mutable_data<float>().data();
  for (int64_t first = 0; first < o.out; first += some) {
    const int64_t last = std::min<int64_t>(o.out, first + some), count = last - first;
    Tensor bias;
    if (bias_.defined())
      bias = Tensor::from<float>({count},
                                 bias_.data<float>().subspan(static_cast<size_t>(first), static_cast<size_t>(count)));
    const Tensor part = conv2d(x, unpacked(first, last), bias, geometry);
    const float* from = part.data<float>().data();
    const int64_t out = o.out;
    parallel_for(0, n * oh * ow, 1 + (1 << 14) / count, [=](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel)
        std::copy_n(from + pixel * count, count, to + pixel * out + first);
    });
  }
  return o.linear ? y.view({n, o.out}) : y;
}

std::shared_ptr<PackedConvLayer> build_packed(const GemmForm& gemm) {
  NIBBLE_CHECK(!std::holds_alternative<Real>(gemm.weight_grid), "its weight is not quantized");
  auto layer = std::make_shared<PackedConvLayer>(options_for(gemm));
  layer->set(gemm);
  layer->after_load();
  return layer;
}

NIBBLE_REGISTER_LAYER(PackedConvLayer, "packed_conv",
                      "Lowered: a convolution or linear layer on reals with weights of few bits.");

}  // namespace nibble
