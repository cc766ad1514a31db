#include <cstdint>

#include "core/kernels/elementwise/elementwise.h"

namespace nibble::elementwise {
namespace {

constexpr int kLanes = 16, kColumns = 4;

#include "core/kernels/elementwise/loops.inc"

}  // namespace

const Kernels& avx512();
const Kernels& avx512() { return kTable; }

}  // namespace nibble::elementwise
