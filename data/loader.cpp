#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <system_error>
#include <thread>

#include "core/rng.h"
#include "data/normalise.h"
#include "data/resize.h"
#include "data/transform.h"

namespace nibble {
namespace {

/// The first `count` rows.
Tensor first_rows(const Tensor& all, int64_t count) {
  const Shape& shape = all.shape();
  Tensor rows = Tensor::empty({count, shape[1], shape[2], shape[3]});
  std::memcpy(rows.raw(), all.raw(), rows.bytes());
  return rows;
}

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
  struct Unreadable {
    int64_t index = 0;
    std::string why;
  };
  struct Made {
    Batch batch;
    std::vector<Unreadable> unreadable;
  };
  /// One batch of the queue: asked for, then filled by a worker.
  struct Slot {
    int64_t batch = 0;
    bool ready = false;
    Made result;
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
        size(dataset->size()),
        limit(o.notice ? source.options().skip_unreadable : 0) {
    NIBBLE_CHECK(o.batch > 0 && o.workers >= 0 && o.prefetch > 0, "loader: expected batch > 0, workers >= 0 and ",
                 "prefetch > 0, got ", o.batch, ", ", o.workers, " and ", o.prefetch);
    NIBBLE_CHECK(size > 0 && size < int64_t{1} << 32, "loader: the dataset has ", size, " samples");
    NIBBLE_CHECK(!o.train || size >= o.batch, "loader: a batch of ", o.batch, " is larger than the training set of ",
                 size, " samples");
    if (o.notice)
      for (const std::string& note : dataset->notes()) o.notice(note);
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

  int64_t index_at(const Epoch& of, int64_t position) const {
    return of.order.empty() ? position : of.order[static_cast<size_t>(position)];
  }

  Image prepared(const Epoch& of, int64_t index, Image image) const {
    const Rng rng = Rng(options.seed).named("augment").child(static_cast<uint64_t>(of.number));
    try {
      return pipeline.apply(std::move(image), rng.child(static_cast<uint64_t>(index)));
    } catch (const Error& error) {
      throw Error(concat_text("sample ", index, ": ", error.what()));
    }
  }

  /// The sample, or nothing and a line in `unreadable` if such may be left out.
  std::optional<Sample> read(int64_t index, std::vector<Unreadable>& unreadable) const {
    try {
      return dataset->get(index);
    } catch (const Error& error) {
      if (limit == 0) throw;
      unreadable.push_back({index, error.what()});
      return std::nullopt;
    }
  }

  Made make(const Epoch& of, int64_t number) const {
    const int64_t first = number * options.batch, count = std::min<int64_t>(options.batch, size - first);
    Made made;
    std::vector<int32_t> labels;
    Tensor images;
    int height = 0, width = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t index = index_at(of, first + i);
      std::optional<Sample> raw = read(index, made.unreadable);
      if (!raw) continue;
      const Image image = prepared(of, index, std::move(raw->image));
      if (labels.empty()) {
        height = image.height, width = image.width;
        images = Tensor::empty({count, height, width, 3});
      }
      NIBBLE_CHECK(image.height == height && image.width == width, "loader: images of one batch have the sizes ",
                   height, "x", width, " and ", image.height, "x", image.width,
                   "; put a transform that makes them equal ('resize' and 'center_crop') into '",
                   options.train ? "augment" : "transform", "'");
      normalise(image, images.mutable_data<float>().data() + std::ssize(labels) * height * width * 3);
      labels.push_back(raw->label);
    }
    const auto left = std::ssize(labels);
    made.batch.index = number;
    if (left == 0) return made;
    made.batch.images = left == count ? images : first_rows(images, left);
    made.batch.labels = Tensor::from<int32_t>({left}, labels);
    return made;
  }

  /// Names what was left out of a batch that is about to be handed on, in the order of the epoch whatever the number of
  /// workers. Throws if there is more of it than allowed.
  void account(const Made& made) {
    for (const Unreadable& sample : made.unreadable) {
      if (!left_out.insert(sample.index).second) continue;
      last_unreadable = sample.why;
      if (std::ssize(left_out) <= limit)
        options.notice(concat_text("left out ", sample.why, " (", left_out.size(), " of at most ", limit, ")"));
    }
    NIBBLE_CHECK(std::ssize(left_out) <= limit, "data: ", left_out.size(), " of ", size,
                 " images cannot be read, which is more than 'skip_unreadable' allows (", limit,
                 "); the last one: ", last_unreadable);
    NIBBLE_CHECK(made.batch.labels.defined() || !options.train, "data: none of the ", options.batch,
                 " images of training batch ", made.batch.index, " can be read; the last one: ", last_unreadable);
  }

  /// The next batch, which is empty if none of its samples could be read; nothing at the end of the epoch.
  std::optional<Batch> next();

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
      Made result;
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
  const int64_t size, limit;
  std::shared_ptr<Epoch> epoch;
  std::set<int64_t> left_out;  ///< samples that could not be read, over all epochs
  std::string last_unreadable;

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

std::optional<Batch> Loader::Impl::next() {
  if (workers.empty()) {
    if (epoch->next_to_queue >= batches()) return std::nullopt;
    Made made = make(*epoch, epoch->next_to_queue);
    account(made);
    ++epoch->next_to_queue;
    return std::move(made.batch);
  }
  std::unique_lock lock(mutex);
  if (epoch->queue.empty()) return std::nullopt;
  const std::shared_ptr<Slot> slot = epoch->queue.front();
  wake_reader.wait(lock, [&] { return slot->ready; });
  if (slot->error) std::rethrow_exception(slot->error);
  account(slot->result);
  epoch->queue.pop_front();
  refill();
  return std::move(slot->result.batch);
}

bool Loader::next(Batch& batch) {
  NIBBLE_CHECK(impl_->epoch, "loader: next() before start()");
  while (std::optional<Batch> made = impl_->next()) {
    if (!made->labels.defined()) continue;  // nothing in it could be read
    batch = std::move(*made);
    return true;
  }
  return false;
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
