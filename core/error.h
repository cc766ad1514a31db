#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace nibble {

/// Anything that went wrong at run time: one sentence saying who, where, what was expected and what was found.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The user's input (command line or config) is wrong; programs exit with code 2 instead of 1.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Concatenates its arguments with operator<<.
template <class... Parts>
std::string concat_text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace nibble

/// Throws nibble::Error with the concatenated parts unless `cond` holds.
#define NIBBLE_CHECK(cond, ...)                                             \
  do {                                                                      \
    if (!(cond)) throw ::nibble::Error(::nibble::concat_text(__VA_ARGS__)); \
  } while (false)
