#include "layers/models/vgg_small.h"

#include "layers/model.h"

namespace nibble {

void SmallVggOptions::fields(Fields& f) {
  f("classes", classes, "outputs", {1, 1 << 20});
  f("width", width,
    "channels of the first stage; the next two have twice and four times as many, hidden layers eight times",
    {1, 4096});
  f.choice("activation", activation, {"relu", "none"},
           "none leaves the ReLUs out: for activation quantizers that take the sign themselves");
  f.choice("init", init, {"he_fan_in", "he_fan_out", "xavier", "uniform"},
           "how the weights are drawn; uniform: from [-1, 1)");
  f("input", input, "height, width and channels of an image", {1, 4096});
  batch_norm_fields(f, bn_momentum, bn_epsilon);
}

void VggSmallOptions::fields(Fields& f) {
  SmallVggOptions::fields(f);
  f.choice("affine", affine, {"all", "last"}, "which batch norms learn scale and offset; HWGQ: the last one only");
}

std::string small_vgg_features(NetworkBuilder& builder, int width, bool bias, const std::string& affine) {
  std::string x = "input";
  for (int stage = 1; stage <= 3; ++stage) {
    for (int i = 1; i <= 2; ++i) {
      const std::string id = std::to_string(stage) + "_" + std::to_string(i);
      const bool last = stage == 3 && i == 2;
      x = builder.conv("conv" + id, x, {.out = width << (stage - 1), .bias = bias});
      if (i == 2) x = builder.max_pool("pool" + std::to_string(stage), x, {});
      x = builder.bn_act("bn" + id, "relu" + id, x, affine == "all" || last);
    }
  }
  return builder.flatten("flatten", x);
}

Graph vgg_small(const VggSmallOptions& options) {
  NetworkBuilder builder(options.input, options.style());
  const std::string x = small_vgg_features(builder, options.width, false, options.affine);
  builder.linear("fc", x, {.out = options.classes});
  return builder.take();
}

namespace {
NIBBLE_REGISTER_MODEL(VggSmallOptions, vgg_small, "vgg_small", "VGG-Small for 32x32 images.");
}  // namespace

}  // namespace nibble
