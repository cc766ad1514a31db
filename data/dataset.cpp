#include "data/dataset.h"

#include "data/transform.h"

namespace nibble {

void DataOptions::fields(Fields& f) {
  f("batch", batch, "images per training step", {1, 65536});
  f("eval_batch", eval_batch, "images per evaluation step", {1, 65536});
  f("workers", workers, "threads that decode and augment ahead of the training step; 0 does it in between", {0, 256});
  f("prefetch", prefetch, "batches prepared ahead", {1, 1024});
  f("skip_unreadable", skip_unreadable,
    "images that may be left out, each of them named, because their file is missing or damaged; one more is an error",
    {0, 1 << 30});
  f("mean", mean, "subtracted from pixels / 255, one value per channel (red, green, blue)", {-10, 10});
  f("std", std, "what the difference is divided by, one value per channel", {0, 100, true});
  f.raw("augment", augment, "a list of transforms", "applied in order to training images; names or objects");
  f.raw("transform", transform, "a list of transforms", "applied in order to evaluation images; names or objects");
}

void DataOptions::check() const {
  NIBBLE_CHECK(mean.size() == 3, "data: 'mean' expects 3 values (red, green, blue), got ", mean.size());
  NIBBLE_CHECK(std.size() == 3, "data: 'std' expects 3 values (red, green, blue), got ", std.size());
  Pipeline{augment};
  if (Pipeline{transform}.random())
    transform.fail("a transform that draws random numbers cannot prepare evaluation images; it belongs in 'augment'");
}

}  // namespace nibble
