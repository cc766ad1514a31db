#include "core/kernels/conv_f32/dispatch.h"

namespace nibble::conv_f32 {

const Kernels& scalar();
const Kernels& avx2();
const Kernels& avx512();
const Kernels& neon();

std::span<const Variant<const Kernels&()>> variants() {
  static constexpr Variant<const Kernels&()> table[] = {
#if NIBBLE_X86
    {"avx512", cpu::avx512 | cpu::fma, avx512},
    {"avx2", cpu::avx2 | cpu::fma, avx2},
#elif NIBBLE_ARM
    {"neon", cpu::neon, neon},
#endif
    {"scalar", 0, scalar}
  };
  return table;
}

const Kernels& kernels() {
  static const Kernels& chosen = cpu::select("conv_f32", variants()).fn();
  return chosen;
}

std::string_view name_of(const Kernels& kernels) {
  for (const auto& v : variants())
    if (cpu::has(v.needs) && &v.fn() == &kernels) return v.name;
  return "";
}

}  // namespace nibble::conv_f32
