#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/tensor.h"
#include "data/dataset.h"

namespace nibble {

/// images (N,H,W,3) f32, normalised; labels (N) i32.
struct Batch {
  Tensor images, labels;
  int64_t index = 0;  ///< number of the batch in its epoch
};

/// Delivers batches in a fixed order, decoded and augmented ahead of time by worker threads. What a batch holds is a
/// function of (seed, epoch, batch number) only: neither the number of workers nor resuming in mid-epoch changes a bit.
/// One thread at a time may call it. Samples that cannot be read are left out of their batch, which is then smaller, as
/// long as they are not more than the source's "skip_unreadable" and somebody hears their names.
class Loader {
 public:
  struct Options {
    int batch = 128;
    int workers = 2;  ///< 0 prepares batches on the calling thread
    int prefetch = 4;
    bool train = false;  ///< shuffle, augment, drop the incomplete last batch
    uint64_t seed = 1;
    /// Told what the dataset has to say about itself, and the name of every sample left out, once; called by the
    /// constructor and next(). Without it an unreadable sample is an error.
    std::function<void(const std::string&)> notice = {};
  };
  /// `source` gives mean, std and transforms; it need not outlive the constructor. Throws if a training batch is larger
  /// than the dataset or the dataset is empty.
  Loader(const DataSource& source, std::shared_ptr<const Dataset> dataset, const Options& options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  int64_t batches_per_epoch() const;
  int64_t samples() const;
  /// Starts an epoch at a batch; whatever was prefetched is dropped.
  void start(int64_t epoch, int64_t first_batch = 0);
  /// False at the end of the epoch. Rethrows the error of a worker, at the batch it belongs to. Throws before the first
  /// start().
  bool next(Batch& batch);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The evaluation transform of `source` on one image: (1,H,W,3) f32. If the source's images have a fixed size
/// (DataSource::side) and the image has another, it is first scaled and cropped in the middle to that size.
Tensor prepare_image(const DataSource& source, const Image& image);

}  // namespace nibble
