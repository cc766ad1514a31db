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

/// Largest magnitude of n values; infinity if one is not finite.
float largest(const float* v, int64_t n) {
  float low = 0, high = 0;
  const bool finite = elementwise::kernels().extremes(v, n, &low, &high);
  return finite ? std::max(-low, high) : std::numeric_limits<float>::infinity();
}

/// diag(a) W + R
Tensor composed(std::span<const float> a, const Tensor& weight, const Tensor& rest) {
  Tensor sum = Tensor::empty_like(weight);
  const int64_t width = weight.numel() / static_cast<int64_t>(a.size());
  const float *w = values(weight), *r = values(rest);
  float* to = mutable_values(sum);
  for (const float factor : a)
    for (const float* const end = w + width; w != end; ++w, ++r, ++to) *to = factor * *w + *r;
  return sum;
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

const bf16::Kernels* SplitConv::bf16_kernels(ConvPass pass, const Tensor& weight, const Tensor& rest,
                                             std::span<const float> a) const {
  const bf16::Kernels* const kernels = bf16::fast_kernels();
  if (!kernels || !bf16::fits(shape_, pass)) return nullptr;
  const int64_t width = weight.numel() / shape_.o;
  float most = 0;
  for (size_t o = 0; o < a.size(); ++o)
    most = std::max(most, std::abs(a[o]) * largest(values(weight) + static_cast<int64_t>(o) * width, width));
  // Rounding to bf16 changes a value by up to 2^-9 of it.
  const float more = largest(values(rest), rest.numel());
  return std::isfinite(more) && more <= most / 64 ? kernels : nullptr;
}

Tensor SplitConv::forward(const Tensor& z, const Tensor& weight, const Tensor& rest, std::span<const float> a,
                          std::span<const float> b) const {
  Tensor y = Tensor::empty_like(z);
  if (const bf16::Kernels* k = bf16_kernels(ConvPass::forward, weight, rest, a)) {
    const auto range =
        bf16::conv_forward(*k, shape_, values(input_), values(rest), values(z), a.data(), b.data(), mutable_values(y));
    if (range) y.note_range(*range);
  } else {
    conv_f32::conv_forward(conv_f32::kernels(), shape_, values(input_), values(composed(a, weight, rest)), b.data(),
                           mutable_values(y));
  }
  return y;
}

Tensor SplitConv::input_gradient(const Tensor& dz, const Tensor& weight, const Tensor& dy, const Tensor& rest,
                                 std::span<const float> a) const {
  const conv_f32::Kernels& f32 = conv_f32::kernels();
  const Tensor dx = Tensor::empty_like(input_);
  float* const to = mutable_values(dx);
  conv_f32::conv_backward_data(f32, shape_, values(dz), values(weight), to);
  if (const bf16::Kernels* k = bf16_kernels(ConvPass::data, weight, rest, a)) {
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
