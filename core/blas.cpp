#include "core/blas.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "core/cpu.h"
#include "core/error.h"
#include "core/parallel.h"

#ifndef NIBBLE_WITH_OPENBLAS
#define NIBBLE_WITH_OPENBLAS 0
#endif
#if NIBBLE_WITH_OPENBLAS
#include <omp.h>

#include "third_party/openblas.h"
#endif

namespace nibble {
namespace {

struct Matrix {
  const float* data;
  int64_t ld;
  bool trans;
  /// The matrix without its first rows (after transposition) or columns.
  Matrix skip(int64_t rows, int64_t cols) const {
    return {data + (trans ? cols * ld + rows : rows * ld + cols), ld, trans};
  }
};

#if NIBBLE_WITH_OPENBLAS
/// Blocks are our unit of parallel work, so OpenBLAS is to run each on the thread that asks.
void keep_single_threaded() {
  static const bool done = [] {
    const int before = omp_get_max_threads();
    openblas_set_num_threads(1);  // its OpenMP build also sets the number of threads of the caller's next regions
    omp_set_num_threads(before);
    return true;
  }();
  (void)done;
}

void gemm_block(int64_t m, int64_t n, int64_t k, float alpha, Matrix a, Matrix b, float beta, float* c, int64_t ldc) {
  const auto i = [](int64_t v) { return static_cast<blasint>(v); };
  const auto t = [](bool v) { return v ? CblasTrans : CblasNoTrans; };
  cblas_sgemm(CblasRowMajor, t(a.trans), t(b.trans), i(m), i(n), i(k), alpha, a.data, i(a.ld), b.data, i(b.ld), beta, c,
              i(ldc));
}
#else
void keep_single_threaded() {}

constexpr int64_t kDepth = 128, kWidth = 256, kHeight = 4;

/// One kHeight x kWidth piece of c += alpha a b for at most kDepth of k; `panel` holds b as k x kWidth.
void gemm_piece(int64_t rows, int64_t cols, int64_t k, float alpha, Matrix a, const float* panel, float* c,
                int64_t ldc) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t p = 0; p < k; ++p) {
      const float s = alpha * *a.skip(r, p).data;
      const float* from = panel + p * kWidth;
      float* to = c + r * ldc;
      for (int64_t q = 0; q < cols; ++q) to[q] += s * from[q];
    }
}

void gemm_block(int64_t m, int64_t n, int64_t k, float alpha, Matrix a, Matrix b, float beta, float* c, int64_t ldc) {
  for (int64_t r = 0; r < m; ++r)
    for (int64_t q = 0; q < n; ++q) c[r * ldc + q] = beta == 0 ? 0 : beta * c[r * ldc + q];
  std::vector<float> panel(static_cast<size_t>(kDepth * kWidth));
  for (int64_t q = 0; q < n; q += kWidth)
    for (int64_t p = 0; p < k; p += kDepth) {
      const int64_t cols = std::min(kWidth, n - q), depth = std::min(kDepth, k - p);
      for (int64_t i = 0; i < depth; ++i)
        for (int64_t j = 0; j < cols; ++j) panel[static_cast<size_t>(i * kWidth + j)] = *b.skip(p + i, q + j).data;
      for (int64_t r = 0; r < m; r += kHeight)
        gemm_piece(std::min(kHeight, m - r), cols, depth, alpha, a.skip(r, p), panel.data(), c + r * ldc + q, ldc);
    }
}
#endif

}  // namespace

void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  NIBBLE_CHECK(m >= 0 && n >= 0 && k >= 0, "gemm: sizes must not be negative, got ", m, " x ", n, " x ", k);
  NIBBLE_CHECK(std::max({m, n, k, lda, ldb, ldc}) < (int64_t{1} << 31), "gemm: ", m, " x ", n, " x ", k,
               " is too large");
  if (m == 0 || n == 0) return;
  keep_single_threaded();
  const Matrix ma{a, lda, trans_a}, mb{b, ldb, trans_b};
  // At most 16 blocks of at least 32 rows or columns: enough for the cores we expect, without starving one call.
  const bool rows = m >= n;
  const int64_t extent = rows ? m : n;
  const int64_t size = std::max<int64_t>(32, ((extent + 15) / 16 + 7) / 8 * 8);
  const int64_t blocks = (extent + size - 1) / size;
  // A block below about 20 us is not worth waking a thread for.
  const int64_t grain = 1 + (1 << 21) / std::max<int64_t>(1, m * n * k / blocks);
  parallel_for(0, blocks, grain, [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) {
      const int64_t first = i * size, count = std::min(size, extent - first);
      if (rows)
        gemm_block(count, n, k, alpha, ma.skip(first, 0), mb, beta, c + first * ldc, ldc);
      else
        gemm_block(m, count, k, alpha, ma, mb.skip(0, first), beta, c + first, ldc);
    }
  });
}

void column_sums(int64_t m, int64_t n, const float* a, float* out) {
  constexpr int64_t kBlocks = 16, kChain = 256;
  std::vector<double> partial(static_cast<size_t>(kBlocks * n), 0.0);
  parallel_for(0, kBlocks, 1 + (1 << 16) * kBlocks / std::max<int64_t>(1, m * n), [&](int64_t lo, int64_t hi) {
    std::vector<float> chain(static_cast<size_t>(n));
    for (int64_t b = lo; b < hi; ++b) {
      double* total = partial.data() + b * n;
      const int64_t end = m * (b + 1) / kBlocks;
      for (int64_t first = m * b / kBlocks; first < end; first += kChain) {
        std::ranges::fill(chain, 0.f);
        float* sum = chain.data();
        for (int64_t i = first; i < std::min(end, first + kChain); ++i)
          for (int64_t j = 0; j < n; ++j) sum[j] += a[i * n + j];
        for (int64_t j = 0; j < n; ++j) total[j] += sum[j];
      }
    }
  });
  for (int64_t j = 0; j < n; ++j) {
    double total = 0;
    for (int64_t b = 0; b < kBlocks; ++b) total += partial[static_cast<size_t>(b * n + j)];
    out[j] = static_cast<float>(total);
  }
}

std::string better_blas_core() {
#if NIBBLE_WITH_OPENBLAS && NIBBLE_X86
  constexpr std::array<std::string_view, 4> uses_avx512{"SkylakeX", "Cooperlake", "SapphireRapids", "SKYLAKEX"};
  constexpr std::array<std::string_view, 7> before_avx2{"Prescott", "Core2", "Penryn",     "Dunnington",
                                                        "Nehalem",  "Atom",  "Sandybridge"};
  const std::string core = openblas_get_corename();
  const auto is_one_of = [&core](const auto& names) { return std::ranges::find(names, core) != names.end(); };
  if ((cpu::detected() & cpu::avx512) == cpu::avx512) return is_one_of(uses_avx512) ? "" : "SkylakeX";
  if ((cpu::detected() & (cpu::avx2 | cpu::fma)) == (cpu::avx2 | cpu::fma) && is_one_of(before_avx2)) return "Haswell";
#endif
  return "";
}

BlasInfo blas_info() {
  BlasInfo info;
#if NIBBLE_WITH_OPENBLAS
  const std::string config = openblas_get_config();  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
  info.library = config.substr(0, config.find(' ', config.find(' ') + 1));
  info.core = openblas_get_corename();
  if (const std::string better = better_blas_core(); !better.empty())
    info.warning = "OpenBLAS runs its " + info.core +
                   " kernels on a processor that can do more, its gemm is at a part " +
                   "of its speed: set OPENBLAS_CORETYPE=" + better;
#else
  info.library = "built-in";
#endif
  return info;
}

}  // namespace nibble
