#include "data/transform.h"

#include <algorithm>

namespace nibble {

Pipeline::Pipeline(const Config& list) {
  if (list.json.is_null()) return;
  if (!list.json.is_array()) list.fail(concat_text("expected a list of transforms, found ", list.json.type_name()));
  for (size_t i = 0; i < list.json.size(); ++i) {
    Config step = list.at(i);
    if (step.json.is_string()) step.json = Json{{"type", step.json}};
    if (!step.json.is_object())
      step.fail(concat_text("a transform is a name or an object with a \"type\", found ", step.json.type_name()));
    steps_.push_back(Registry<Transform>::get().make(step));
  }
}

Image Pipeline::apply(Image image, const Rng& rng) const {
  for (size_t i = 0; i < steps_.size(); ++i) {
    Rng own = rng.child(i);
    image = steps_[i]->apply(std::move(image), own);
  }
  return image;
}

bool Pipeline::random() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const auto& step) { return step->random(); });
}

Image crop(const Image& image, int top, int left, int height, int width) {
  NIBBLE_CHECK(
      top >= 0 && left >= 0 && height > 0 && width > 0 && top <= image.height - height && left <= image.width - width,
      "crop: a rectangle of ", height, "x", width, " at (", top, ", ", left, ") is not inside an image of ",
      image.height, "x", image.width, " (height x width)");
  Image out{height, width, {}};
  out.pixels.reserve(static_cast<size_t>(height) * static_cast<size_t>(width) * 3);
  for (int y = 0; y < height; ++y) {
    const auto row = image.pixels.begin() + (int64_t{top + y} * image.width + left) * 3;
    out.pixels.insert(out.pixels.end(), row, row + int64_t{width} * 3);
  }
  return out;
}

Image center_crop(const Image& image, int height, int width) {
  const auto half = [](int rest) { return rest / 2 + (rest % 4 == 3 ? 1 : 0); };
  return crop(image, half(image.height - height), half(image.width - width), height, width);
}

namespace {

class CenterCrop final : public Transform {
 public:
  struct Options {
    int size = 224;
    void fields(Fields& f) { f("size", size, "height and width of the result", {1, 16384}); }
  };
  explicit CenterCrop(const Options& options) : size_(options.size) {}
  Image apply(Image image, Rng&) const override {
    NIBBLE_CHECK(image.height >= size_ && image.width >= size_, "center_crop: size ", size_,
                 " is larger than the image of ", image.height, "x", image.width, "; put a 'resize' before it");
    return center_crop(image, size_, size_);
  }

 private:
  int size_;
};
NIBBLE_REGISTER_TRANSFORM(CenterCrop, "center_crop", "cuts a square out of the middle");

class Flip final : public Transform {
 public:
  struct Options {
    double p = 0.5;
    void fields(Fields& f) { f("p", p, "probability of mirroring", kFraction); }
  };
  explicit Flip(const Options& options) : p_(static_cast<float>(options.p)) {}
  bool random() const override { return true; }
  Image apply(Image image, Rng& rng) const override {
    if (rng.next_uniform() >= p_) return image;
    for (int y = 0; y < image.height; ++y) {
      uint8_t* row = image.pixels.data() + int64_t{y} * image.width * 3;
      for (int l = 0, r = image.width - 1; l < r; ++l, --r) std::swap_ranges(row + l * 3, row + l * 3 + 3, row + r * 3);
    }
    return image;
  }

 private:
  float p_;
};
NIBBLE_REGISTER_TRANSFORM(Flip, "flip", "mirrors left and right at random");

}  // namespace
}  // namespace nibble
