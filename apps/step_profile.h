#pragma once

#include <iosfwd>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "core/json.h"
#include "core/profile.h"

namespace nibble {

/// The spans of some training steps, by layer and stage.
class StepProfile {
 public:
  /// Adds what a recorder has seen of one step.
  void add(const std::vector<profile::Event>& events);

  /// {"rows": [{"layer" ("" for what belongs to none), "pass", "op", "kernel", "calls", "seconds", "fastest", "share",
  /// "flop", "bytes"}], "ops": [{"op", "pass", "seconds", "share"}], "rows_seconds"}. Per step: seconds are medians
  /// over the steps and share of their sum, rows_seconds, without what spans inside have taken. Rows stand in the order
  /// in which the layers first run, those of none at the end, those of a layer in the order of the passes; ops by time.
  Json json() const;
  /// For Chrome's trace viewer (chrome://tracing, ui.perfetto.dev): complete events with their layer, shapes, FLOP and
  /// bytes. Steps are put one after the other.
  Json trace() const;

 private:
  struct Row {
    std::string layer, op, kernel;
    profile::Stage stage;
    std::vector<double> seconds;  ///< of each step
    int64_t calls = 0;            ///< in all steps
    double flop = 0, bytes = 0;   ///< in all steps
  };
  std::vector<const Row*> in_order() const;
  /// The median, steps in which it did not run included.
  double seconds_of(const Row& row) const;

  int64_t steps_ = 0;
  int64_t end_ = 0;                  ///< of the last step, in nanoseconds since the first began
  std::vector<std::string> layers_;  ///< in the order in which they first ran
  std::vector<Row> rows_;
  /// By layer, stage, op and kernel.
  std::map<std::tuple<std::string, profile::Stage, std::string, std::string>, size_t> index_;
  Json trace_ = Json::array();
};

/// The rows as a table, those with less than a thousandth of the time left out, and the ops as another.
void print_profile(const Json& json, std::ostream& out);
/// Of the rows that have FLOP: kernel, time, and GFLOP/s and share of "peak_flops" in the fastest step, since the peak
/// is that of the fastest run.
void print_kernels_of_profile(const Json& json, std::ostream& out);

}  // namespace nibble
