#include "apps/bench_data.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <ostream>

#include "apps/median.h"
#include "apps/table.h"
#include "core/error.h"
#include "core/rng.h"
#include "data/loader.h"
#include "data/normalise.h"
#include "data/transform.h"

namespace nibble {
namespace {

constexpr int kPasses = 5;

class Stopwatch {
 public:
  /// Seconds since the last call.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Seconds per image of one pass: reading and decoding, transforms, normalising, and all of it.
using Times = std::array<double, 4>;

Times one_pass(const Dataset& dataset, const std::vector<int64_t>& chosen, const Pipeline& pipeline,
               const Normalise& normalise, double& pixels) {
  Times times{};
  std::vector<float> out;
  pixels = 0;
  for (const int64_t index : chosen) {
    Stopwatch watch;
    Image image = dataset.get(index).image;
    times[0] += watch.lap();
    pixels += static_cast<double>(image.height) * image.width;
    watch.lap();
    image = pipeline.apply(std::move(image), Rng(1).child(static_cast<uint64_t>(index)));
    times[1] += watch.lap();
    out.resize(image.pixels.size());
    watch.lap();
    normalise(image, out.data());
    times[2] += watch.lap();
  }
  const auto count = static_cast<double>(chosen.size());
  pixels /= count;
  for (size_t k = 0; k < 3; ++k) {
    times[k] /= count;
    times[3] += times[k];
  }
  return times;
}

Json row_of(const std::string& name, const std::vector<Times>& passes) {
  const auto middle = [&passes](size_t part) {
    std::vector<double> values;
    for (const Times& times : passes) values.push_back(times[part]);
    return median(values);
  };
  return {{"prepare", name},
          {"read_seconds", middle(0)},
          {"transform_seconds", middle(1)},
          {"normalise_seconds", middle(2)},
          {"images_per_second", 1 / middle(3)}};
}

/// The same images through a Loader with the source's workers, the order of training.
class Chosen final : public Dataset {
 public:
  Chosen(std::shared_ptr<const Dataset> all, std::vector<int64_t> indices)
      : all_(std::move(all)), indices_(std::move(indices)) {}
  int64_t size() const override { return std::ssize(indices_); }
  Sample get(int64_t index) const override { return all_->get(indices_[static_cast<size_t>(index)]); }

 private:
  std::shared_ptr<const Dataset> all_;
  std::vector<int64_t> indices_;
};

Json time_loader(const DataSource& source, const std::shared_ptr<const Dataset>& dataset,
                 const std::vector<int64_t>& chosen) {
  Loader::Options options;
  options.batch = static_cast<int>(std::min<int64_t>(source.options().batch, std::ssize(chosen)));
  options.workers = source.options().workers;
  options.prefetch = source.options().prefetch;
  options.train = true;
  Loader loader(source, std::make_shared<Chosen>(dataset, chosen), options);
  std::vector<double> rates;
  for (int pass = 0; pass < kPasses; ++pass) {
    Stopwatch watch;
    int64_t images = 0;
    loader.start(pass);
    for (Batch batch; loader.next(batch);) images += batch.labels.numel();
    rates.push_back(static_cast<double>(images) / watch.lap());
  }
  return {{"workers", options.workers}, {"images_per_second", median(rates)}};
}

std::string text_of(const char* format, double value) {
  char text[60];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

Json imagenet_section(const std::string& folder) {
  const bool has_train = std::filesystem::is_directory(folder + "/train");
  return {{"type", "folder"},
          {"root", folder},
          {"train", has_train ? "train" : "val"},
          {"augment", {"random_resized_crop", "flip"}},
          {"transform", {{{"type", "resize"}, {"size", 256}}, {{"type", "center_crop"}, {"size", 224}}}}};
}

Json bench_data(DataSource& source, int64_t images, Progress& progress) {
  Stopwatch watch;
  const std::shared_ptr<const Dataset> dataset = source.open(Split::train);
  const double open_seconds = watch.lap();
  NIBBLE_CHECK(dataset->size() > 0, "bench data: the training split is empty");
  std::vector<int64_t> chosen;
  const Rng rng(1);
  for (int64_t i = 0; i < images; ++i)  // every image of a small set, some of a large one, once around or more
    chosen.push_back(
        dataset->size() <= images
            ? i % dataset->size()
            : static_cast<int64_t>(rng.below(static_cast<uint64_t>(i), static_cast<uint32_t>(dataset->size()))));
  const Normalise normalise(source.options());
  const std::array<std::pair<const char*, Pipeline>, 2> prepare = {
      std::pair<const char*, Pipeline>("augment", Pipeline(source.options().augment)),
      std::pair<const char*, Pipeline>("transform", Pipeline(source.options().transform))};
  std::array<std::vector<Times>, 2> passes;
  double pixels = 0;
  progress.start("bench data", kPasses);
  for (int pass = 0; pass < kPasses; ++pass) {
    for (size_t k = 0; k < 2; ++k)
      passes[k].push_back(one_pass(*dataset, chosen, prepare[k].second, normalise, pixels));
    progress.update(pass + 1, "");
  }
  Json json = {{"open_seconds", open_seconds},
               {"samples", dataset->size()},
               {"images", images},
               {"pixels", pixels},
               {"rows", Json::array()}};
  for (size_t k = 0; k < 2; ++k) json["rows"].push_back(row_of(prepare[k].first, passes[k]));
  json["loader"] = time_loader(source, dataset, chosen);
  progress.clear();
  return json;
}

void print_data(const Json& json, std::ostream& out) {
  out << json["samples"].get<int64_t>() << " images listed in "
      << text_of("%.3f s; timed on ", json["open_seconds"].get<double>()) << json["images"].get<int64_t>()
      << text_of(" of %.0f pixels, one core:\n", json["pixels"].get<double>());
  Table table({"prepare", "read ms", "transform ms", "normalise ms", "images/s"}, {1, 2, 3, 4});
  for (const Json& row : json["rows"]) {
    const auto real = [&row](const char* key) { return row[key].get<double>(); };
    table.add({row["prepare"].get<std::string>(), text_of("%.3f", 1e3 * real("read_seconds")),
               text_of("%.3f", 1e3 * real("transform_seconds")), text_of("%.3f", 1e3 * real("normalise_seconds")),
               text_of("%.0f", real("images_per_second"))});
  }
  table.print(out);
  out << "loader with " << json["loader"]["workers"].get<int>()
      << " workers: " << text_of("%.0f images/s\n", json["loader"]["images_per_second"].get<double>());
}

}  // namespace nibble
