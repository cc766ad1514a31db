#include "core/kernels/peak_f32/dispatch.h"

namespace nibble::peak_f32 {

Peak scalar, avx2, avx512, neon;

std::span<const Variant<Peak>> variants() {
  static constexpr Variant<Peak> table[] = {
#if NIBBLE_X86
    {"avx512", cpu::avx512, avx512},
    {"avx2", cpu::avx2 | cpu::fma, avx2},
#elif NIBBLE_ARM
    {"neon", cpu::neon, neon},
#endif
    {"scalar", 0, scalar}
  };
  return table;
}

const Variant<Peak>& variant() {
  static const Variant<Peak>& chosen = cpu::select("peak_f32", variants());
  return chosen;
}

}  // namespace nibble::peak_f32
