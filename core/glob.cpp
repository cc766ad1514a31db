#include "core/glob.h"

namespace nibble {
namespace {

bool match_one(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  // Only the last star ever needs another try: whatever an earlier one could take, the last one can take as well.
  size_t after_star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      after_star = ++p;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (after_star != std::string_view::npos) {
      p = after_star;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text) {
  while (true) {
    const size_t bar = pattern.find('|');
    if (match_one(pattern.substr(0, bar), text)) return true;
    if (bar == std::string_view::npos) return false;
    pattern.remove_prefix(bar + 1);
  }
}

std::vector<std::string> glob_alternatives(std::string_view pattern) {
  std::vector<std::string> alternatives;
  while (true) {
    const size_t bar = pattern.find('|');
    alternatives.emplace_back(pattern.substr(0, bar));
    if (bar == std::string_view::npos) return alternatives;
    pattern.remove_prefix(bar + 1);
  }
}

}  // namespace nibble
