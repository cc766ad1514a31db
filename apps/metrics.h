#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "core/json.h"

namespace nibble {

/// metrics.jsonl: one JSON object per line, written through at once.
class MetricsLog {
 public:
  /// Appends to the file, which is created if need be. Throws Error naming it.
  explicit MetricsLog(const std::string& path);
  void write(const Json& line);

 private:
  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

/// Removes the lines that a run resumed at `step` will write again: those of later steps, the line of the epoch that
/// ends at `step` if `in_epoch` says that the epoch is not closed yet, and a line cut short by a crash. A file that
/// does not exist stays so.
void cut_metrics(const std::string& path, int64_t step, bool in_epoch);

}  // namespace nibble
