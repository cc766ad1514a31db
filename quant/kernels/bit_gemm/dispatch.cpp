#include "quant/kernels/bit_gemm/dispatch.h"

#include "core/error.h"

namespace nibble::bits {

const Kernels& gemm_scalar();
const Kernels& gemm_avx2();
const Kernels& gemm_avx512();
const Kernels& gemm_avx512bits();
const Kernels& gemm_amx();
const Kernels& gemm_neon();

std::span<const Variant<const Kernels&()>> gemm_variants() {
#if NIBBLE_X86
  constexpr uint64_t kBits512 =
      cpu::avx512 | cpu::popcnt | cpu::avx512vnni | cpu::avx512vbmi | cpu::avx512bitalg | cpu::avx512vpopcntdq;
#endif
  static constexpr Variant<const Kernels&()> table[] = {
#if NIBBLE_X86
    {"amx", kBits512 | cpu::amxint8, gemm_amx},
    {"avx512bits", kBits512, gemm_avx512bits},
    {"avx512", cpu::avx512 | cpu::popcnt, gemm_avx512},
    {"avx2", cpu::avx2 | cpu::popcnt, gemm_avx2},
#elif NIBBLE_ARM
    {"neon", cpu::neon, gemm_neon},
#endif
    {"scalar", 0, gemm_scalar}
  };
  return table;
}

const Variant<const Kernels&()>& gemm_variant(std::string_view isa) {
  static const Variant<const Kernels&()>& chosen = cpu::select("bit_gemm", gemm_variants());
  if (isa.empty()) return chosen;
  std::string known;
  for (const auto& v : gemm_variants()) {
    if (isa == v.name) {
      NIBBLE_CHECK(cpu::has(v.needs), "kernel bit_gemm:", isa,
                   ": these features are missing: ", cpu::describe(v.needs & ~cpu::features()));
      return v;
    }
    known.append(" ").append(v.name);
  }
  throw Error(concat_text("kernel bit_gemm has no variant '", isa, "'; it has:", known));
}

}  // namespace nibble::bits
