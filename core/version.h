#pragma once

namespace nibble {

/// "0.1.0".
const char* version();
/// The git commit this was built from, with "-dirty" if the tree had changes, or "unknown".
const char* commit();

}  // namespace nibble
