#include "layers/models/vgg_small.h"

#include "layers/model.h"
#include "layers/models/image_shape.h"

namespace nibble {

void VggSmallOptions::fields(Fields& f) {
  f("classes", classes, "outputs", {1, 1 << 20});
  f("width", width, "channels of the first stage; the next two have twice and four times as many", {1, 4096});
  f.choice("affine", affine, {"all", "last"}, "which batch norms learn scale and offset; HWGQ: the last one only");
  f.choice("init", init, {"he_fan_in", "he_fan_out", "xavier"}, "how the weights are drawn");
  f("input", input, "height, width and channels of an image", {1, 4096});
}

Graph vgg_small(const VggSmallOptions& options) {
  Graph graph(image_shape(options.input));
  NIBBLE_CHECK(options.input[0] >= 8 && options.input[1] >= 8,
               "input: three poolings need an image of at least 8 x 8 pixels");
  std::string x = "input";
  int channels = options.input[2];
  for (int stage = 1; stage <= 3; ++stage) {
    const int out = options.width << (stage - 1);
    for (int i = 1; i <= 2; ++i) {
      const std::string id = std::to_string(stage) + "_" + std::to_string(i);
      const bool affine = options.affine == "all" || (stage == 3 && i == 2);
      const Json conv{{"type", "conv2d"}, {"in", channels}, {"out", out},          {"kernel", 3},
                      {"pad", 1},         {"bias", false},  {"init", options.init}};
      x = graph.add("conv" + id, conv, {x});
      if (i == 2) x = graph.add("pool" + std::to_string(stage), {{"type", "max_pool"}, {"kernel", 2}}, {x});
      x = graph.add("bn" + id, {{"type", "batch_norm"}, {"channels", out}, {"scale", affine}, {"offset", affine}}, {x});
      x = graph.add("relu" + id, {{"type", "relu"}}, {x});
      channels = out;
    }
  }
  x = graph.add("flatten", {{"type", "flatten"}}, {x});
  const int features = (options.input[0] / 8) * (options.input[1] / 8) * channels;
  graph.add("fc", {{"type", "linear"}, {"in", features}, {"out", options.classes}, {"init", options.init}}, {x});
  return graph;
}

namespace {
NIBBLE_REGISTER_MODEL(VggSmallOptions, vgg_small, "vgg_small", "VGG-Small for 32x32 images.");
}  // namespace

}  // namespace nibble
