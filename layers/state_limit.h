#pragma once

#include <cstdint>

namespace nibble {

/// Bounds what layers may set aside for state that comes from a file, while the network of that file is built on this
/// thread: its options may ask for any size, but nothing can fill more than the file holds.
class StateLimit {
 public:
  explicit StateLimit(int64_t bytes);
  ~StateLimit();
  StateLimit(const StateLimit&) = delete;
  StateLimit& operator=(const StateLimit&) = delete;

  /// A layer is about to set so many bytes aside. Throws Error naming it if that is more than is left; without a limit
  /// on this thread nothing happens.
  static void take(const char* who, int64_t bytes);
  /// True if there is a limit on this thread: what layers set aside now is filled from a file, or thrown away.
  static bool active();

 private:
  int64_t left_;
  StateLimit* outer_;
};

}  // namespace nibble
