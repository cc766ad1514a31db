#include "quant/kernels/int8_gemm/dispatch.h"

#include "core/error.h"

namespace nibble::int8 {

const Kernels& gemm_scalar();
const Kernels& gemm_sse4();
const Kernels& gemm_avx2();
const Kernels& gemm_avxvnni();
const Kernels& gemm_avx512vnni();
const Kernels& gemm_amx();
const Kernels& gemm_neon();
const Kernels& gemm_dotprod();
const Kernels& gemm_i8mm();

std::span<const Variant<const Kernels&()>> gemm_variants() {
  static constexpr Variant<const Kernels&()> table[] = {
#if NIBBLE_X86
    {"amx", cpu::avx512 | cpu::avx512vnni | cpu::amxint8, gemm_amx},
    {"avx512vnni", cpu::avx512 | cpu::avx512vnni, gemm_avx512vnni},
    {"avxvnni", cpu::avx2 | cpu::avxvnni, gemm_avxvnni},
    {"avx2", cpu::avx2, gemm_avx2},
    {"sse4", cpu::ssse3 | cpu::sse41, gemm_sse4},
#elif NIBBLE_ARM
    {"i8mm", cpu::neon | cpu::dotprod | cpu::i8mm, gemm_i8mm},
    {"dotprod", cpu::neon | cpu::dotprod, gemm_dotprod},
    {"neon", cpu::neon, gemm_neon},
#endif
    {"scalar", 0, gemm_scalar}
  };
  return table;
}

const Variant<const Kernels&()>& gemm_variant(std::string_view isa) {
  static const Variant<const Kernels&()>& chosen = cpu::select("int8_gemm", gemm_variants());
  if (isa.empty()) return chosen;
  std::string known;
  for (const auto& v : gemm_variants()) {
    if (isa == v.name) {
      NIBBLE_CHECK(cpu::has(v.needs), "kernel int8_gemm:", isa,
                   ": these features are missing: ", cpu::describe(v.needs & ~cpu::features()));
      return v;
    }
    known.append(" ").append(v.name);
  }
  throw Error(concat_text("kernel int8_gemm has no variant '", isa, "'; it has:", known));
}

}  // namespace nibble::int8
