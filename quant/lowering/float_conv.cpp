#include "quant/lowering/float_conv.h"

#include <algorithm>

#include "core/ops.h"
#include "core/parallel.h"
#include "core/rounding.h"
#include "core/tape.h"
#include "quant/kernels/fixed_point.h"

namespace nibble {

namespace {

constexpr int64_t kExact = int64_t{1} << 24;

template <class T>
std::vector<T> for_all(const std::vector<T>& list, int64_t count, T missing) {
  if (static_cast<int64_t>(list.size()) == count) return list;
  return std::vector<T>(static_cast<size_t>(count), list.empty() ? missing : list[0]);
}

/// The weights of a spec as whole numbers, (out, in/groups, kh * kw).
class WholeWeights {
 public:
  explicit WholeWeights(const int8::Int8ConvSpec& spec)
      : spec_(spec), taps_(int64_t{spec.kh} * spec.kw), in_(spec.in_channels / spec.geometry.groups) {}

  int32_t at(int64_t out, int64_t in, int64_t tap) const {
    const auto& zero = spec_.w_zero;
    return spec_.w_unit * spec_.weights[static_cast<size_t>((out * in_ + in) * taps_ + tap)] -
           zero[zero.size() == 1 ? 0 : static_cast<size_t>(out)];
  }
  /// The sum of |weight|, at least the number of taps: of one channel in the window of one output.
  int64_t weight_of(int64_t out, int64_t in) const {
    int64_t sum = 0;
    for (int64_t tap = 0; tap < taps_; ++tap) sum += std::max(1, std::abs(at(out, in, tap)));
    return sum;
  }
  int64_t channels() const { return in_; }
  Tensor slice(int64_t first, int64_t last) const {
    Tensor weight = Tensor::empty({spec_.out_channels, last - first, spec_.kh, spec_.kw});
    float* to = weight.mutable_data<float>().data();
    for (int64_t o = 0; o < spec_.out_channels; ++o)
      for (int64_t i = first; i < last; ++i)
        for (int64_t tap = 0; tap < taps_; ++tap) *to++ = static_cast<float>(at(o, i, tap));
    return weight;
  }

 private:
  const int8::Int8ConvSpec& spec_;
  int64_t taps_, in_;
};

/// total += part, of which every value is a whole number.
void add_whole(Tensor& total, const Tensor& part) {
  if (!total.defined()) total = Tensor::zeros(part.shape(), DType::i32);
  const float* from = part.data<float>().data();
  int32_t* to = total.mutable_data<int32_t>().data();
  parallel_for(0, part.numel(), 1 << 14, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += static_cast<int32_t>(from[i]);
  });
}

}  // namespace

FloatConv::FloatConv(const int8::Int8ConvSpec& spec)
    : in_(spec.in_channels),
      out_(spec.out_channels),
      x_zero_(spec.x_zero),
      geometry_(spec.geometry),
      bias_(for_all(spec.bias, out_, 0)),
      epilogue_(spec.epilogue) {
  NIBBLE_CHECK(epilogue_.output != int8::Epilogue::Output::accumulators, "float_conv: accumulators are no output");
  epilogue_.multiplier = for_all(epilogue_.multiplier, out_, 0);
  epilogue_.shift = for_all(epilogue_.shift, out_, 0);
  epilogue_.scale = for_all(epilogue_.scale, out_, 0.f);
  epilogue_.offset = for_all(epilogue_.offset, out_, 0.f);
  if (!epilogue_.x_sum_scale.empty()) epilogue_.x_sum_scale = for_all(epilogue_.x_sum_scale, out_, 0.f);
  cut(spec);
}

void FloatConv::cut(const int8::Int8ConvSpec& spec) {
  const WholeWeights weights(spec);
  const int64_t largest = std::max(x_zero_, 255 - x_zero_);
  std::vector<int64_t> sums(static_cast<size_t>(out_), 0);
  int64_t first = 0;
  for (int64_t i = 0; i < weights.channels(); ++i) {
    bool fits = true;
    for (int64_t o = 0; o < out_; ++o) {
      const int64_t more = weights.weight_of(o, i) * largest;
      NIBBLE_CHECK(more < kExact, "its sums over one channel of the window may reach ", more,
                   ", which f32 does not hold exactly");
      fits &= sums[static_cast<size_t>(o)] + more < kExact;
    }
    if (!fits) {
      parts_.push_back({first, i, weights.slice(first, i)});
      first = i;
      std::ranges::fill(sums, 0);
    }
    for (int64_t o = 0; o < out_; ++o) sums[static_cast<size_t>(o)] += weights.weight_of(o, i) * largest;
  }
  parts_.push_back({first, weights.channels(), weights.slice(first, weights.channels())});
}

Tensor FloatConv::values(const Tensor& x, const Part& part) const {
  const int64_t pixels = x.numel() / in_, groups = geometry_.groups, all = in_ / groups, some = part.last - part.first;
  Tensor values = Tensor::empty({x.dim(0), x.dim(1), x.dim(2), some * groups});
  const uint8_t* from = x.data<uint8_t>().data() + part.first;
  float* to = values.mutable_data<float>().data();
  parallel_for(0, pixels * groups, 1 + (1 << 14) / some, [=, this](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run)
      for (int64_t i = 0; i < some; ++i) to[run * some + i] = static_cast<float>(from[run * all + i] - x_zero_);
  });
  return values;
}

float FloatConv::real(int32_t acc, int32_t x_sum, size_t channel) const {
  const float scaled = static_cast<float>(acc) * epilogue_.scale[channel];
  const float r = scaled + epilogue_.offset[channel];
  if (epilogue_.x_sum_scale.empty()) return r;
  const float term = static_cast<float>(x_sum) * epilogue_.x_sum_scale[channel];
  return r + term;
}

uint8_t FloatConv::code(int32_t acc, int32_t x_sum, size_t channel) const {
  int64_t code;
  if (epilogue_.rule == int8::Epilogue::Rule::fixed)
    code = int8::multiply_by_quantized_multiplier(acc, {epilogue_.multiplier[channel], epilogue_.shift[channel]});
  else
    code = static_cast<int64_t>(round_half_even(std::clamp(real(acc, x_sum, channel), -65536.f, 65536.f)));
  return static_cast<uint8_t>(std::clamp<int64_t>(code + epilogue_.zero, epilogue_.lo, epilogue_.hi));
}

template <class T, class Finish>
void FloatConv::write(const Tensor& y, const Tensor& sums, const Tensor& x_sums, Finish finish) const {
  const int64_t per_group = out_ / geometry_.groups, groups = geometry_.groups;
  const int32_t* acc = sums.data<int32_t>().data();
  const int32_t* windows = x_sums.defined() ? x_sums.data<int32_t>().data() : nullptr;
  T* to = y.mutable_data<T>().data();
  parallel_for(0, sums.numel() / out_, 1 + (1 << 12) / out_, [=, this](int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel)
      for (int64_t o = 0; o < out_; ++o) {
        const int32_t x_sum = windows != nullptr ? windows[pixel * groups + o / per_group] : 0;
        const auto channel = static_cast<size_t>(o);
        to[pixel * out_ + o] = finish(acc[pixel * out_ + o] + bias_[channel], x_sum, channel);
      }
  });
}

void FloatConv::run(const Tensor& x, const Padding& pad, const Tensor& y) const {
  const NoRecord guard;
  ConvGeometry geometry = geometry_;
  geometry.pad = pad;
  Tensor sums, x_sums;
  for (const Part& part : parts_) {
    const Tensor v = values(x, part);
    add_whole(sums, conv2d(v, part.weight, {}, geometry));
    if (epilogue_.x_sum_scale.empty()) continue;
    const Shape ones{geometry.groups, part.weight.dim(1), part.weight.dim(2), part.weight.dim(3)};
    add_whole(x_sums, conv2d(v, Tensor::full(ones, 1), {}, geometry));
  }
  if (y.dtype() == DType::f32)
    write<float>(y, sums, x_sums, [this](int32_t a, int32_t s, size_t c) { return real(a, s, c); });
  else
    write<uint8_t>(y, sums, x_sums, [this](int32_t a, int32_t s, size_t c) { return code(a, s, c); });
}

}  // namespace nibble
