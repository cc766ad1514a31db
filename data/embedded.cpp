#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "data/dataset.h"
#include "data/drawing.h"

namespace nibble {
namespace {

/// Drawn when opened; labels go round, so that every class is equally frequent.
class EmbeddedDataset final : public Dataset {
 public:
  EmbeddedDataset(int64_t size, const Rng& rng) : images_(static_cast<size_t>(size)) {
    parallel_for(0, size, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        images_[static_cast<size_t>(i)] =
            draw_figure(static_cast<Figure>(i % kFigures), rng.child(static_cast<uint64_t>(i)));
    });
  }
  int64_t size() const override { return static_cast<int64_t>(images_.size()); }
  Sample get(int64_t index) const override {
    NIBBLE_CHECK(index >= 0 && index < size(), "embedded: sample ", index, " of ", size());
    return {images_[static_cast<size_t>(index)], static_cast<int>(index % kFigures)};
  }

 private:
  std::vector<Image> images_;
};

class Embedded final : public DataSource {
 public:
  struct Options : DataOptions {
    int64_t train = 10000, test = 2000;
    uint64_t seed = 1;
    void fields(Fields& f) {
      constexpr double most = 1 << 20;
      f("train", train, "training images", {1, most});
      f("test", test, "evaluation images", {1, most});
      f("seed", seed, "of the drawings");
      DataOptions::fields(f);
    }
  };
  explicit Embedded(const Options& options) : options_(options) { options_.check(); }
  const DataOptions& options() const override { return options_; }
  std::shared_ptr<const Dataset> open(Split split) const override {
    const Rng rng = Rng(options_.seed).named(split == Split::train ? "train" : "test");
    return std::make_shared<EmbeddedDataset>(split == Split::train ? options_.train : options_.test, rng);
  }
  std::vector<std::string> class_names() const override { return {kFigureNames.begin(), kFigureNames.end()}; }
  int classes() const override { return kFigures; }
  int side() const override { return 32; }
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
};
NIBBLE_REGISTER_DATA(Embedded, "embedded", "drawn by the program: ten kinds of figures, 32x32 colour images, no files");

}  // namespace
}  // namespace nibble
