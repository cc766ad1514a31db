#include "quant/split_conv.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/conv_f32/dispatch.h"
#include "core/kernels/elementwise/dispatch.h"
#include "core/ops/conv_shape.h"
#include "core/ops/map.h"
#include "quant/kernels/bf16_conv/bf16_conv.h"
#include "quant/kernels/bf16_gemm/dispatch.h"

namespace nibble {

namespace {

using conv_f32::ConvPass;

const float* values(const Tensor& t) { return t.data<float>().data(); }
float* mutable_values(const Tensor& t) { return t.mutable_data<float>().data(); }

/// Largest magnitude; infinity if an element is not finite.
float largest(const Tensor& t) {
  float low = 0, high = 0;
  const bool finite = elementwise::kernels().extremes(values(t), t.numel(), &low, &high);
  return finite ? std::max(-low, high) : std::numeric_limits<float>::infinity();
}

/// Rounding to bf16 changes a value by up to 2^-9 of it.
bool is_small(const Tensor& rest, const Tensor& weight) {
  const float most = largest(rest);
  return std::isfinite(most) && most <= largest(weight) / 64;
}

Tensor sum_of(const Tensor& scaled, const Tensor& rest) {
  Tensor sum = Tensor::empty_like(rest);
  const float *s = values(scaled), *r = values(rest);
  float* to = mutable_values(sum);
  for (int64_t i = 0; i < sum.numel(); ++i) to[i] = s[i] + r[i];
  return sum;
}

Tensor scaled_by(std::span<const float> a, const Tensor& weight) {
  Tensor scaled = Tensor::empty_like(weight);
  const int64_t width = weight.numel() / static_cast<int64_t>(a.size());
  const float* from = values(weight);
  float* to = mutable_values(scaled);
  for (const float factor : a)
    for (const float* const end = from + width; from != end; ++from, ++to) *to = factor * *from;
  return scaled;
}

}  // namespace

SplitConv::SplitConv(const Tensor& input, const Tensor& weight, const ConvGeometry& geometry)
    : input_(input), shape_(conv_shape(input, weight, {}, geometry)) {}

Shape SplitConv::output_shape() const { return {shape_.n, shape_.oh, shape_.ow, shape_.o}; }

int64_t SplitConv::images_at_a_time(int64_t values_per_image) const {
  constexpr int64_t kCacheValues = 384 * 1024, kPerWeight = 8;  // of a core; so that packing weights does not count
  const int64_t fit = threads() * kCacheValues / values_per_image;
  const int64_t least = kPerWeight * shape_.weights() / values_per_image;
  return std::max<int64_t>({1, fit, least});
}

void SplitConv::product(const Tensor& weight, const Tensor& z, const Step& then) const {
  const int64_t most = images_at_a_time(shape_.h * shape_.w * shape_.c + shape_.oh * shape_.ow * shape_.o);
  for (int64_t first = 0; first < shape_.n; first += most) {
    const int64_t count = std::min(most, shape_.n - first);
    conv_f32::conv_forward_fast(conv_f32::kernels(), shape_, {first, count}, values(input_), values(weight),
                                mutable_values(z));
    then(first, count);
  }
}

Tensor SplitConv::forward(const Tensor& z, const Tensor& weight, const Tensor& rest, std::span<const float> a,
                          std::span<const float> b) const {
  Tensor y = Tensor::empty_like(z);
  const Tensor scaled = scaled_by(a, weight);
  if (const bf16::Kernels* k = bf16::fast_kernels();
      k && bf16::fits(shape_, ConvPass::forward) && is_small(rest, scaled)) {
    const auto range =
        bf16::conv_forward(*k, shape_, values(input_), values(rest), values(z), a.data(), b.data(), mutable_values(y));
    if (range) y.note_range(*range);
  } else {
    conv_f32::conv_forward(conv_f32::kernels(), shape_, values(input_), values(sum_of(scaled, rest)), b.data(),
                           mutable_values(y));
  }
  return y;
}

Tensor SplitConv::input_gradient(const Tensor& dz, const Tensor& weight, const Tensor& dy, const Tensor& rest) const {
  const conv_f32::Kernels& f32 = conv_f32::kernels();
  const Tensor dx = Tensor::empty_like(input_);
  float* const to = mutable_values(dx);
  conv_f32::conv_backward_data(f32, shape_, values(dz), values(weight), to);
  if (const bf16::Kernels* k = bf16::fast_kernels();
      k && bf16::fits(shape_, ConvPass::data) && is_small(rest, weight)) {
    bf16::conv_backward_data(*k, shape_, values(dy), values(rest), to);
    return dx;
  }
  const Tensor other = Tensor::empty_like(dx);
  conv_f32::conv_backward_data(f32, shape_, values(dy), values(rest), mutable_values(other));
  const float* const more = values(other);
  parallel_for(0, dx.numel(), kElementGrain,
               [&](int64_t lo, int64_t hi) { elementwise::kernels().add(to + lo, more + lo, to + lo, hi - lo); });
  return dx;
}

Tensor SplitConv::weight_gradient(const Tensor& dz) const {
  Tensor dw = Tensor::empty({shape_.o, shape_.group_in(), shape_.kh, shape_.kw});
  conv_f32::conv_backward_weights(conv_f32::kernels(), shape_, values(input_), values(dz), mutable_values(dw));
  return dw;
}

}  // namespace nibble
