#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "data/transform.h"

namespace nibble {
namespace {

/// 0.299 r + 0.587 g + 0.114 b.
float grey(const float* pixel) { return 0.299f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2]; }

uint8_t to_byte(float value) { return static_cast<uint8_t>(std::lround(std::clamp(value, 0.f, 255.f))); }

/// Brightness, contrast and saturation in a random order, as facebook/fb.resnet.torch (datasets/transforms.lua) has it:
/// each blends the image, x <- a x + (1 - a) g with a = 1 + U(-strength, strength), with black, with the mean of its
/// grey version, and with that grey version. Departs: the result is cut to 0..255 and rounded to 8 bits, once at the
/// end; the original keeps floats.
class ColorJitter final : public Transform {
 public:
  struct Options {
    double brightness = 0.4, contrast = 0.4, saturation = 0.4;
    void fields(Fields& f) {
      f("brightness", brightness, "largest change of the factor on all values", kFraction);
      f("contrast", contrast, "largest change of the factor on the distance from the mean grey", kFraction);
      f("saturation", saturation, "largest change of the factor on the distance from each pixel's grey", kFraction);
    }
  };
  explicit ColorJitter(const Options& options)
      : strength_{static_cast<float>(options.brightness), static_cast<float>(options.contrast),
                  static_cast<float>(options.saturation)} {}
  bool random() const override { return true; }
  Image apply(Image image, Rng& rng) const override {
    std::array<size_t, 3> order = {0, 1, 2};
    for (uint32_t i = 3; i > 1; --i) std::swap(order[i - 1], order[rng.next_below(i)]);
    std::vector<float> x(image.pixels.begin(), image.pixels.end());
    for (const size_t kind : order) {
      const float a = 1 + strength_[kind] * (2 * rng.next_uniform() - 1);
      if (strength_[kind] > 0) blend(x, kind, a);
    }
    std::transform(x.begin(), x.end(), image.pixels.begin(), to_byte);
    return image;
  }

 private:
  static float mean_grey(const std::vector<float>& x) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); i += 3) sum += static_cast<double>(grey(&x[i]));
    return x.empty() ? 0 : static_cast<float>(sum / (static_cast<double>(x.size()) / 3));
  }
  static void blend(std::vector<float>& x, size_t kind, float a) {
    const float mean = kind == 1 ? mean_grey(x) : 0;
    for (size_t i = 0; i < x.size(); i += 3) {
      const float g = (1 - a) * (kind == 2 ? grey(&x[i]) : mean);
      for (size_t c = 0; c < 3; ++c) x[i + c] = a * x[i + c] + g;
    }
  }

  std::array<float, 3> strength_;
};
NIBBLE_REGISTER_TRANSFORM(ColorJitter, "color_jitter",
                          "changes brightness, contrast and saturation at random (fb.resnet.torch)");

/// Adds the same colour to all pixels, along the principal components of ImageNet's colours (Krizhevsky et al., NIPS
/// 2012, sec. 4.1): x[c] += 255 sum_k axis[c][k] alpha_k variance[k] with alpha ~ N(0, std). Constants and scale of
/// facebook/fb.resnet.torch (datasets/imagenet.lua). Departs: cut to 0..255 and rounded to 8 bits.
class Lighting final : public Transform {
 public:
  struct Options {
    double std = 0.1;
    void fields(Fields& f) { f("std", std, "standard deviation of the factors on the three components", {0, 10}); }
  };
  explicit Lighting(const Options& options) : std_(static_cast<float>(options.std)) {}
  bool random() const override { return true; }
  Image apply(Image image, Rng& rng) const override {
    constexpr float variance[3] = {0.2175f, 0.0188f, 0.0045f};
    constexpr float axis[3][3] = {
        {-0.5675f, 0.7192f, 0.4009f}, {-0.5808f, -0.0045f, -0.8140f}, {-0.5836f, -0.6948f, 0.4203f}};
    std::array<float, 3> shift{};
    for (size_t k = 0; k < 3; ++k) {
      const float factor = 255 * std_ * rng.next_normal() * variance[k];
      for (size_t c = 0; c < 3; ++c) shift[c] += axis[c][k] * factor;
    }
    for (size_t i = 0; i < image.pixels.size(); i += 3)
      for (size_t c = 0; c < 3; ++c) image.pixels[i + c] = to_byte(static_cast<float>(image.pixels[i + c]) + shift[c]);
    return image;
  }

 private:
  float std_;
};
NIBBLE_REGISTER_TRANSFORM(Lighting, "lighting",
                          "adds a random colour along ImageNet's principal components (AlexNet, fb.resnet.torch)");

}  // namespace
}  // namespace nibble
