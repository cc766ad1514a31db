#include "quant/kernels/bf16_gemm/dispatch.h"

namespace nibble::bf16 {

const Kernels& gemm_scalar();
const Kernels& gemm_amx();

std::span<const Variant<const Kernels&()>> gemm_variants() {
  static constexpr Variant<const Kernels&()> table[] = {
#if NIBBLE_X86
    {"amx",
     cpu::avx512 | cpu::avx512vnni | cpu::avx512vbmi | cpu::avx512bitalg | cpu::avx512vpopcntdq | cpu::amxint8 |
         cpu::avx512bf16 | cpu::amxbf16,
     gemm_amx},
#endif
    {"scalar", 0, gemm_scalar}
  };
  return table;
}

const Kernels* fast_kernels() {
  static const Variant<const Kernels&()>& chosen = cpu::select("bf16_gemm", gemm_variants());
  return chosen.fn == gemm_scalar ? nullptr : &chosen.fn();
}

}  // namespace nibble::bf16
