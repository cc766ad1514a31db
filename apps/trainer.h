#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "apps/evaluate.h"
#include "apps/metrics.h"
#include "apps/progress.h"
#include "apps/run_directory.h"
#include "apps/run_parts.h"
#include "apps/tensorboard.h"
#include "apps/train_state.h"
#include "apps/train_step.h"

namespace nibble {

struct TrainRequest {
  RunConfig config;
  RunDirectory run;
  bool resume = false;
  /// Asked after every step and evaluation batch whether to stop early; the step is saved first.
  std::function<bool(int64_t step)> stop;
};

struct TrainOutcome {
  bool interrupted = false;
  int64_t step = 0;
  Json results;  ///< what results.json holds; null if interrupted
};

/// Trains a network into a run directory. What it ends with is a function of the config alone: not of the number of
/// threads or workers, and not of how often it was interrupted and resumed.
class Trainer {
 public:
  /// Builds everything, and restores the last checkpoint if the request says resume and there is one. Throws
  /// UsageError if the config is wrong, or the directory is in use or belongs to another config.
  Trainer(const TrainRequest& request, Progress& progress);
  /// Throws NotFinite when the loss, a gradient or a parameter is not finite; the last checkpoint then stays as it is.
  TrainOutcome run();

 private:
  using Timer = std::chrono::steady_clock;
  /// What an epoch's end evaluates: the parameters as they are, and their averages if the run keeps some.
  struct Evaluation {
    EvalResult live;
    std::optional<EvalResult> average;
    const EvalResult& chosen() const { return average ? *average : live; }
  };

  void open_directory();
  void restore();
  void start_from(const std::string& checkpoint);
  void write_machine() const;
  bool finish_epoch_steps();
  void log_step(const StepResult& step, double lr, int64_t images, double seconds);
  std::optional<Evaluation> evaluate_epoch();
  std::optional<EvalResult> evaluate_once(const std::string& label);
  void close_epoch(const Evaluation* evaluation, double seconds);
  void save_last();
  void save_best(const EvalResult& result);
  TrainOutcome interrupt();
  Json results(const Evaluation& evaluation) const;
  bool stopped() const { return request_.stop && request_.stop(state_.step); }
  double total_seconds() const;
  TrainClock train_clock() const;
  Clock clock() const { return {state_.step, steps_per_epoch_, steps_per_epoch_ * request_.config.train.epochs}; }
  [[noreturn]] void fail_not_finite(const std::string& what) const;

  TrainRequest request_;
  Progress& progress_;
  RunParts parts_;
  Json config_, checkpoint_config_;
  std::unique_ptr<Loader> train_, test_;
  std::unique_ptr<Ema> ema_;
  std::unique_ptr<TrainStep> step_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<EventWriter> events_;
  std::optional<int64_t> teacher_fingerprint_;
  TrainState state_;
  int64_t steps_per_epoch_ = 0;
  Timer::time_point begin_ = Timer::now();
};

}  // namespace nibble
