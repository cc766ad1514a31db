#include "data/cifar.h"

#include <algorithm>
#include <filesystem>

#include "core/file.h"
#include "data/dataset.h"
#include "data/locate.h"

namespace nibble {
namespace {

constexpr int kSide = 32;
constexpr int64_t kPlane = kSide * kSide, kImage = 3 * kPlane;

constexpr const char* kRootDoc =
    "folder of the files, or its parent; a relative one is looked up from the current folder, then under "
    "$NIBBLE_DATA; if empty, the current folder, datasets, data-cache and $NIBBLE_DATA are searched";

/// What distinguishes CIFAR-10 from CIFAR-100.
struct Variant {
  std::string name, folder, hint;
  CifarFormat format;
  std::vector<std::string> train, test;
  int64_t train_records, test_records;  ///< per file, in the official archive
};

int64_t record_length(const CifarFormat& format) { return format.label_bytes + kImage; }

class CifarDataset final : public Dataset {
 public:
  explicit CifarDataset(CifarRecords records) : records_(std::move(records)) {}
  int64_t size() const override { return static_cast<int64_t>(records_.labels.size()); }
  Sample get(int64_t index) const override {
    NIBBLE_CHECK(index >= 0 && index < size(), "cifar: sample ", index, " of ", size());
    const auto first = records_.pixels.begin() + index * kImage;
    return {{kSide, kSide, std::vector<uint8_t>(first, first + kImage)}, records_.labels[static_cast<size_t>(index)]};
  }

 private:
  CifarRecords records_;
};

/// A set whose files have their official length but for one has lost data even if what is left are whole records.
void check_lengths(const Variant& variant, const std::string& folder) {
  std::vector<std::pair<std::string, int64_t>> expected;
  for (const auto& file : variant.train) expected.emplace_back(folder + "/" + file, variant.train_records);
  for (const auto& file : variant.test) expected.emplace_back(folder + "/" + file, variant.test_records);
  const auto length = [](const std::string& path) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path, error);
    return error ? int64_t{-1} : static_cast<int64_t>(bytes);
  };
  const auto official = [&](const auto& file) {
    return length(file.first) == file.second * record_length(variant.format);
  };
  const auto whole = std::find_if(expected.begin(), expected.end(), official);
  if (whole == expected.end()) return;
  for (const auto& file : expected) {
    const int64_t bytes = length(file.first);
    NIBBLE_CHECK(bytes < 0 || official(file), file.first, ": expected ", file.second, " records of ",
                 record_length(variant.format), " bytes as in the official archive (", whole->first,
                 " beside it has that length), found ", bytes, " bytes: the file is truncated or damaged");
  }
}

std::shared_ptr<const Dataset> open_cifar(const Variant& variant, const std::string& root, int64_t limit, Split split) {
  const std::vector<std::string>& files = split == Split::train ? variant.train : variant.test;
  const std::string folder = locate(
      {.who = variant.name, .root = root, .subfolder = variant.folder, .file = files.front(), .hint = variant.hint});
  check_lengths(variant, folder);
  CifarRecords all;
  for (const std::string& file : files) {
    const std::string path = folder + "/" + file;
    const std::vector<std::byte> bytes = read_file(path);
    const int64_t left = limit == 0 ? 0 : limit - static_cast<int64_t>(all.labels.size());
    if (limit != 0 && left <= 0) break;
    CifarRecords part =
        parse_cifar({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, variant.format, path, left);
    if (all.labels.empty()) all.pixels.reserve(part.pixels.size() * (limit == 0 ? files.size() : 1));
    all.pixels.insert(all.pixels.end(), part.pixels.begin(), part.pixels.end());
    all.labels.insert(all.labels.end(), part.labels.begin(), part.labels.end());
  }
  return std::make_shared<CifarDataset>(std::move(all));
}

class Cifar10 final : public DataSource {
 public:
  struct Options : DataOptions {
    Options() {
      mean = {0.4914, 0.4822, 0.4465};
      std = {0.2470, 0.2435, 0.2616};
    }
    std::string root;
    int64_t limit = 0;
    void fields(Fields& f) {
      f("root", root, kRootDoc);
      f("limit", limit, "use only the first so many images of each split; 0 means all", kNonNegative);
      DataOptions::fields(f);
    }
  };
  explicit Cifar10(const Options& options) : options_(options) { options_.check(); }
  const DataOptions& options() const override { return options_; }
  std::shared_ptr<const Dataset> open(Split split) const override {
    const Variant variant{
        .name = "cifar10",
        .folder = "cifar-10-batches-bin",
        .hint = "get it with: bash data/get_cifar10.sh",
        .format = {},
        .train = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
        .test = {"test_batch.bin"},
        .train_records = 10000,
        .test_records = 10000};
    return open_cifar(variant, options_.root, options_.limit, split);
  }
  std::vector<std::string> class_names() const override {
    return {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  }
  int classes() const override { return 10; }
  int side() const override { return kSide; }
  Json config() const override { return write_options(options_); }

 private:
  Options options_;
};
NIBBLE_REGISTER_DATA(Cifar10, "cifar10", "CIFAR-10, binary version: 50,000 and 10,000 colour images of 32x32");

class Cifar100 final : public DataSource {
 public:
  struct Options : DataOptions {
    Options() {
      mean = {0.5071, 0.4865, 0.4409};
      std = {0.2673, 0.2564, 0.2762};
    }
    std::string root, labels = "fine";
    int64_t limit = 0;
    void fields(Fields& f) {
      f("root", root, kRootDoc);
      f.choice("labels", labels, {"fine", "coarse"}, "100 classes or their 20 groups");
      f("limit", limit, "use only the first so many images of each split; 0 means all", kNonNegative);
      DataOptions::fields(f);
    }
  };
  explicit Cifar100(const Options& options) : options_(options) { options_.check(); }
  const DataOptions& options() const override { return options_; }
  std::shared_ptr<const Dataset> open(Split split) const override {
    const Variant variant{.name = "cifar100",
                          .folder = "cifar-100-binary",
                          .hint = "unpack https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz there",
                          .format = {.label_bytes = 2, .label_at = coarse() ? 0 : 1, .classes = {20, 100}},
                          .train = {"train.bin"},
                          .test = {"test.bin"},
                          .train_records = 50000,
                          .test_records = 10000};
    return open_cifar(variant, options_.root, options_.limit, split);
  }
  std::vector<std::string> class_names() const override;
  int classes() const override { return coarse() ? 20 : 100; }
  int side() const override { return kSide; }
  Json config() const override { return write_options(options_); }

 private:
  bool coarse() const { return options_.labels == "coarse"; }
  Options options_;
};
NIBBLE_REGISTER_DATA(Cifar100, "cifar100", "CIFAR-100, binary version: 50,000 and 10,000 colour images of 32x32");

std::vector<std::string> Cifar100::class_names() const {
  if (coarse())
    return {"aquatic mammals",
            "fish",
            "flowers",
            "food containers",
            "fruit and vegetables",
            "household electrical devices",
            "household furniture",
            "insects",
            "large carnivores",
            "large man-made outdoor things",
            "large natural outdoor scenes",
            "large omnivores and herbivores",
            "medium-sized mammals",
            "non-insect invertebrates",
            "people",
            "reptiles",
            "small mammals",
            "trees",
            "vehicles 1",
            "vehicles 2"};
  return {"apple",      "aquarium fish", "baby",         "bear",       "beaver",      "bed",         "bee",
          "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
          "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
          "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
          "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
          "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn mower",
          "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple tree",  "motorcycle",
          "mountain",   "mouse",         "mushroom",     "oak tree",   "orange",      "orchid",      "otter",
          "palm tree",  "pear",          "pickup truck", "pine tree",  "plain",       "plate",       "poppy",
          "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
          "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
          "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet pepper",
          "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
          "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow tree", "wolf",
          "woman",      "worm"};
}

}  // namespace

CifarRecords parse_cifar(std::span<const uint8_t> bytes, const CifarFormat& format, const std::string& name,
                         int64_t limit) {
  const int64_t record = record_length(format), length = static_cast<int64_t>(bytes.size()), count = length / record;
  NIBBLE_CHECK(length > 0 && length % record == 0, name, ": expected a multiple of ", record,
               " bytes (one record), found ", length, " bytes = ", count, " records and ", length % record,
               " bytes: the file is truncated or no CIFAR file of this kind");
  for (int64_t r = 0; r < count; ++r)
    for (int b = 0; b < format.label_bytes; ++b) {
      const int label = bytes[static_cast<size_t>(r * record + b)], classes = format.classes[static_cast<size_t>(b)];
      NIBBLE_CHECK(label < classes, name, ": record ", r, " (byte offset ", r * record + b,
                   "): expected a label of 0 to ", classes - 1, ", found ", label,
                   ": the file is damaged or no CIFAR file of this kind");
    }
  const int64_t used = limit == 0 ? count : std::min(count, limit);
  CifarRecords out;
  out.pixels.resize(static_cast<size_t>(used * kImage));
  out.labels.resize(static_cast<size_t>(used));
  for (int64_t r = 0; r < used; ++r) {
    const uint8_t* from = bytes.data() + r * record;
    out.labels[static_cast<size_t>(r)] = from[format.label_at];
    from += format.label_bytes;
    uint8_t* to = out.pixels.data() + r * kImage;
    for (int64_t i = 0; i < kPlane; ++i)
      for (int64_t c = 0; c < 3; ++c) to[i * 3 + c] = from[c * kPlane + i];
  }
  return out;
}

}  // namespace nibble
