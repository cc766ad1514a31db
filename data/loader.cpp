#include "data/loader.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>

#include "core/rng.h"
#include "data/resize.h"
#include "data/transform.h"

namespace nibble {
namespace {

/// (pixel / 255 - mean) / std in f32, by table.
class Normalise {
 public:
  explicit Normalise(const DataOptions& options) {
    options.check();
    for (size_t c = 0; c < 3; ++c)
      for (size_t v = 0; v < 256; ++v)
        table_[c][v] =
            (static_cast<float>(v) / 255.f - static_cast<float>(options.mean[c])) / static_cast<float>(options.std[c]);
  }
  void operator()(const Image& image, float* out) const {
    for (size_t i = 0; i < image.pixels.size(); i += 3)
      for (size_t c = 0; c < 3; ++c) out[i + c] = table_[c][image.pixels[i + c]];
  }

 private:
  std::array<std::array<float, 256>, 3> table_;
};

using Order = std::vector<uint32_t>;

/// Fisher-Yates by (seed, epoch).
Order shuffled(int64_t size, const Rng& rng) {
  Order order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0u);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i, static_cast<uint32_t>(i))]);
  return order;
}

}  // namespace

struct Loader::Impl {
  /// One batch of the queue: asked for, then filled by a worker.
  struct Slot {
    int64_t batch = 0;
    bool ready = false;
    Batch result;
    std::exception_ptr error;
  };
  /// An epoch; workers keep the one they work for, and what they make for an old one is dropped.
  struct Epoch {
    int64_t number = 0;
    Order order;  ///< empty: as stored
    std::deque<std::shared_ptr<Slot>> queue;
    int64_t next_to_queue = 0;
  };

  Impl(const DataSource& source, std::shared_ptr<const Dataset> set, const Options& o)
      : options(o),
        dataset(std::move(set)),
        pipeline(o.train ? source.options().augment : source.options().transform),
        normalise(source.options()),
        size(dataset->size()) {
    NIBBLE_CHECK(o.batch > 0 && o.workers >= 0 && o.prefetch > 0, "loader: expected batch > 0, workers >= 0 and ",
                 "prefetch > 0, got ", o.batch, ", ", o.workers, " and ", o.prefetch);
    NIBBLE_CHECK(size > 0 && size < int64_t{1} << 32, "loader: the dataset has ", size, " samples");
    NIBBLE_CHECK(!o.train || size >= o.batch, "loader: a batch of ", o.batch, " is larger than the training set of ",
                 size, " samples");
    try {
      for (int i = 0; i < o.workers; ++i) workers.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      stop();
      throw Error(concat_text("loader: cannot start ", o.workers, " worker threads: ", error.what()));
    }
  }
  ~Impl() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      wake_workers.notify_all();
    }
    for (std::thread& worker : workers) worker.join();
  }

  int64_t batches() const { return options.train ? size / options.batch : (size + options.batch - 1) / options.batch; }

  Image sample(const Epoch& of, int64_t position, int& label) const {
    const int64_t index = of.order.empty() ? position : of.order[static_cast<size_t>(position)];
    Sample raw = dataset->get(index);
    label = raw.label;
    const Rng rng = Rng(options.seed).named("augment").child(static_cast<uint64_t>(of.number));
    try {
      return pipeline.apply(std::move(raw.image), rng.child(static_cast<uint64_t>(index)));
    } catch (const Error& error) {
      throw Error(concat_text("sample ", index, ": ", error.what()));
    }
  }

  Batch make(const Epoch& of, int64_t number) const {
    const int64_t first = number * options.batch, count = std::min<int64_t>(options.batch, size - first);
    Batch batch;
    batch.index = number;
    batch.labels = Tensor::empty({count}, DType::i32);
    int height = 0, width = 0;
    for (int64_t i = 0; i < count; ++i) {
      int label = 0;
      const Image image = sample(of, first + i, label);
      if (i == 0) {
        height = image.height, width = image.width;
        batch.images = Tensor::empty({count, height, width, 3});
      }
      NIBBLE_CHECK(image.height == height && image.width == width, "loader: images of one batch have the sizes ",
                   height, "x", width, " and ", image.height, "x", image.width,
                   "; put a transform that makes them equal ('resize' and 'center_crop') into '",
                   options.train ? "augment" : "transform", "'");
      batch.labels.mutable_data<int32_t>()[static_cast<size_t>(i)] = label;
      normalise(image, batch.images.mutable_data<float>().data() + i * height * width * 3);
    }
    return batch;
  }

  /// Queues batches until `prefetch` are waiting. Called with the mutex held.
  void refill() {
    while (epoch->next_to_queue < batches() && static_cast<int>(epoch->queue.size()) < options.prefetch) {
      auto slot = std::make_shared<Slot>();
      slot->batch = epoch->next_to_queue++;
      epoch->queue.push_back(slot);
      todo.emplace_back(epoch, std::move(slot));
      wake_workers.notify_one();
    }
  }

  void work() {
    std::unique_lock lock(mutex);
    while (true) {
      wake_workers.wait(lock, [this] { return stopping || !todo.empty(); });
      if (stopping) return;
      const std::shared_ptr<const Epoch> of = todo.front().first;
      const std::shared_ptr<Slot> slot = todo.front().second;
      todo.pop_front();
      lock.unlock();
      Batch result;
      std::exception_ptr error;
      try {
        result = make(*of, slot->batch);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      slot->result = std::move(result);
      slot->error = error;
      slot->ready = true;
      wake_reader.notify_one();
    }
  }

  const Options options;
  const std::shared_ptr<const Dataset> dataset;
  const Pipeline pipeline;
  const Normalise normalise;
  const int64_t size;
  std::shared_ptr<Epoch> epoch;

  std::mutex mutex;  ///< guards what follows, and the queue and slots of the epoch
  std::condition_variable wake_workers, wake_reader;
  std::deque<std::pair<std::shared_ptr<const Epoch>, std::shared_ptr<Slot>>> todo;
  bool stopping = false;
  std::vector<std::thread> workers;
};

Loader::Loader(const DataSource& source, std::shared_ptr<const Dataset> dataset, const Options& options)
    : impl_(std::make_unique<Impl>(source, std::move(dataset), options)) {}

Loader::~Loader() = default;

int64_t Loader::batches_per_epoch() const { return impl_->batches(); }

int64_t Loader::samples() const { return impl_->size; }

void Loader::start(int64_t epoch, int64_t first_batch) {
  NIBBLE_CHECK(epoch >= 0 && first_batch >= 0 && first_batch <= batches_per_epoch(), "loader: cannot start epoch ",
               epoch, " at batch ", first_batch, " of ", batches_per_epoch());
  auto fresh = std::make_shared<Impl::Epoch>();
  fresh->number = epoch;
  fresh->next_to_queue = first_batch;
  if (impl_->options.train)
    fresh->order = shuffled(impl_->size, Rng(impl_->options.seed).named("shuffle").child(static_cast<uint64_t>(epoch)));
  const std::lock_guard lock(impl_->mutex);
  impl_->todo.clear();
  impl_->epoch = std::move(fresh);
  if (!impl_->workers.empty()) impl_->refill();
}

bool Loader::next(Batch& batch) {
  NIBBLE_CHECK(impl_->epoch, "loader: next() before start()");
  Impl::Epoch& epoch = *impl_->epoch;
  if (impl_->workers.empty()) {
    if (epoch.next_to_queue >= impl_->batches()) return false;
    batch = impl_->make(epoch, epoch.next_to_queue);
    ++epoch.next_to_queue;
    return true;
  }
  std::unique_lock lock(impl_->mutex);
  if (epoch.queue.empty()) return false;
  const std::shared_ptr<Impl::Slot> slot = epoch.queue.front();
  impl_->wake_reader.wait(lock, [&] { return slot->ready; });
  if (slot->error) std::rethrow_exception(slot->error);
  epoch.queue.pop_front();
  impl_->refill();
  batch = std::move(slot->result);
  return true;
}

Tensor prepare_image(const DataSource& source, const Image& image) {
  const int side = source.side();
  const bool fits = side == 0 || (image.height == side && image.width == side);
  const Pipeline pipeline(source.options().transform);
  const Image ready =
      pipeline.apply(fits ? image : center_crop(resize_shorter(image, side), side, side), Rng(0));  // draws nothing
  Tensor x = Tensor::empty({1, ready.height, ready.width, 3});
  Normalise{source.options()}(ready, x.mutable_data<float>().data());
  return x;
}

}  // namespace nibble
