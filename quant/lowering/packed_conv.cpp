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

PackedConvLayer::Options options_for(const GemmForm& gemm) {
  PackedConvLayer::Options o;
  o.take(gemm, gemm.weight.shape());
  o.bits = packed_bits(gemm.weight_grid);
  o.levels = static_cast<int>(level_count(gemm.weight_grid));
  o.per_channel = channel_count(gemm.weight_grid) > 1;
  o.bias = !gemm.bias.empty();
  return o;
}

}  // namespace

void PackedConvLayer::Options::fields(Fields& f) {
  GemmWindow::fields(f, 1 << 28);
  f("bits", bits, "width of the packed weight codes", {1, 8});
  f("levels", levels, "number of values that a weight may have", {1, 256});
  f("per_channel", per_channel, "every output channel has its own levels");
  f("bias", bias, "there is a bias");
}

PackedConvLayer::PackedConvLayer(const Options& options) : options_(options) {
  const Options& o = options;
  o.check("packed_conv");
  NIBBLE_CHECK(o.levels <= 1 << o.bits, "packed_conv: ", o.bits, " bits do not hold ", o.levels, " levels");
  const int64_t weights = o.weight_shape().numel();
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
  const Tensor codes = unpack_codes(weight_, options_.weight_shape(), options_.bits);
  for (const uint8_t code : codes.data<uint8_t>())
    NIBBLE_CHECK(code < options_.levels, "packed_conv: a weight has the code ", int{code}, ", expected 0..",
                 options_.levels - 1);
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
  const Shape whole = o.weight_shape();
  const Tensor codes = Tensor::empty({last - first, whole[1], whole[2], whole[3]}, DType::u8);
  Tensor weight = Tensor::empty(codes.shape());
  const int64_t size = codes.numel() / (last - first);
  const std::span<uint8_t> all = codes.mutable_data<uint8_t>();
  float* to = weight.mutable_data<float>().data();
  const float* levels = levels_.data<float>().data();
  parallel_for(0, last - first, 1 + (1 << 14) / size, [=, &o, this](int64_t begin, int64_t end) {
    const auto some = all.subspan(static_cast<size_t>(begin * size), static_cast<size_t>((end - begin) * size));
    unpack_some(weight_, o.bits, (first + begin) * size, some);
    for (int64_t c = begin; c < end; ++c) {
      const float* own = levels + (o.per_channel ? (first + c) * o.levels : 0);
      for (int64_t i = c * size; i < (c + 1) * size; ++i) to[i] = own[all[static_cast<size_t>(i)]];
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
  const Padding pad = o.padding(h, w);
  const Tensor x = in[0].view({n, h, w, o.in});
  Tensor y = new_output(*this, o.output(n, h, w, pad), DType::f32);
  // The channels of a group read the same inputs, so only one group can be cut.
  const int64_t size = o.weight_shape().numel() / o.out;
  const int64_t some = o.groups > 1 ? o.out : std::max<int64_t>(kUnpacked / size / 16 * 16, 16);
  float* to = y.mutable_data<float>().data();
  for (int64_t first = 0; first < o.out; first += some) {
    const int64_t last = std::min<int64_t>(o.out, first + some), count = last - first;
    Tensor bias;
    if (bias_.defined())
      bias = Tensor::from<float>({count},
                                 bias_.data<float>().subspan(static_cast<size_t>(first), static_cast<size_t>(count)));
    const Tensor part = conv2d(x, unpacked(first, last), bias, o.geometry(pad));
    const float* from = part.data<float>().data();
    const int64_t out = o.out;
    parallel_for(0, y.numel() / o.out, 1 + (1 << 14) / count, [=](int64_t begin, int64_t end) {
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
