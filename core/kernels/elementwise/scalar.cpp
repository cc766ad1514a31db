#include <cstdint>

#include "core/kernels/elementwise/elementwise.h"

namespace nibble::elementwise {
namespace {

// Four lanes are what every 64-bit processor has; the compiler makes them of single floats elsewhere.
constexpr int kLanes = 4, kColumns = 2;

#include "core/kernels/elementwise/loops.inc"

}  // namespace

const Kernels& scalar();
const Kernels& scalar() { return kTable; }

}  // namespace nibble::elementwise
