#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/tensor.h"

namespace nibble {

/// Exponential moving average of a network's parameters, to be evaluated instead of the parameters themselves:
///   average += (1 - d) * (parameter - average),  d = decay, or with warmup min(decay, (1 + t) / (10 + t))
/// where t counts the updates before. Averages start as copies.
class Ema {
 public:
  struct Options {
    double decay = 0.999;
    bool warmup = true;
    std::string buffers = "copy";
    void fields(Fields& f);
  };
  /// A tensor of the network that is averaged. Buffers (batch-norm statistics) follow the option; what is not f32 is
  /// always copied.
  struct Source {
    std::string name;
    Tensor tensor;
    bool buffer = false;
  };

  /// Throws Error if the options are out of range, or a tensor is undefined or a name occurs twice.
  Ema(const Options& options, std::vector<Source> sources);

  /// After an optimizer step. Allocates nothing.
  void update();
  /// Exchanges the contents of the network and the averages; a second call undoes the first. Throws Error on update()
  /// in between.
  void swap();
  bool swapped() const { return swapped_; }
  /// In the order of the sources.
  const std::vector<Tensor>& averaged() const { return averages_; }
  const std::vector<Source>& sources() const { return sources_; }
  const Options& options() const { return options_; }
  /// State that resuming needs: the averages under their sources' names, and "updates". While swapped, the averages
  /// are in the network instead.
  void visit_state(const std::function<void(const std::string&, Tensor&)>& visit);

 private:
  Options options_;
  std::vector<Source> sources_;
  std::vector<Tensor> averages_;
  Tensor updates_;  ///< i64, one element
  bool swapped_ = false;
};

/// The network holds the averages while one is alive.
class EmaScope {
 public:
  explicit EmaScope(Ema& ema) : ema_(ema) { ema_.swap(); }
  ~EmaScope() { ema_.swap(); }
  EmaScope(const EmaScope&) = delete;
  EmaScope& operator=(const EmaScope&) = delete;

 private:
  Ema& ema_;
};

}  // namespace nibble
