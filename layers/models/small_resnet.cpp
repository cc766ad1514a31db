#include "layers/model.h"
#include "layers/models/cifar_resnet.h"

namespace nibble {
namespace {

/// The smallest of the family that is still residual in every stage: 8 layers, for demonstrations on a laptop.
struct SmallResnetOptions {
  int classes = 10, width = 16, blocks = 1;
  std::vector<int> input{32, 32, 3};

  void fields(Fields& f) {
    f("classes", classes, "outputs", {1, 1 << 20});
    f("width", width, "channels of the first stage; the next two have twice and four times as many", {1, 4096});
    f("blocks", blocks, "residual blocks in each of the three stages", {1, 200});
    f("input", input, "height, width and channels of an image", {1, 4096});
  }
};

Graph small_resnet(const SmallResnetOptions& options) {
  CifarResnetOptions resnet;
  resnet.classes = options.classes;
  resnet.width = options.width;
  resnet.input = options.input;
  return cifar_resnet(options.blocks, resnet);
}

NIBBLE_REGISTER_MODEL(SmallResnetOptions, small_resnet, "small_resnet",
                      "A short residual network that trains within minutes.");

}  // namespace
}  // namespace nibble
