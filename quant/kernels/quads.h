#pragma once

#include <cstdint>

namespace nibble::amx {

/// Four bytes each: as many as a row of a tile register holds.
inline constexpr int64_t kQuads = 16;

/// The largest number of quads that splits `steps` of them into tiles without a rest. Each file has its own copy: the
/// linker must not take one that was compiled for AMX.
static constexpr int64_t quads_of(int64_t steps) {
  int64_t quads = steps < kQuads ? steps : kQuads;
  while (steps % quads != 0) --quads;
  return quads;
}

}  // namespace nibble::amx
