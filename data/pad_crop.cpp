#include <algorithm>

#include "data/transform.h"

namespace nibble {
namespace {

/// Pads all four sides and cuts a rectangle of the original size at a random place (He et al., CVPR 2016, sec. 4.2).
/// The raw image is padded, before the mean is subtracted: black by default, which is what PyTorch recipes do; the mean
/// colour as `fill` gives what padding with zeros after normalising would give, rounded to 8 bits.
class PadCrop final : public Transform {
 public:
  struct Options {
    int pad = 4;
    std::string mode = "constant";
    std::vector<int> fill = {0, 0, 0};
    void fields(Fields& f) {
      f("pad", pad, "pixels added on each side", {0, 1024});
      f.choice("mode", mode, {"constant", "reflect"}, "what the border shows: one colour, or the image mirrored");
      f("fill", fill, "colour of a constant border (red, green, blue)", {0, 255});
    }
  };
  explicit PadCrop(const Options& options)
      : pad_(options.pad), reflect_(options.mode == "reflect"), fill_(options.fill.begin(), options.fill.end()) {
    NIBBLE_CHECK(options.fill.size() == 3, "pad_crop: 'fill' expects 3 values (red, green, blue), got ",
                 options.fill.size());
  }
  bool random() const override { return true; }
  Image apply(Image image, Rng& rng) const override {
    const int top = static_cast<int>(rng.next_below(static_cast<uint32_t>(2 * pad_ + 1))) - pad_;
    const int left = static_cast<int>(rng.next_below(static_cast<uint32_t>(2 * pad_ + 1))) - pad_;
    if (reflect_)
      NIBBLE_CHECK(pad_ < image.height && pad_ < image.width, "pad_crop: a reflected border of ", pad_,
                   " needs a larger image than ", image.height, "x", image.width);
    Image out{image.height, image.width, {}};
    out.pixels.resize(image.pixels.size());
    for (int y = 0; y < out.height; ++y) copy_row(image, top + y, left, out.pixels.data() + int64_t{y} * out.width * 3);
    return out;
  }

 private:
  static int mirrored(int i, int n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; }

  void copy_row(const Image& image, int y, int left, uint8_t* to) const {
    if (reflect_) y = mirrored(y, image.height);
    const bool outside = y < 0 || y >= image.height;
    const uint8_t* from = outside ? nullptr : image.pixels.data() + int64_t{y} * image.width * 3;
    const int first = outside ? image.width : std::clamp(-left, 0, image.width);
    const int last = outside ? image.width : std::clamp(image.width - left, 0, image.width);
    const auto border = [&](int x) {
      const uint8_t* colour = reflect_ ? from + mirrored(left + x, image.width) * 3 : fill_.data();
      std::copy(colour, colour + 3, to + x * 3);
    };
    for (int x = 0; x < std::min(first, image.width); ++x) border(x);
    if (first < last) std::copy(from + (left + first) * 3, from + (left + last) * 3, to + first * 3);
    for (int x = std::max(first, last); x < image.width; ++x) border(x);
  }

  int pad_;
  bool reflect_;
  std::vector<uint8_t> fill_;
};
NIBBLE_REGISTER_TRANSFORM(PadCrop, "pad_crop", "pads all sides and cuts the original size at a random place");

}  // namespace
}  // namespace nibble
