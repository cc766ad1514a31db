#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "apps/console.h"

namespace nibble {

/// Shows how far a long job has come: a bar with rate and remaining time that redraws in place on a terminal, and now
/// and then a plain line elsewhere.
class Progress {
 public:
  explicit Progress(Console& console) : console_(console) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Begins a phase of `total` units, `done` of which are behind us; `later` further units follow it and count for
  /// the remaining time.
  void start(const std::string& label, int64_t total, int64_t done = 0, int64_t later = 0);
  /// `detail` goes to the end of the line.
  void update(int64_t done, const std::string& detail);
  /// Prints a line that stays.
  void line(const std::string& text);
  /// Removes the bar.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string bar(const std::string& detail, double seconds) const;

  Console& console_;
  std::string label_;
  int64_t total_ = 0, first_ = 0, done_ = 0, later_ = 0;
  Clock::time_point begin_, last_;
  bool drawn_ = false;
};

/// "0:07", "12:34", "3:25:00".
std::string duration_text(double seconds);

}  // namespace nibble
