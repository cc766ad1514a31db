#pragma once

#include <map>
#include <string>

#include "quant/lowering/engine.h"

namespace nibble {

/// A MeasuringClock that measures every layer once: times are kept in a file for the next lowering, by processor,
/// instruction set, number of threads, layer and extent of its input. The file is $XDG_CACHE_HOME/nibble/engines.json
/// (or ~/.cache/nibble/engines.json); it may be deleted at any time.
class CachedClock final : public EngineClock {
 public:
  /// Reads the file. One that does not exist or cannot be read counts as empty: everything is measured again.
  CachedClock();
  explicit CachedClock(std::string path);

  double seconds(LoweredLayer& layer, const Shape& input) override;
  /// Writes the file if something was measured. Returns what went wrong, "" if nothing did; all that is lost then is
  /// the time to measure again.
  std::string save() const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;     ///< empty: there is no such place
  std::string context_;  ///< all but the layer that a time depends on
  std::map<std::string, double> times_;
  bool changed_ = false;
  MeasuringClock clock_;
};

}  // namespace nibble
