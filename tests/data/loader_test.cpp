#include "data/loader.h"

#include <atomic>
#include <cstring>
#include <set>

#include "tests/data/fixtures.h"

using namespace nibble;
using namespace nibble::data_test;

namespace {

/// Sample i is a 4x5 picture of the value i with label i; `bad` cannot be read.
class Counting final : public Dataset {
 public:
  explicit Counting(int64_t size, int64_t bad = -1) : size_(size), bad_(bad) {}
  int64_t size() const override { return size_; }
  Sample get(int64_t index) const override {
    NIBBLE_CHECK(index != bad_, "sample ", index, " is bad");
    return {{4, 5, std::vector<uint8_t>(60, static_cast<uint8_t>(index))}, static_cast<int>(index)};
  }

 private:
  int64_t size_, bad_;
};

std::shared_ptr<DataSource> source(const std::string& more = "") {
  return make_source(R"({"type": "embedded", "train": 300, "test": 70, "mean": [0.5, 0.25, 0], "std": [0.5, 1, 2])" +
                     more + "}");
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
    Loader loader(*data, std::make_shared<Counting>(40, 17), {.batch = 8, .workers = workers, .prefetch = 2});
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
