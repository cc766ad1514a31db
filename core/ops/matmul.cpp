#include <algorithm>

#include "core/blas.h"
#include "core/ops.h"
#include "core/profile.h"

namespace nibble {

namespace {

/// One of the three products of a linear layer in a profile.
class ProductSpan {
 public:
  ProductSpan(profile::Stage stage, int64_t n, int64_t in, int64_t out) : span_(stage, "linear") {
    if (!span_) return;
    const BlasInfo blas = blas_info();
    span_.note({.flop = 2.0 * static_cast<double>(n * in * out),
                .bytes = sizeof(float) * static_cast<double>(n * in + in * out + n * out),
                .kernel = concat_text("gemm ", blas.library, blas.core.empty() ? "" : " ", blas.core),
                .shapes = concat_text("x ", Shape{n, in}, " w ", Shape{out, in}, " y ", Shape{n, out})});
  }

 private:
  profile::Span span_;
};

}  // namespace

Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias) {
  NIBBLE_CHECK(x.rank() == 2, "linear: input must be (N,I), got ", x.shape());
  NIBBLE_CHECK(w.rank() == 2, "linear: weight must be (O,I), got ", w.shape());
  const int64_t n = x.dim(0), in = x.dim(1), out = w.dim(0);
  NIBBLE_CHECK(w.dim(1) == in, "linear: weight expects ", w.dim(1), " features, input has ", in, " (input ", x.shape(),
               ", weight ", w.shape(), ")");
  NIBBLE_CHECK(!bias.defined() || (bias.rank() == 1 && bias.dim(0) == out), "linear: bias must have ", out,
               " elements, got ", bias.defined() ? bias.shape() : Shape{}, " (weight ", w.shape(), ")");
  Tensor y = Tensor::empty({n, out});
  float* to = y.mutable_data<float>().data();
  if (bias.defined()) {
    const auto b = bias.data<float>();
    for (int64_t i = 0; i < n; ++i) std::copy(b.begin(), b.end(), to + i * out);
  }
  {
    const ProductSpan span(profile::Stage::forward, n, in, out);
    gemm(false, true, n, out, in, 1, x.data<float>().data(), in, w.data<float>().data(), in, bias.defined() ? 1.f : 0.f,
         to, out);
  }
  const bool want_dx = x.requires_grad(), want_dw = w.requires_grad(), want_db = bias.requires_grad();
  const Tensor kept_x = want_dw ? x.detach() : Tensor{}, kept_w = want_dx ? w.detach() : Tensor{};
  return record("linear", y, {x, w, bias}, [=](const Tensor& dy) -> Grads {
    const float* g = dy.data<float>().data();
    Tensor dx, dw, db;
    if (want_dx) {
      const ProductSpan span(profile::Stage::backward_data, n, in, out);
      dx = Tensor::empty({n, in});
      gemm(false, false, n, in, out, 1, g, out, kept_w.data<float>().data(), in, 0, dx.mutable_data<float>().data(),
           in);
    }
    if (want_dw) {
      const ProductSpan span(profile::Stage::backward_weights, n, in, out);
      dw = Tensor::empty({out, in});
      gemm(true, false, out, in, n, 1, g, out, kept_x.data<float>().data(), in, 0, dw.mutable_data<float>().data(), in);
    }
    if (want_db) {
      db = Tensor::empty({out});
      column_sums(n, out, g, db.mutable_data<float>().data());
    }
    return {dx, dw, db};
  });
}

}  // namespace nibble
