#include "core/kernels/elementwise/dispatch.h"

namespace nibble::elementwise {

const Kernels& scalar();
const Kernels& avx2();
const Kernels& avx512();

std::span<const Variant<const Kernels&()>> variants() {
  static constexpr Variant<const Kernels&()> table[] = {
#if NIBBLE_X86
    {"avx512", cpu::avx512, avx512},
    {"avx2", cpu::avx2 | cpu::fma | cpu::f16c, avx2},
#endif
    {"scalar", 0, scalar}
  };
  return table;
}

const Kernels& kernels() {
  static const Kernels& chosen = cpu::select("elementwise", variants()).fn();
  return chosen;
}

}  // namespace nibble::elementwise
