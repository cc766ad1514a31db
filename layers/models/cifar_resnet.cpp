#include "layers/models/cifar_resnet.h"

#include "layers/model.h"

namespace nibble {

void CifarResnetOptions::fields(Fields& f) {
  f("classes", classes, "outputs", {1, 1 << 20});
  f("width", width, "channels of the first stage; the next two have twice and four times as many", {1, 4096});
  ResidualStyle::fields(f);
  f("input", input, "height, width and channels of an image", {1, 4096});
}

namespace {

struct AnyDepthOptions : CifarResnetOptions {
  int depth = 20;
  void fields(Fields& f) {
    f("depth", depth, "number of layers with weights, shortcuts aside: 6n + 2", {8, 1202});
    CifarResnetOptions::fields(f);
  }
};

Graph resnet_of_any_depth(const AnyDepthOptions& options) {
  NIBBLE_CHECK(options.depth % 6 == 2, "depth must be 6n + 2 (8, 14, 20, ...), got ", options.depth);
  return cifar_resnet((options.depth - 2) / 6, options);
}

template <int Depth>
Graph resnet(const CifarResnetOptions& options) {
  return cifar_resnet((Depth - 2) / 6, options);
}

NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<20>, "resnet20", "CIFAR residual network with 20 layers.");
NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<32>, "resnet32", "CIFAR residual network with 32 layers.");
NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<44>, "resnet44", "CIFAR residual network with 44 layers.");
NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<56>, "resnet56", "CIFAR residual network with 56 layers.");
NIBBLE_REGISTER_MODEL(CifarResnetOptions, resnet<110>, "resnet110", "CIFAR residual network with 110 layers.");
NIBBLE_REGISTER_MODEL(AnyDepthOptions, resnet_of_any_depth, "resnet_cifar", "CIFAR residual network of any depth.");

}  // namespace

Graph cifar_resnet(int blocks, const CifarResnetOptions& options) {
  ResidualBuilder builder(options.input, options, "shortcut");
  std::string x = builder.stem("conv1", "bn1", "relu1", {.out = options.width});
  for (int stage = 1; stage <= 3; ++stage)
    x = builder.stage(stage, x, blocks, {.width = options.width << (stage - 1), .stride = stage > 1 ? 2 : 1});
  builder.head(x, options.classes, "pool", "linear");
  return builder.net().take();
}

}  // namespace nibble
