#include "layers/models/imagenet_resnet.h"

#include "layers/model.h"
#include "layers/models/image_shape.h"

namespace nibble {

void ImagenetResnetOptions::fields(Fields& f) {
  f("classes", classes, "outputs", {1, 1 << 20});
  f("width", width, "channels of the first stage; the next three have 2, 4 and 8 times as many", {1, 4096});
  f.choice(
      "stem", stem, {"7x7", "3x3"},
      "7x7: convolution of stride 2, then a max-pool of stride 2; 3x3: one of stride 1 without pooling, for images "
      "of about 64 x 64 pixels");
  ResidualStyle::fields(f);
  f("input", input, "height, width and channels of an image", {1, 4096});
}

Graph imagenet_resnet(const std::array<int, 4>& blocks, const ImagenetResnetOptions& options) {
  const bool large = options.stem == "7x7";
  ResidualBuilder builder(image_shape(options.input), options, "downsample");
  // torchvision's stem calls its ReLU "relu"; in the order "pre" that is the name of the last one.
  std::string x = builder.stem("conv1", "bn1", options.order == "pre" ? "relu1" : "relu", options.width, large ? 7 : 3,
                               large ? 2 : 1);
  if (large) x = builder.graph().add("maxpool", {{"type", "max_pool"}, {"kernel", 3}, {"stride", 2}, {"pad", 1}}, {x});
  for (int stage = 1; stage <= 4; ++stage)
    x = builder.stage(stage, x, blocks[static_cast<size_t>(stage - 1)], options.width << (stage - 1),
                      stage > 1 ? 2 : 1);
  builder.head(x, options.classes, "avgpool", "fc");
  return std::move(builder.graph());
}

namespace {

Graph resnet18(const ImagenetResnetOptions& options) { return imagenet_resnet({2, 2, 2, 2}, options); }
Graph resnet34(const ImagenetResnetOptions& options) { return imagenet_resnet({3, 4, 6, 3}, options); }

NIBBLE_REGISTER_MODEL(ImagenetResnetOptions, resnet18, "resnet18", "ImageNet residual network with 18 layers.");
NIBBLE_REGISTER_MODEL(ImagenetResnetOptions, resnet34, "resnet34", "ImageNet residual network with 34 layers.");

}  // namespace

}  // namespace nibble
