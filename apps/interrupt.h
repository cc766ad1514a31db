#pragma once

namespace nibble {

/// What the program returns after Ctrl-C.
inline constexpr int kInterruptedExit = 130;

/// While one is alive, the first SIGINT or SIGTERM only sets a flag, so that the step in progress can finish and be
/// saved; a second one ends the process at once.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

bool interrupted();

}  // namespace nibble
