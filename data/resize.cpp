#include "data/resize.h"

#include <algorithm>
#include <cmath>

#include "data/transform.h"

namespace nibble {
namespace {

constexpr int kBits = 22;

/// For every output position the first input position that contributes and the fixed-point weights from there on.
struct Taps {
  std::vector<int> first, count;
  std::vector<int32_t> weight;  ///< (output, widest)
  int widest = 0;
};

Taps make_taps(int in, int out) {
  const double scale = static_cast<double>(in) / out, support = std::max(scale, 1.0);
  Taps taps;
  taps.widest = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.weight.resize(static_cast<size_t>(out) * static_cast<size_t>(taps.widest));
  std::vector<double> w(static_cast<size_t>(taps.widest));
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int lo = std::max(0, static_cast<int>(center - support + 0.5));
    const int hi = std::min(in, static_cast<int>(center + support + 0.5));
    double total = 0;
    for (int j = lo; j < hi; ++j)
      total += w[static_cast<size_t>(j - lo)] = std::max(0.0, 1 - std::abs((j - center + 0.5) / support));
    for (int j = lo; j < hi; ++j)
      taps.weight[static_cast<size_t>(i) * static_cast<size_t>(taps.widest) + static_cast<size_t>(j - lo)] =
          static_cast<int32_t>(w[static_cast<size_t>(j - lo)] / total * (1 << kBits) + 0.5);
    taps.first.push_back(lo);
    taps.count.push_back(hi - lo);
  }
  return taps;
}

uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

Image resize_rows(const Image& image, int width) {
  const Taps taps = make_taps(image.width, width);
  Image out{image.height, width, std::vector<uint8_t>(static_cast<size_t>(image.height) * width * 3)};
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* row = image.pixels.data() + int64_t{y} * image.width * 3;
    uint8_t* to = out.pixels.data() + int64_t{y} * width * 3;
    for (int x = 0; x < width; ++x, to += 3) {
      const int32_t* weight = taps.weight.data() + int64_t{x} * taps.widest;
      const uint8_t* from = row + int64_t{taps.first[static_cast<size_t>(x)]} * 3;
      int32_t r = 1 << (kBits - 1), g = r, b = r;
      for (int k = 0; k < taps.count[static_cast<size_t>(x)]; ++k, from += 3) {
        r += weight[k] * from[0];
        g += weight[k] * from[1];
        b += weight[k] * from[2];
      }
      to[0] = rounded(r);
      to[1] = rounded(g);
      to[2] = rounded(b);
    }
  }
  return out;
}

Image resize_columns(const Image& image, int height) {
  const Taps taps = make_taps(image.height, height);
  const size_t stride = static_cast<size_t>(image.width) * 3;
  Image out{height, image.width, std::vector<uint8_t>(static_cast<size_t>(height) * stride)};
  std::vector<int32_t> sum(stride);
  for (int y = 0; y < height; ++y) {
    std::fill(sum.begin(), sum.end(), 1 << (kBits - 1));
    for (int k = 0; k < taps.count[static_cast<size_t>(y)]; ++k) {
      const int32_t weight = taps.weight[static_cast<size_t>(int64_t{y} * taps.widest + k)];
      const uint8_t* from = image.pixels.data() + static_cast<size_t>(taps.first[static_cast<size_t>(y)] + k) * stride;
      for (size_t i = 0; i < stride; ++i) sum[i] += weight * from[i];
    }
    std::transform(sum.begin(), sum.end(), out.pixels.begin() + static_cast<int64_t>(y * stride), rounded);
  }
  return out;
}

class Resize final : public Transform {
 public:
  struct Options {
    int size = 256;
    bool keep_aspect = true;
    void fields(Fields& f) {
      f("size", size, "length of the shorter side, or of both", {1, 16384});
      f("keep_aspect", keep_aspect, "false makes the image a square of that size");
    }
  };
  explicit Resize(const Options& options) : options_(options) {}
  Image apply(Image image, Rng&) const override {
    return options_.keep_aspect ? resize_shorter(image, options_.size) : resize(image, options_.size, options_.size);
  }

 private:
  Options options_;
};
NIBBLE_REGISTER_TRANSFORM(Resize, "resize", "scales the image, bilinear with antialiasing (Pillow's BILINEAR)");

}  // namespace

Image resize(const Image& image, int height, int width) {
  NIBBLE_CHECK(image.height > 0 && image.width > 0, "resize: the image is empty");
  NIBBLE_CHECK(height > 0 && width > 0 && int64_t{height} * width <= int64_t{64} << 20, "resize: cannot make ", height,
               "x", width, " pixels of an image of ", image.height, "x", image.width);
  Image out = width == image.width ? image : resize_rows(image, width);
  return height == image.height ? out : resize_columns(out, height);
}

Image resize_shorter(const Image& image, int size) {
  NIBBLE_CHECK(image.height > 0 && image.width > 0, "resize: the image is empty");
  const int64_t shorter = std::min(image.height, image.width);
  const int64_t longer = int64_t{std::max(image.height, image.width)} * size / shorter;
  NIBBLE_CHECK(longer * size <= int64_t{64} << 20, "resize: a shorter side of ", size, " makes an image of ",
               image.height, "x", image.width, " too large");
  const bool upright = image.height > image.width;
  return resize(image, upright ? static_cast<int>(longer) : size, upright ? size : static_cast<int>(longer));
}

}  // namespace nibble
