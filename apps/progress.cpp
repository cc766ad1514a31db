#include "apps/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

namespace nibble {
namespace {

constexpr double kRedrawSeconds = 0.1, kPlainSeconds = 20;

size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col - 1u;
  return 79;
}

}  // namespace

std::string duration_text(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "?";
  const auto total = static_cast<int64_t>(std::llround(seconds));
  char text[48];
  if (total >= 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", static_cast<long long>(total / 3600),
                  static_cast<long long>(total / 60 % 60), static_cast<long long>(total % 60));
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", static_cast<long long>(total / 60),
                  static_cast<long long>(total % 60));
  }
  return text;
}

void Progress::start(const std::string& label, int64_t total, int64_t done, int64_t later) {
  label_ = label;
  total_ = total;
  first_ = done_ = done;
  later_ = later;
  begin_ = last_ = Clock::now();
}

std::string Progress::bar(const std::string& detail, double seconds) const {
  const double fraction = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
  std::string text = label_ + " ";
  if (console_.terminal) {
    constexpr int kCells = 24;
    const int full = static_cast<int>(fraction * kCells);
    text += '[';
    text.append(static_cast<size_t>(full), '#').append(static_cast<size_t>(kCells - full), '.');
    text += "] ";
  }
  char percent[16];
  std::snprintf(percent, sizeof percent, "%3.0f%%", 100 * fraction);
  text += percent;
  if (done_ > first_) {
    const double per_unit = seconds / static_cast<double>(done_ - first_);
    text += "  ETA " + duration_text(per_unit * static_cast<double>(total_ - done_ + later_));
  }
  return detail.empty() ? text : text + "  " + detail;
}

void Progress::update(int64_t done, const std::string& detail) {
  done_ = done;
  const auto now = Clock::now();
  const double since = std::chrono::duration<double>(now - last_).count();
  if (since < (console_.terminal ? kRedrawSeconds : kPlainSeconds)) return;
  last_ = now;
  const std::string text = bar(detail, std::chrono::duration<double>(now - begin_).count());
  if (console_.terminal) {
    console_.err << "\r\033[K" << text.substr(0, terminal_width()) << std::flush;
    drawn_ = true;
  } else {
    console_.err << text << std::endl;
  }
}

void Progress::line(const std::string& text) {
  clear();
  console_.err << text << std::endl;
}

void Progress::clear() {
  if (drawn_) console_.err << "\r\033[K" << std::flush;
  drawn_ = false;
}

}  // namespace nibble
