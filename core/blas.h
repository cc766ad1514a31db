#pragma once

#include <cstdint>
#include <string>

namespace nibble {

/// c(M,N) = alpha * op(a)(M,K) * op(b)(K,N) + beta * c, all row-major; op is the transpose if the flag is set, and
/// lda, ldb, ldc are the distances between stored rows. beta = 0 does not read c. The work is cut into blocks that
/// depend on the shape only, so the result does not depend on the number of threads. Nothing may alias c.
void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

/// out(N) = sums over the rows of a(M,N), in an order that depends on the shape only.
void column_sums(int64_t m, int64_t n, const float* a, float* out);

struct BlasInfo {
  std::string library;  ///< "OpenBLAS 0.3.21", or "built-in"
  std::string core;     ///< the processor whose kernels OpenBLAS chose, or ""
  std::string warning;  ///< "" unless the processor can do more than the chosen kernels use
};
/// What OPENBLAS_CORETYPE should have been when the program started: OpenBLAS does not know every processor and then
/// takes its oldest kernels. Empty if the choice is right.
std::string better_blas_core();
/// For the header of a run.
BlasInfo blas_info();

}  // namespace nibble
