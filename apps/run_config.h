#pragma once

#include <cstdint>
#include <string>

#include "core/config.h"

namespace nibble {

/// A trained network to learn from beside the labels.
struct TeacherOptions {
  std::string checkpoint;
  double temperature = 1, weight = 0.5;
  std::string combine = "average";
  void fields(Fields& f);
};

/// What is minimised: a loss with the labels, that of auxiliary classifiers, and the teacher's if there are any.
struct LossOptions {
  std::string function = "cross_entropy";
  double label_smoothing = 0;
  double auxiliary = 0.4;
  Config teacher{Json()};
  void fields(Fields& f);
};

/// How long to train and what to write down on the way.
struct TrainOptions {
  int epochs = 20;
  int eval_every = 1;
  int log_every = 50;
  int checkpoint_every = 1;
  int64_t checkpoint_every_steps = 0;
  Config ema{Json()};
  std::string init;
  int threads = 0;
  bool fuse = true;
  void fields(Fields& f);
};

/// A run's config file. The sections model, data and optim are objects with a "type", built by their registries.
struct RunConfig {
  std::string name;
  uint64_t seed = 1;
  std::string notes;
  Config model{Json()}, data{Json()}, quant{Json()}, optim{Json()};
  LossOptions loss;
  TrainOptions train;
  void fields(Fields& f);
};

/// Throws UsageError naming file and pointer. The name defaults to that of the file.
RunConfig read_run_config(const Config& config);

/// Loads a config file, applies "--set" assignments in order and reads it.
RunConfig load_run_config(const std::string& path, const std::vector<std::string>& assignments);

}  // namespace nibble
