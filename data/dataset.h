#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/registry.h"
#include "data/image.h"

namespace nibble {

struct Sample {
  Image image;
  int label = 0;
};

/// Labelled images by index. get() is a pure function of the index and may be called from several threads.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  /// Throws Error naming file and record if the sample cannot be read.
  virtual Sample get(int64_t index) const = 0;
  /// What the user should know about how it was opened, a sentence each.
  virtual std::vector<std::string> notes() const { return {}; }
};

enum class Split { train, test };

/// The options every data section has besides its own.
struct DataOptions {
  int batch = 128;       ///< training batch
  int eval_batch = 100;  ///< evaluation batch
  int workers = 2;
  int prefetch = 4;                            ///< batches decoded ahead
  int64_t skip_unreadable = 0;                 ///< samples that a Loader may leave out because get() throws
  std::vector<double> mean = {0.5, 0.5, 0.5};  ///< of pixels / 255
  std::vector<double> std = {0.5, 0.5, 0.5};
  Config augment{Json::array()};    ///< list of transforms for training: names or objects with a "type"
  Config transform{Json::array()};  ///< list of transforms for evaluation
  void fields(Fields& f);
  /// Throws unless mean and std have three values and both lists hold known transforms, the one for evaluation none
  /// that draws random numbers. Constructors of sources call it, so that a bad config fails before any file is read.
  void check() const;
};

/// A "data" section: where the images are, how many classes, and how they are prepared. Registered under its "type"
/// ("cifar10", "cifar100", "folder", "embedded"). Constructing one reads no file.
class DataSource {
 public:
  virtual ~DataSource() = default;
  virtual const DataOptions& options() const = 0;
  /// Opens and checks a split; throws Error naming the file.
  virtual std::shared_ptr<const Dataset> open(Split split) const = 0;
  virtual std::vector<std::string> class_names() const = 0;
  virtual int classes() const = 0;
  /// Height and width of every image before transforms, or 0 if they vary.
  virtual int side() const { return 0; }
  /// Where a source may keep what it found out about its files from one start to the next, unless its options say so.
  virtual void keep_lists_in(const std::string& /*folder*/) {}
  /// The data section that rebuilds this, defaults included (without "type").
  virtual Json config() const = 0;
};

#define NIBBLE_REGISTER_DATA(Derived, name, doc) NIBBLE_REGISTER(::nibble::DataSource, Derived, name, doc)

}  // namespace nibble
