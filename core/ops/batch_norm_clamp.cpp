#include "core/ops/batch_norm_clamp.h"

#include <atomic>
#include <cmath>

#include "core/kernels/elementwise/dispatch.h"
#include "core/ops/batch_statistics.h"
#include "core/ops/stretches.h"

namespace nibble {

using namespace batch_statistics;

namespace {

/// clamp(norm(x) + residual) with the statistics of a batch.
struct ClampedNorm {
  Tensor x, gamma, beta, residual;
  float most;
  RowBlocks blocks;
  Batch batch;

  /// y of the rows at an offset.
  void run(int64_t at, int64_t rows, float* y) const {
    const float* other = residual.defined() ? values(residual) + at : nullptr;
    elementwise::kernels().affine_clamp(values(x) + at, other, rows, blocks.channels, batch.affine.a.data(),
                                        batch.affine.b.data(), most, y);
  }
  /// Of the rows at an offset, whose y and dy are given: g = 0 < y < most ? dy : 0, where g may be dy, and its sums.
  void sum(int64_t at, int64_t rows, const float* y, const float* dy, float* g, float* total, float* product) const {
    elementwise::kernels().clamped_products(values(x) + at, y, dy, rows, blocks.channels, values(batch.mean), most, g,
                                            total, product);
  }
  bool wants_residual() const { return residual.defined() && residual.requires_grad(); }
  /// Of x, gamma, beta and the residual, from g and its sums.
  Grads gradients(const Tensor& g, const ChannelProducts& sums) const {
    Tensor dx, dgamma, dbeta;
    if (gamma.requires_grad()) dgamma = to_tensor(sums.product, batch.inverse);
    if (beta.requires_grad()) dbeta = to_tensor(sums.total, {});
    if (x.requires_grad())
      dx = train_input_gradient(x, g, gamma, batch.mean, batch.inverse, sums,
                                wants_residual() ? Tensor::empty_like(g) : g);
    return {dx, dgamma, dbeta, wants_residual() ? g : Tensor()};
  }
};

void check_all(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
               const Tensor& residual) {
  check_arguments("batch_norm", x, gamma, beta, state);
  if (!residual.defined()) return;
  check_f32("add", residual);
  NIBBLE_CHECK(residual.shape() == x.shape(), "add: shapes differ: ", x.shape(), " and ", residual.shape());
}

ClampedNorm clamped_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
                         const Tensor& residual, float most) {
  check_all(x, gamma, beta, state, residual);
  const RowBlocks blocks(x.shape());
  return {x, gamma, beta, residual, most, blocks, statistics_of(x, gamma, beta, state)};
}

/// The sums of ClampedNorm for the gradient of what `then` makes of y, which is computed again rather than kept, and in
/// `parts` the sums of `then`, stretch by stretch.
ChannelProducts sum_through(const ClampedNorm& norm, const ElementwiseOp& then, const Tensor& dy, const Tensor& g,
                            std::vector<double>& parts) {
  const RowBlocks& blocks = norm.blocks;
  const float* from = values(dy);
  float* passed = g.mutable_data<float>().data();
  return sum_products(blocks, [&](int64_t block, int64_t at, int64_t rows, float* total, float* product) {
    const Tensor scratch = Tensor::empty({rows * blocks.channels});
    float* y = scratch.mutable_data<float>().data();
    norm.run(at, rows, y);
    each_stretch(blocks, block, [&](int64_t first, int64_t n, int64_t index) {
      parts[static_cast<size_t>(index)] = then.backward(y + first, from + at + first, passed + at + first, n);
    });
    norm.sum(at, rows, y, passed + at, passed + at, total, product);
  });
}

/// The same for the gradients of both, y and what `also` makes of it. Either may be undefined.
ChannelProducts sum_both(const ClampedNorm& norm, const ElementwiseOp& also, const Tensor& y, const Tensor& dy,
                         const Tensor& dother, const Tensor& g, std::vector<double>& parts) {
  const elementwise::Kernels& kernels = elementwise::kernels();
  const float *out = values(y), *one = dy.defined() ? values(dy) : nullptr,
              *other = dother.defined() ? values(dother) : nullptr;
  float* passed = g.mutable_data<float>().data();
  return sum_products(norm.blocks, [&](int64_t block, int64_t at, int64_t rows, float* total, float* product) {
    if (other)
      each_stretch(norm.blocks, block, [&](int64_t first, int64_t n, int64_t index) {
        const int64_t i = at + first;
        parts[static_cast<size_t>(index)] = also.backward(out + i, other + i, passed + i, n);
        if (one) kernels.add(one + i, passed + i, passed + i, n);
      });
    norm.sum(at, rows, out + at, (other ? passed : one) + at, passed + at, total, product);
  });
}

/// y and what `op` makes of it, in `other`, which may be y. Throws if y is not finite.
void run_with_op(const ClampedNorm& norm, const ElementwiseOp& op, const Tensor& y, const Tensor& other) {
  float *out = y.mutable_data<float>().data(), *to = other.mutable_data<float>().data();
  std::atomic<bool> finite{true};
  norm.blocks.each([&](int64_t block, int64_t at, int64_t rows) {
    norm.run(at, rows, out + at);
    each_stretch(norm.blocks, block, [&](int64_t first, int64_t n, int64_t) {
      if (!op.forward(out + at + first, to + at + first, n)) finite = false;
    });
  });
  NIBBLE_CHECK(finite, op.name(), ": expected finite numbers, got infinity or NaN from the batch norm of ", y.shape());
}

}  // namespace

Tensor batch_norm_clamp_train(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
                              const Tensor& residual, float most) {
  const ClampedNorm norm = clamped_norm(x, gamma, beta, state, residual, most);
  const Tensor y = Tensor::empty_like(x);
  float* to = y.mutable_data<float>().data();
  norm.blocks.each([&](int64_t, int64_t at, int64_t rows) { norm.run(at, rows, to + at); });
  // What passed the clamp is told by y, which the next layer keeps anyway.
  return record("batch_norm_clamp", y, {x, gamma, beta, residual}, [=, kept = y.detach()](const Tensor& dy) -> Grads {
    const Tensor g = reuse(dy);
    const float *out = values(kept), *from = values(dy);
    float* passed = g.mutable_data<float>().data();
    const ChannelProducts sums =
        sum_products(norm.blocks, [&](int64_t, int64_t at, int64_t rows, float* total, float* product) {
          norm.sum(at, rows, out + at, from + at, passed + at, total, product);
        });
    return norm.gradients(g, sums);
  });
}

Tensor batch_norm_clamp_then_train(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                   const BatchNormState& state, const Tensor& residual, float most,
                                   const std::shared_ptr<const ElementwiseOp>& then) {
  const ClampedNorm norm = clamped_norm(x, gamma, beta, state, residual, most);
  const Tensor y = Tensor::empty_like(x);
  run_with_op(norm, *then, y, y);
  return record(concat_text("batch_norm_clamp_", then->name()), y, {x, gamma, beta, residual, then->parameter()},
                [norm, then](const Tensor& dy) -> Grads {
                  const Tensor g = reuse(dy);
                  std::vector<double> parts = stretch_sums(norm.blocks);
                  Grads grads = norm.gradients(g, sum_through(norm, *then, dy, g, parts));
                  grads.push_back(then->parameter_gradient(total_of(parts)));
                  return grads;
                });
}

std::pair<Tensor, Tensor> batch_norm_clamp_and_train(const Tensor& x, const Tensor& gamma, const Tensor& beta,
                                                     const BatchNormState& state, const Tensor& residual, float most,
                                                     const std::shared_ptr<const ElementwiseOp>& also) {
  const ClampedNorm norm = clamped_norm(x, gamma, beta, state, residual, most);
  const Tensor y = Tensor::empty_like(x), other = Tensor::empty_like(x);
  run_with_op(norm, *also, y, other);
  record_pair(concat_text("batch_norm_clamp_and_", also->name()), y, other,
              {x, gamma, beta, residual, also->parameter()},
              [norm, also, kept = y.detach()](const Tensor& dy, const Tensor& dother) -> Grads {
                const Tensor g = reuse(dother.defined() ? dother : dy);
                std::vector<double> parts = stretch_sums(norm.blocks);
                Grads grads = norm.gradients(g, sum_both(norm, *also, kept, dy, dother, g, parts));
                grads.push_back(dother.defined() ? also->parameter_gradient(total_of(parts)) : Tensor());
                return grads;
              });
  return {y, other};
}

Tensor batch_norm_clamp_eval(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
                             const Tensor& residual, float most) {
  if (would_record({x, gamma, beta, residual})) {
    const Tensor norm = batch_norm_eval(x, gamma, beta, state), sum = residual.defined() ? add(norm, residual) : norm;
    return std::isinf(most) ? relu(sum) : relu6(sum);
  }
  check_all(x, gamma, beta, state, residual);
  const ChannelAffine affine = batch_norm_affine(gamma, beta, state);
  const RowBlocks blocks(x.shape());
  const Tensor y = Tensor::empty_like(x);
  const float *from = values(x), *other = residual.defined() ? values(residual) : nullptr;
  float* to = y.mutable_data<float>().data();
  blocks.each([&](int64_t, int64_t at, int64_t rows) {
    elementwise::kernels().affine_clamp(from + at, other ? other + at : nullptr, rows, blocks.channels, affine.a.data(),
                                        affine.b.data(), most, to + at);
  });
  return y;
}

}  // namespace nibble
