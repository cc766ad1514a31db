#include "layers/models/imagenet_resnet.h"

#include "layers/model.h"

namespace nibble {

void ImagenetResnetOptions::fields(Fields& f) {
  f("classes", classes, "outputs", {1, 1 << 20});
  f("width", width,
    "channels of the first stage; the next three have 2, 4 and 8 times as many, bottlenecks yield four times that",
    {1, 4096});
  f.choice(
      "stem", stem, {"7x7", "3x3"},
      "7x7: convolution of stride 2, then a max-pool of stride 2; 3x3: one of stride 1 without pooling, for images "
      "of about 64 x 64 pixels");
  ResidualStyle::fields(f);
  f("input", input, "height, width and channels of an image", {1, 4096});
}

void BottleneckResnetOptions::fields(Fields& f) {
  ImagenetResnetOptions::fields(f);
  f.choice("stride", stride, {"3x3", "1x1"},
           "which convolution of a bottleneck shrinks the image: the 3x3 (torchvision) or the first 1x1 (the paper)");
}

Graph imagenet_resnet(const ResnetDepth& depth, const ImagenetResnetOptions& options) {
  const bool large = options.stem == "7x7";
  ResidualBuilder builder(options.input, options, "downsample");
  ConvSpec stem{.out = options.width};
  if (large) stem = {.out = options.width, .kernel = {7, 7}, .stride = 2};
  // torchvision's stem calls its ReLU "relu"; in the order "pre" that is the name of the last one.
  std::string x = builder.stem("conv1", "bn1", options.order == "pre" ? "relu1" : "relu", stem);
  if (large) x = builder.net().max_pool("maxpool", x, {.kernel = 3, .pad = {{1, 1, 1, 1}}});
  for (int stage = 1; stage <= 4; ++stage)
    x = builder.stage(stage, x, depth.blocks[static_cast<size_t>(stage - 1)],
                      {.width = options.width << (stage - 1),
                       .stride = stage > 1 ? 2 : 1,
                       .bottleneck = depth.bottleneck,
                       .stride_first = depth.stride_first});
  builder.head(x, options.classes, "avgpool", "fc");
  return builder.net().take();
}

namespace {

Graph resnet18(const ImagenetResnetOptions& options) { return imagenet_resnet({{2, 2, 2, 2}}, options); }
Graph resnet34(const ImagenetResnetOptions& options) { return imagenet_resnet({{3, 4, 6, 3}}, options); }

template <int Stage2, int Stage3>
Graph bottlenecks(const BottleneckResnetOptions& options) {
  return imagenet_resnet({{3, Stage2, Stage3, 3}, true, options.stride == "1x1"}, options);
}
constexpr auto resnet50 = bottlenecks<4, 6>, resnet101 = bottlenecks<4, 23>, resnet152 = bottlenecks<8, 36>;

NIBBLE_REGISTER_MODEL(ImagenetResnetOptions, resnet18, "resnet18", "ImageNet residual network with 18 layers.");
NIBBLE_REGISTER_MODEL(ImagenetResnetOptions, resnet34, "resnet34", "ImageNet residual network with 34 layers.");
NIBBLE_REGISTER_MODEL(BottleneckResnetOptions, resnet50, "resnet50", "ImageNet residual network with 50 layers.");
NIBBLE_REGISTER_MODEL(BottleneckResnetOptions, resnet101, "resnet101", "ImageNet residual network with 101 layers.");
NIBBLE_REGISTER_MODEL(BottleneckResnetOptions, resnet152, "resnet152", "ImageNet residual network with 152 layers.");

}  // namespace

}  // namespace nibble
