#include <cstdint>

#include "core/kernels/elementwise/elementwise.h"

namespace nibble::elementwise {
namespace {

constexpr int kLanes = 8, kColumns = 2;

#include "core/kernels/elementwise/loops.inc"

}  // namespace

const Kernels& avx2();
const Kernels& avx2() { return kTable; }

}  // namespace nibble::elementwise
