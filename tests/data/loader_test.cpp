#include "data/loader.h"

#include <malloc.h>

#include <atomic>
#include <cstring>
#include <set>

#include "tests/data/fixtures.h"
#include "tests/data/golden.h"

using namespace nibble;
using namespace nibble::data_test;

namespace {

/// Sample i is a 4x5 picture of the value i with label i; those of `bad` cannot be read.
class Counting final : public Dataset {
 public:
  explicit Counting(int64_t size, std::set<int64_t> bad = {}) : size_(size), bad_(std::move(bad)) {}
  int64_t size() const override { return size_; }
  Sample get(int64_t index) const override {
    NIBBLE_CHECK(bad_.count(index) == 0, "sample ", index, " is bad");
    return {{4, 5, std::vector<uint8_t>(60, static_cast<uint8_t>(index))}, static_cast<int>(index)};
  }

 private:
  int64_t size_;
  std::set<int64_t> bad_;
};

std::shared_ptr<DataSource> source(const std::string& more = "") {
  return make_source(R"({"type": "embedded", "train": 300, "test": 70, "mean": [0.5, 0.25, 0], "std": [0.5, 1, 2])" +
                     more + "}");
}

/// A tree of six classes of small pictures of several kinds, `count` in each; every `damaged`-th is cut off.
std::shared_ptr<DataSource> write_tree(const TempFolder& folder, int count, int damaged, const std::string& more) {
  const std::vector<const std::vector<uint8_t>*> kinds = {&golden::jpeg_rgb, &golden::jpeg_grey, &golden::jpeg_cmyk,
                                                          &golden::jpeg_progressive, &golden::png_rgb};
  for (int i = 0; i < 6 * count; ++i) {
    auto bytes = *kinds[static_cast<size_t>(i) % kinds.size()];
    if (damaged > 0 && i % damaged == 0) bytes.resize(bytes.size() / 2);
    for (const char* split : {"train", "val"})
      folder.write(concat_text(split, "/n", i % 6, "/", i / 6, ".JPEG"), bytes);
  }
  return make_source(R"({"type": "folder", "root": ")" + folder.path() + "\"" + more + "}");
}

std::vector<float> values(const Batch& batch) {
  const auto x = batch.images.data<float>();
  std::vector<float> all(x.begin(), x.end());
  for (const int32_t label : batch.labels.data<int32_t>()) all.push_back(static_cast<float>(label));
  return all;
}

std::vector<std::vector<float>> epoch_of(Loader& loader, int64_t epoch, int64_t first = 0) {
  std::vector<std::vector<float>> all;
  loader.start(epoch, first);
  for (Batch batch; loader.next(batch);) {
    CHECK(batch.index == first + static_cast<int64_t>(all.size()));
    all.push_back(values(batch));
  }
  return all;
}

}  // namespace

TEST_CASE("loader: what a batch holds does not depend on the number of workers or where the epoch was started") {
  const auto data = source(R"(, "augment": ["pad_crop", "flip"])");
  const auto train = data->open(Split::train);
  Loader reference(*data, train, {.batch = 32, .workers = 0, .train = true, .seed = 7});
  const auto first = epoch_of(reference, 0), third = epoch_of(reference, 2);
  REQUIRE(first.size() == 9);
  CHECK(first != third);
  for (const int workers : {1, 4})
    for (const int prefetch : {1, 3}) {
      Loader loader(*data, train, {.batch = 32, .workers = workers, .prefetch = prefetch, .train = true, .seed = 7});
      CHECK(epoch_of(loader, 0) == first);
      CHECK(epoch_of(loader, 2) == third);
      CHECK(epoch_of(loader, 2, 5) == std::vector(third.begin() + 5, third.end()));
      CHECK(epoch_of(loader, 2, 9).empty());
    }
  Loader other(*data, train, {.batch = 32, .workers = 2, .train = true, .seed = 8});
  CHECK(epoch_of(other, 0) != first);
}

TEST_CASE("loader: training visits every sample at most once, in an order of the epoch, and drops the rest") {
  const auto data = source();
  Loader loader(*data, std::make_shared<Counting>(103), {.batch = 10, .workers = 2, .train = true});
  CHECK(loader.batches_per_epoch() == 10);
  CHECK(loader.samples() == 103);
  std::vector<std::vector<int32_t>> orders;
  for (const int64_t epoch : {0, 1}) {
    loader.start(epoch);
    std::vector<int32_t> order;
    for (Batch batch; loader.next(batch);)
      for (const int32_t label : batch.labels.data<int32_t>()) order.push_back(label);
    CHECK(order.size() == 100);
    CHECK(std::set<int32_t>(order.begin(), order.end()).size() == 100);
    orders.push_back(order);
  }
  CHECK(orders[0] != orders[1]);
}

TEST_CASE("loader: evaluation keeps the order and the incomplete last batch, and normalises") {
  const auto data = source();
  Loader loader(*data, std::make_shared<Counting>(25), {.batch = 10, .workers = 3});
  CHECK(loader.batches_per_epoch() == 3);
  loader.start(0);
  Batch batch;
  for (int i = 0; i < 3; ++i) REQUIRE(loader.next(batch));
  CHECK(batch.images.shape() == Shape{5, 4, 5, 3});
  CHECK(batch.labels.data<int32_t>()[4] == 24);
  for (size_t i = 0; i < 60; i += 3) {
    const float v = 21 / 255.f;
    CHECK(batch.images.data<float>()[60 + i] == (v - 0.5f) / 0.5f);
    CHECK(batch.images.data<float>()[60 + i + 1] == (v - 0.25f) / 1.f);
    CHECK(batch.images.data<float>()[60 + i + 2] == v / 2.f);
  }
  CHECK_FALSE(loader.next(batch));
  CHECK_FALSE(loader.next(batch));
}

TEST_CASE("loader: the error of a worker arrives at its batch, and the loader can go on") {
  const auto data = source();
  for (const int workers : {0, 3}) {
    Loader loader(*data, std::make_shared<Counting>(40, std::set<int64_t>{17}),
                  {.batch = 8, .workers = workers, .prefetch = 2});
    loader.start(0);
    Batch batch;
    CHECK(loader.next(batch));
    CHECK(loader.next(batch));
    CHECK(mentions(error_of([&] { loader.next(batch); }), {"sample 17 is bad"}));
    CHECK(mentions(error_of([&] { loader.next(batch); }), {"sample 17 is bad"}));
    loader.start(0, 3);
    CHECK(loader.next(batch));
    CHECK(batch.labels.data<int32_t>()[0] == 24);
  }
}

TEST_CASE("loader: can be started again or destroyed while batches are under way") {
  const auto data = source(R"(, "augment": ["pad_crop"])");
  const auto train = data->open(Split::train);
  for (int i = 0; i < 20; ++i) {
    Loader loader(*data, train, {.batch = 16, .workers = 4, .prefetch = 6, .train = true});
    loader.start(i);
    Batch batch;
    if (i % 3 > 0) CHECK(loader.next(batch));
    if (i % 3 > 1) loader.start(i + 1, 4);
    if (i % 3 > 1) {
      CHECK(loader.next(batch));
      CHECK(batch.index == 4);
    }
  }
}

TEST_CASE("loader: what cannot work is refused with a reason") {
  const auto data = source();
  const auto tiny = std::make_shared<Counting>(5);
  Batch batch;
  CHECK(mentions(error_of([&] { Loader(*data, tiny, {.batch = 8, .train = true}); }), {"batch of 8", "5 samples"}));
  CHECK(mentions(error_of([&] { Loader(*data, std::make_shared<Counting>(0), {}); }), {"0 samples"}));
  CHECK(mentions(error_of([&] { Loader(*data, tiny, {}).next(batch); }), {"before start()"}));
  CHECK(mentions(error_of([&] { Loader(*data, tiny, {.batch = 2}).start(0, 4); }), {"batch 4 of 3"}));
  const auto cropped = source(R"(, "transform": ["center_crop"])");
  Loader loader(*cropped, tiny, {.workers = 1});
  loader.start(0);
  CHECK(mentions(error_of([&] { loader.next(batch); }), {"sample 0", "center_crop", "4x5"}));
}

TEST_CASE("prepare_image: an image of any size is brought to the size of the source's images") {
  const auto data = source();
  const auto test = data->open(Split::test);
  Loader loader(*data, test, {.batch = 1, .workers = 0});
  loader.start(0);
  Batch batch;
  REQUIRE(loader.next(batch));
  const Tensor same = prepare_image(*data, test->get(0).image);
  CHECK(same.shape() == Shape{1, 32, 32, 3});
  CHECK(std::memcmp(same.raw(), batch.images.raw(), same.bytes()) == 0);
  CHECK(prepare_image(*data, pattern(50, 90)).shape() == Shape{1, 32, 32, 3});
}

TEST_CASE("loader: samples that cannot be read are left out, named once and counted, up to the limit") {
  const auto data = source(R"(, "skip_unreadable": 3)");
  const auto set = std::make_shared<Counting>(20, std::set<int64_t>{2, 3, 13});
  for (const int workers : {0, 1, 4}) {
    std::vector<std::string> told;
    const auto hear = [&told](const std::string& text) { told.push_back(text); };
    Loader loader(*data, set, {.batch = 5, .workers = workers, .notice = hear});
    for (int epoch = 0; epoch < 2; ++epoch) {
      std::vector<int64_t> sizes, labels;
      loader.start(epoch);
      for (Batch batch; loader.next(batch);) {
        sizes.push_back(batch.labels.numel());
        CHECK(batch.images.shape() == Shape{batch.labels.numel(), 4, 5, 3});
        for (int64_t i = 0; i < batch.labels.numel(); ++i) {
          labels.push_back(batch.labels.data<int32_t>()[static_cast<size_t>(i)]);
          CHECK(batch.images.data<float>()[static_cast<size_t>(i * 60 + 2)] ==
                static_cast<float>(labels.back()) / 255.f / 2.f);
        }
      }
      CHECK(sizes == std::vector<int64_t>{3, 5, 4, 5});
      CHECK(std::set<int64_t>(labels.begin(), labels.end()).size() == 17);
    }
    REQUIRE(told.size() == 3);
    CHECK(mentions(told[0], {"sample 2 is bad", "1 of at most 3"}));
    CHECK(mentions(told[2], {"sample 13 is bad", "3 of at most 3"}));

    Loader deaf(*data, set, {.batch = 5, .workers = workers});
    Batch batch;
    deaf.start(0);
    CHECK(mentions(error_of([&] { deaf.next(batch); }), {"sample 2 is bad"}));
  }
}

TEST_CASE("loader: one unreadable sample too many is an error that counts them, at its batch") {
  const auto data = source(R"(, "skip_unreadable": 2)");
  for (const int workers : {0, 1, 4}) {
    std::vector<std::string> told;
    Loader loader(
        *data, std::make_shared<Counting>(20, std::set<int64_t>{2, 3, 13}),
        {.batch = 5, .workers = workers, .notice = [&told](const std::string& text) { told.push_back(text); }});
    loader.start(0);
    Batch batch;
    CHECK(loader.next(batch));
    CHECK(loader.next(batch));
    for (int again = 0; again < 2; ++again)
      CHECK(mentions(error_of([&] { loader.next(batch); }),
                     {"3 of 20 images", "'skip_unreadable' allows (2)", "sample 13 is bad"}));
    CHECK(told.size() == 2);
  }
}

TEST_CASE("loader: a batch of which nothing can be read is passed over in evaluation and an error in training") {
  const auto data = source(R"(, "skip_unreadable": 9)");
  const auto set = std::make_shared<Counting>(9, std::set<int64_t>{3, 4, 5});
  const auto ignore = [](const std::string&) {};
  Batch batch;
  for (const int workers : {0, 2}) {
    Loader loader(*data, set, {.batch = 3, .workers = workers, .notice = ignore});
    loader.start(0);
    CHECK(loader.next(batch));
    CHECK(loader.next(batch));
    CHECK(batch.index == 2);
    CHECK_FALSE(loader.next(batch));
    const auto none = std::make_shared<Counting>(3, std::set<int64_t>{0, 1, 2});
    Loader train(*data, none, {.batch = 2, .workers = workers, .train = true, .notice = ignore});
    train.start(0);
    CHECK(mentions(error_of([&] { train.next(batch); }), {"none of the 2 images", "is bad"}));
  }
}

TEST_CASE("loader: a tree of grey, CMYK and damaged files gives the same bits with 1 and 4 workers") {
  const TempFolder folder;
  const auto data =
      write_tree(folder, 20, 37,
                 R"(, "augment": [{"type": "random_resized_crop", "size": 10}, "color_jitter", "lighting", "flip"],
                    "transform": [{"type": "resize", "size": 12}, {"type": "center_crop", "size": 9}],
                    "skip_unreadable": 4)");
  for (const bool train : {true, false}) {
    const auto set = data->open(train ? Split::train : Split::test);
    std::vector<std::string> first_told;
    std::vector<std::vector<float>> first;
    for (const int workers : {1, 4, 0}) {
      std::vector<std::string> told;
      Loader loader(*data, set,
                    {.batch = 16, .workers = workers, .train = train, .notice = [&](const std::string& text) {
                       told.push_back(text);
                     }});
      const auto batches = epoch_of(loader, 3);
      if (workers == 1) {
        first = batches;
        first_told = told;
        CHECK(told.size() >= 3);
        CHECK(mentions(told[0], {folder.path(), ".JPEG", "damaged"}));
      }
      CHECK(batches == first);
      CHECK(told == first_told);
    }
  }
}

TEST_CASE("loader: files that vanish during the epoch end in an error that names one, whatever waits") {
  for (const int limit : {0, 5})
    for (const int workers : {0, 1, 4}) {
      const TempFolder folder;
      const auto data = write_tree(folder, 20, 0,
                                   R"(, "augment": [{"type": "resize", "size": 8, "keep_aspect": false}],
                                      "skip_unreadable": )" +
                                       std::to_string(limit));
      Loader loader(
          *data, data->open(Split::train),
          {.batch = 8, .workers = workers, .prefetch = 2, .train = true, .notice = [](const std::string&) {}});
      loader.start(0);
      Batch batch;
      CHECK(loader.next(batch));
      std::filesystem::remove_all(folder.path() + "/train");
      const std::string message = error_of([&] {
        while (loader.next(batch)) {
        }
      });
      CHECK(mentions(message, {folder.path() + "/train/n", ".JPEG", "No such file"}));
      if (limit > 0) CHECK(mentions(message, {"'skip_unreadable' allows (5)"}));
    }
}

TEST_CASE("loader: epochs over thousands of files leave no memory behind") {
  const TempFolder folder;
  const auto data = write_tree(folder, 400, 0, R"(, "augment": [{"type": "random_resized_crop", "size": 16}])");
  Loader loader(*data, data->open(Split::train), {.batch = 64, .workers = 2, .train = true});
  const auto in_use = [] {  // bytes, of all arenas; a sanitizer's own allocator finds leaks itself
    const struct mallinfo2 info = mallinfo2();
    return static_cast<int64_t>(info.uordblks + info.hblkhd);
  };
  const auto run = [&](int64_t epoch) {
    int64_t images = 0;
    loader.start(epoch);
    for (Batch batch; loader.next(batch);) images += batch.labels.numel();
    return images;
  };
  CHECK(run(0) == 37 * 64);
  const int64_t before = in_use();
  for (int64_t epoch = 1; epoch < 5; ++epoch) run(epoch);
  CHECK(in_use() - before < 2 << 20);  // the 9,472 files alone have 5 MB of pixels
}
