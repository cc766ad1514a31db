#include <algorithm>
#include <cmath>

#include "data/resize.h"
#include "data/transform.h"

namespace nibble {
namespace {

/// A rectangle of random area and aspect ratio, scaled to a square (Szegedy et al., CVPR 2015, sec. 6).
class RandomResizedCrop final : public Transform {
 public:
  struct Options {
    int size = 224;
    std::vector<double> scale = {0.08, 1}, ratio = {0.75, 4.0 / 3};
    void fields(Fields& f) {
      f("size", size, "height and width of the result", {1, 16384});
      f("scale", scale, "smallest and largest share of the image's area", {0, 1, true});
      f("ratio", ratio, "smallest and largest width / height", {0.01, 100});
    }
  };
  explicit RandomResizedCrop(const Options& options) : options_(options) {
    const auto ordered = [](const std::vector<double>& range) { return range.size() == 2 && range[0] <= range[1]; };
    NIBBLE_CHECK(ordered(options.scale), "random_resized_crop: 'scale' expects two values in rising order");
    NIBBLE_CHECK(ordered(options.ratio), "random_resized_crop: 'ratio' expects two values in rising order");
  }
  bool random() const override { return true; }
  Image apply(Image image, Rng& rng) const override {
    const double low = std::log(options_.ratio[0]), high = std::log(options_.ratio[1]);
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double share = options_.scale[0] + (options_.scale[1] - options_.scale[0]) * rng.next_uniform();
      const double area = share * image.height * image.width, ratio = std::exp(low + (high - low) * rng.next_uniform());
      const auto width = static_cast<int>(std::lround(std::min(std::sqrt(area * ratio), 1e6)));
      const auto height = static_cast<int>(std::lround(std::min(std::sqrt(area / ratio), 1e6)));
      if (width < 1 || height < 1 || width > image.width || height > image.height) continue;
      const auto top = static_cast<int>(rng.next_below(static_cast<uint32_t>(image.height - height + 1)));
      const auto left = static_cast<int>(rng.next_below(static_cast<uint32_t>(image.width - width + 1)));
      return resize(crop(image, top, left, height, width), options_.size, options_.size);
    }
    // No rectangle fitted: the largest one in the middle whose ratio is allowed.
    const double ratio =
        std::clamp(static_cast<double>(image.width) / image.height, options_.ratio[0], options_.ratio[1]);
    const auto width = std::clamp(static_cast<int>(std::lround(image.height * ratio)), 1, image.width);
    const auto height = std::clamp(static_cast<int>(std::lround(image.width / ratio)), 1, image.height);
    return resize(center_crop(image, height, width), options_.size, options_.size);
  }

 private:
  Options options_;
};
NIBBLE_REGISTER_TRANSFORM(RandomResizedCrop, "random_resized_crop",
                          "cuts a random rectangle and scales it to a square");

}  // namespace
}  // namespace nibble
