#include "data/transform.h"

namespace nibble {
namespace {

/// A square from a random place (Krizhevsky et al., NIPS 2012, sec. 4.1).
class RandomCrop final : public Transform {
 public:
  struct Options {
    int size = 224;
    void fields(Fields& f) { f("size", size, "height and width of the result", {1, 16384}); }
  };
  explicit RandomCrop(const Options& options) : size_(options.size) {}
  bool random() const override { return true; }
  Image apply(Image image, Rng& rng) const override {
    NIBBLE_CHECK(image.height >= size_ && image.width >= size_, "random_crop: size ", size_,
                 " is larger than the image of ", image.height, "x", image.width, "; put a 'resize' before it");
    const auto top = static_cast<int>(rng.next_below(static_cast<uint32_t>(image.height - size_ + 1)));
    const auto left = static_cast<int>(rng.next_below(static_cast<uint32_t>(image.width - size_ + 1)));
    return crop(image, top, left, size_, size_);
  }

 private:
  int size_;
};
NIBBLE_REGISTER_TRANSFORM(RandomCrop, "random_crop", "cuts a square out at a random place");

}  // namespace
}  // namespace nibble
