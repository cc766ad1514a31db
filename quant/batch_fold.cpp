#include "quant/batch_fold.h"

#include <cmath>

#include "core/ops/map.h"
#include "layers/weight_init.h"

namespace nibble {

namespace {

using Doubles = std::vector<double>;

Doubles doubles_of(const Tensor& t, size_t channels, double absent) {
  if (!t.defined()) return Doubles(channels, absent);
  return {t.data<float>().begin(), t.data<float>().end()};
}

Tensor tensor_of(const Doubles& values) {
  Tensor t = Tensor::empty({static_cast<int64_t>(values.size())});
  for (size_t c = 0; c < values.size(); ++c) t.mutable_data<float>()[c] = static_cast<float>(values[c]);
  return t;
}

/// body(c) for every output channel of a weight with `width` elements in each, from several threads.
template <class Body>
void each_channel(size_t channels, size_t width, const Body& body) {
  parallel_for(0, static_cast<int64_t>(channels), row_grain(static_cast<int64_t>(width)), [&](int64_t lo, int64_t hi) {
    for (int64_t c = lo; c < hi; ++c) body(static_cast<size_t>(c));
  });
}

/// scale[c] / deviation[c] * weight[c, ...]. dscale = sum over the channel's weights of dfolded * weight / deviation.
Tensor fold_weight(const Tensor& weight, const Tensor& scale, const Doubles& deviation) {
  const auto channels = deviation.size();
  const auto width = static_cast<size_t>(weight.numel()) / channels;
  const Doubles factor = doubles_of(scale, channels, 1);
  std::vector<float> a(channels);
  for (size_t c = 0; c < channels; ++c) a[c] = static_cast<float>(factor[c] / deviation[c]);
  Tensor folded = Tensor::empty_like(weight);
  const float* from = weight.data<float>().data();
  float* to = folded.mutable_data<float>().data();
  each_channel(channels, width, [&](size_t c) {
    for (size_t i = c * width; i < (c + 1) * width; ++i) to[i] = a[c] * from[i];
  });
  return record("fold_weight", folded, {weight, scale}, [=](const Tensor& dy) -> Grads {
    Tensor dscale, dweight = Tensor::empty_like(weight);
    Doubles sums(channels);
    const float *g = dy.data<float>().data(), *w = weight.data<float>().data();
    float* dw = dweight.mutable_data<float>().data();
    each_channel(channels, width, [&](size_t c) {
      for (size_t i = c * width; i < (c + 1) * width; ++i) {
        sums[c] += static_cast<double>(g[i]) * w[i];
        dw[i] = a[c] * g[i];
      }
      sums[c] /= deviation[c];
    });
    if (scale.defined()) dscale = tensor_of(sums);
    return {dweight, dscale};
  });
}

using Correction = BatchFold::Correction;

/// dz_n = dmu_B / M + dsigma_B (z_n - mu_B) / (M sigma_B).
Tensor gradient_through_statistics(const Tensor& z, const Correction& k, const ChannelProducts& sums) {
  const size_t channels = k.scale.size();
  const double count = static_cast<double>(z.numel()) / static_cast<double>(channels);
  std::vector<float> a(channels), b(channels);
  for (size_t c = 0; c < channels; ++c) {
    const double s = k.batch_deviation[c], dmean = -k.scale[c] / s * sums.total[c];
    // dsigma_B = (gamma mu_B / sigma_B^2) sum g - (sigma / sigma_B^2) sum g u, in which the products were centred.
    const double ddeviation = -k.deviation[c] / (s * s) * sums.product[c];
    const double slope = ddeviation / (count * s);
    a[c] = static_cast<float>(slope);
    b[c] = static_cast<float>(dmean / count - slope * k.batch_mean[c]);
  }
  Tensor dz = Tensor::empty_like(z);
  channel_affine(z, a, b, dz);
  return dz;
}

/// y = (sigma / sigma_B) u + beta - gamma mu_B / sigma_B, where mu_B and sigma_B are the statistics of z.
Tensor corrected(const Tensor& u, const Tensor& z, const Tensor& scale, const Tensor& offset, const Correction& k) {
  const size_t channels = k.scale.size();
  std::vector<float> a(channels), b(channels), center(channels);
  for (size_t c = 0; c < channels; ++c) {
    a[c] = static_cast<float>(k.deviation[c] / k.batch_deviation[c]);
    b[c] = static_cast<float>(k.offset[c] - k.scale[c] * k.batch_mean[c] / k.batch_deviation[c]);
    center[c] = static_cast<float>(k.scale[c] * k.batch_mean[c] / k.deviation[c]);
  }
  Tensor y = Tensor::empty_like(u);
  channel_affine(u, a, b, y);
  return record("fold_correction", y, {u, z, scale, offset},
                [=, want_z = z.requires_grad(), want_u = u.requires_grad()](const Tensor& dy) -> Grads {
                  const ChannelProducts sums = channel_products(u, dy, center);
                  Tensor du, dz, dscale, doffset;
                  if (offset.defined()) doffset = tensor_of(sums.total);
                  if (scale.defined()) {
                    Doubles d(channels);
                    for (size_t c = 0; c < channels; ++c)
                      d[c] = -k.batch_mean[c] / k.batch_deviation[c] * sums.total[c];
                    dscale = tensor_of(d);
                  }
                  if (want_z) dz = gradient_through_statistics(z, k, sums);
                  if (want_u) channel_affine(dy, a, std::vector<float>(channels), du = reuse(dy));
                  return {du, dz, dscale, doffset};
                });
}

/// What the quantizer makes of the folded weight; records.
Tensor used_weight(const Tensor& folded, const WeightSlot& slot, const Pass& pass) {
  if (!slot.passes_all()) return slot.apply(folded, pass);
  const Tensor used = [&] {
    const NoRecord guard;
    return slot.apply(folded, pass).detach();
  }();
  return record("straight_through", used, {folded}, [](const Tensor& dy) -> Grads { return {dy}; });
}

/// Forms z = W x, and its moments while it is still in the cache.
ChannelMoments product_moments(const SplitConv& split, const Tensor& weight, const Tensor& z) {
  GrowingMoments moments(z);
  const int64_t rows = z.dim(1) * z.dim(2);
  split.product(weight, z, [&](int64_t first, int64_t count) { moments.grow((first + count) * rows); });
  return moments.moments();
}

/// What a quantizer makes of the weight on top of the folded one, in units of y: sigma / sigma_B (used - folded).
Tensor scaled_rest(const Tensor& used, const Tensor& folded, const Correction& k) {
  const size_t channels = k.scale.size(), width = static_cast<size_t>(used.numel()) / channels;
  Tensor rest = Tensor::empty_like(used);
  const float *q = used.data<float>().data(), *f = folded.data<float>().data();
  float* to = rest.mutable_data<float>().data();
  each_channel(channels, width, [&](size_t c) {
    const auto ratio = static_cast<float>(k.deviation[c] / k.batch_deviation[c]);
    for (size_t i = c * width; i < (c + 1) * width; ++i) to[i] = ratio * (q[i] - f[i]);
  });
  return rest;
}

/// corrected() of both products at once, where the quantizer passes all gradients: with W' = gamma / sigma_B W + rest
///   y = W' x + beta - gamma mu_B / sigma_B
/// and all that reaches z, also through u, is
///   dz_n = gamma / sigma_B (g_n - mean(g)) - (z_n - mu_B) / sigma_B^2 mean(g (y - beta)),
/// as sigma sum g (u - gamma mu_B / sigma) = sigma_B sum g (y - beta). dgamma = sum g (z - mu_B) / sigma_B, to which
/// the gradients by way of the folded weight and of the offset add up.
Tensor corrected_split(const SplitConv& split, const Tensor& z, const Tensor& rest, const Tensor& weight,
                       const Tensor& scale, const Tensor& offset, const Correction& k) {
  const size_t channels = k.scale.size();
  std::vector<float> a(channels), b(channels), mean(channels), beta(channels);
  for (size_t c = 0; c < channels; ++c) {
    a[c] = static_cast<float>(k.scale[c] / k.batch_deviation[c]);
    b[c] = static_cast<float>(k.offset[c] - k.scale[c] * k.batch_mean[c] / k.batch_deviation[c]);
    mean[c] = static_cast<float>(k.batch_mean[c]);
    beta[c] = static_cast<float>(k.offset[c]);
  }
  const Tensor y = split.forward(z, weight, rest, a, b), kept_weight = weight.detach(), kept_y = y.detach();
  const SplitConv inputs(split.input().detach(), kept_weight, split.geometry());
  return record(
      "fold_correction", y, {split.input(), weight, scale, offset},
      [=, want_x = split.input().requires_grad(), want_w = weight.requires_grad()](const Tensor& dy) -> Grads {
        const ChannelProducts sums = channel_products(kept_y, dy, beta);
        const double count = static_cast<double>(z.numel()) / static_cast<double>(channels);
        std::vector<float> shift(channels), slope(channels);
        for (size_t c = 0; c < channels; ++c) {
          const double s = k.batch_deviation[c];
          shift[c] = static_cast<float>(k.scale[c] / s * sums.total[c] / count);
          slope[c] = static_cast<float>(sums.product[c] / (count * s * s));
        }
        const Tensor dz = Tensor::empty_like(z);
        Doubles dscale = channel_correct_products(z, dy, {mean, a, shift, slope}, dz).product;
        for (size_t c = 0; c < channels; ++c) dscale[c] /= k.batch_deviation[c];
        return {want_x ? inputs.input_gradient(dz, kept_weight, dy, rest, a) : Tensor{},
                want_w ? inputs.weight_gradient(dz) : Tensor{}, scale.defined() ? tensor_of(dscale) : Tensor{},
                offset.defined() ? tensor_of(sums.total) : Tensor{}};
      });
}

/// beta - gamma mean / deviation; records.
Tensor fold_bias(const Tensor& scale, const Tensor& offset, const Doubles& mean, const Doubles& deviation) {
  const size_t channels = mean.size();
  const Doubles factor = doubles_of(scale, channels, 1), base = doubles_of(offset, channels, 0);
  Doubles bias(channels);
  for (size_t c = 0; c < channels; ++c) bias[c] = base[c] - factor[c] * mean[c] / deviation[c];
  return record("fold_bias", tensor_of(bias), {scale, offset}, [=](const Tensor& dy) -> Grads {
    Tensor dscale;
    if (scale.defined()) {
      Doubles d(channels);
      for (size_t c = 0; c < channels; ++c) d[c] = -mean[c] / deviation[c] * dy.data<float>()[c];
      dscale = tensor_of(d);
    }
    return {dscale, offset.defined() ? dy : Tensor()};
  });
}

void follow(const Tensor& running, const Doubles& batch, double keep) {
  const auto values = running.mutable_data<float>();
  for (size_t c = 0; c < batch.size(); ++c)
    values[c] = static_cast<float>(keep * static_cast<double>(values[c]) + (1 - keep) * batch[c]);
}

Doubles deviation_of(Doubles variance, double epsilon) {
  for (double& v : variance) v = std::sqrt(v + epsilon);
  return variance;
}

}  // namespace

void BatchFold::Options::fields(Fields& f) {
  f("momentum", momentum, "weight of the old value in the running averages (PyTorch's momentum is 1 minus this)",
    kFraction);
  f("epsilon", epsilon, "added to the variance", kPositive);
  f("scale", scale, "learn a factor per channel");
  f("offset", offset, "learn an offset per channel");
  f.choice("mode", mode, {"corrected", "plain"},
           "normalise by the batch's statistics while the weight is folded with the running ones, or by the running "
           "ones throughout");
  f("freeze", freeze, "training passes after which the running statistics are frozen and used; -1: by freeze_share",
    {-1, static_cast<double>(int64_t{1} << 50)});
  f("freeze_share", freeze_share, "last part of the training steps in which they are frozen and used; 0 for none",
    kFraction);
}

BatchFold::BatchFold(const Options& options, int64_t channels) : options_(options) {
  const Shape shape{channels};
  if (options.scale) scale_ = new_parameter(shape, "batch_fold");
  if (options.offset) offset_ = new_parameter(shape, "batch_fold");
  mean_ = Tensor::empty(shape);
  variance_ = Tensor::empty(shape);
  passes_ = Tensor::empty({1}, DType::i64);
  initialize();
}

void BatchFold::initialize() {
  const Tensor zeros = Tensor::zeros(mean_.shape()), ones = Tensor::full(mean_.shape(), 1);
  if (scale_.defined()) scale_.copy_from(ones);
  if (offset_.defined()) offset_.copy_from(zeros);
  mean_.copy_from(zeros);
  variance_.copy_from(ones);
  passes_.mutable_data<int64_t>()[0] = 0;
}

bool BatchFold::frozen(const Pass& pass) const {
  if (options_.freeze >= 0) return passes_.data<int64_t>()[0] >= options_.freeze;
  if (pass.clock == nullptr) return false;
  const auto total = static_cast<double>(pass.clock->total_steps);
  return pass.clock->step >= pass.clock->total_steps - static_cast<int64_t>(options_.freeze_share * total);
}

Doubles BatchFold::running_deviation() const { return deviation_of(doubles_of(variance_, 0, 0), options_.epsilon); }

Tensor BatchFold::folded(const Tensor& weight) const { return fold_weight(weight, scale_, running_deviation()); }

Tensor BatchFold::folded_bias() const {
  return fold_bias(scale_, offset_, doubles_of(mean_, 0, 0), running_deviation());
}

Correction BatchFold::correction(const ChannelMoments& moments, const Shape& z) {
  const int64_t count = z.numel() / z[z.rank() - 1];
  NIBBLE_CHECK(count >= 2, "batch_fold: training needs at least 2 values per channel, the output is ", z);
  Doubles unbiased = moments.squares, biased = moments.squares;
  for (double& v : unbiased) v /= static_cast<double>(count - 1);
  for (double& v : biased) v /= static_cast<double>(count);
  const size_t channels = biased.size();
  Correction k{doubles_of(scale_, channels, 1), doubles_of(offset_, channels, 0), running_deviation(), moments.mean,
               deviation_of(biased, options_.epsilon)};
  follow(mean_, moments.mean, options_.momentum);
  follow(variance_, unbiased, options_.momentum);
  return k;
}

Tensor BatchFold::forward(const Tensor& weight, const WeightSlot& slot, const Product& product, const Pass& pass,
                          const SplitConv* split) {
  const bool follows = pass.mode == Mode::train && !frozen(pass), corrects = follows && options_.mode == "corrected";
  if (pass.mode == Mode::train) ++passes_.mutable_data<int64_t>()[0];
  if (corrects && split && slot.passes_all()) {
    Tensor rest;
    const Tensor z = Tensor::empty(split->output_shape());
    Correction k;
    {
      const NoRecord guard;
      const Tensor whole = folded(weight), used = slot.apply(whole, pass);
      k = correction(product_moments(*split, weight, z), z.shape());
      rest = scaled_rest(used, whole, k);
    }
    return corrected_split(*split, z, rest, weight, scale_, offset_, k);
  }
  const Tensor used = used_weight(folded(weight), slot, pass);
  if (!follows) return product(used, folded_bias());
  if (!corrects) {
    const Tensor y = product(used, folded_bias());
    const NoRecord guard;
    const Tensor z = split ? Tensor::empty(y.shape()) : product(weight, {});
    correction(split ? product_moments(*split, weight, z) : channel_moments(z), z.shape());
    return y;
  }
  const Tensor u = product(used, {}), z = product(weight, {});
  return corrected(u, z, scale_, offset_, correction(channel_moments(z), z.shape()));
}

void BatchFold::visit(StateVisitor& visitor) {
  if (scale_.defined()) visitor.param("bn.weight", scale_);
  if (offset_.defined()) visitor.param("bn.bias", offset_);
  visitor.buffer("bn.running_mean", mean_);
  visitor.buffer("bn.running_var", variance_);
  visitor.buffer("bn.passes", passes_);
}

}  // namespace nibble
