#pragma once

#include <iosfwd>
#include <string>

#include "core/json.h"

namespace nibble {

/// Where a command writes: results to `out`, messages and progress to `err`.
struct Console {
  std::ostream& out;
  std::ostream& err;
  bool terminal = false;  ///< err is a terminal: draw a progress bar
};

/// Indented JSON text that ends in a newline; bytes that are no UTF-8 are replaced. Numbers that are not finite
/// become null, as JSON has none.
std::string json_text(const Json& json);
/// The same on one line.
std::string json_line(const Json& json);

}  // namespace nibble
