#pragma once

#include <string>

#include "core/json.h"

namespace nibble {

/// The files of a run.
struct RunDirectory {
  std::string path;

  std::string config() const { return path + "/config.json"; }
  std::string machine() const { return path + "/run.json"; }
  std::string metrics() const { return path + "/metrics.jsonl"; }
  std::string last() const { return path + "/last.safetensors"; }
  std::string best() const { return path + "/best.safetensors"; }
  std::string results() const { return path + "/results.json"; }

  /// Makes the folder for a new run; throws UsageError if it exists and is not empty, Error if it cannot be made.
  void create() const;
  bool has_config() const;
  bool has_last() const;
  /// Throws UsageError naming the options in which `ours`, a resolved config, differs from the run's.
  void check_agrees(const Json& ours) const;
};

/// The checkpoint that RUN_OR_CHECKPOINT names: a run's last or best one, or the file itself. Throws UsageError if
/// there is none.
std::string find_checkpoint(const std::string& run_or_checkpoint, bool best = false);

}  // namespace nibble
