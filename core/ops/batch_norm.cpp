#include <atomic>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/kernels/elementwise/dispatch.h"
#include "core/ops.h"
#include "core/ops/batch_norm_clamp.h"
#include "core/ops/row_blocks.h"

namespace nibble {
namespace {

const float* values(const Tensor& t) { return t.data<float>().data(); }

void check_vector(const char* op, const char* what, const Tensor& t, const Tensor& x) {
  NIBBLE_CHECK(t.dtype() == DType::f32 && t.rank() == 1 && t.dim(0) == x.dim(-1), op, ": ", what, " must have ",
               x.dim(-1), " f32 elements, got ", name_of(t.dtype()), t.shape(), " (input ", x.shape(), ")");
}

void check_arguments(const char* op, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                     const BatchNormState& state) {
  check_f32(op, x);
  NIBBLE_CHECK(x.rank() >= 2 && x.dim(-1) >= 1, op, ": expects (N,...,C), got ", x.shape());
  if (gamma.defined()) check_vector(op, "gamma", gamma, x);
  if (beta.defined()) check_vector(op, "beta", beta, x);
  check_vector(op, "the running mean", state.mean, x);
  check_vector(op, "the running variance", state.variance, x);
  NIBBLE_CHECK(state.epsilon >= 0, op, ": epsilon must not be negative, got ", state.epsilon);
  NIBBLE_CHECK(state.momentum >= 0 && state.momentum <= 1, op, ": momentum must lie in [0, 1], got ", state.momentum);
}

/// Mean and sum of squared deviations of every channel: those of the blocks, combined in order in double precision.
struct Moments {
  std::vector<double> mean, squares;
};

Moments moments_of(const Tensor& x, const RowBlocks& blocks) {
  const int64_t channels = blocks.channels;
  const elementwise::Kernels& kernels = elementwise::kernels();
  const Tensor partial = Tensor::empty({blocks.count(), 3, channels});
  float* parts = partial.mutable_data<float>().data();
  blocks.each([&](int64_t block, int64_t at, int64_t rows) {
    float* to = parts + block * 3 * channels;
    kernels.moments(values(x) + at, rows, channels, to, to + channels, to + 2 * channels);
  });
  Moments total{std::vector<double>(static_cast<size_t>(channels)), std::vector<double>(static_cast<size_t>(channels))};
  double *mean = total.mean.data(), *squares = total.squares.data();
  parallel_for(0, channels, row_grain(blocks.count() * 4), [&](int64_t lo, int64_t hi) {
    for (int64_t block = 0; block < blocks.count(); ++block) {
      const float *center = parts + block * 3 * channels, *residual = center + channels;
      const auto rows = static_cast<double>(blocks.rows_in(block));
      for (int64_t c = lo; c < hi; ++c) mean[c] += rows * center[c] + residual[c];
    }
    for (int64_t c = lo; c < hi; ++c) mean[c] /= static_cast<double>(blocks.rows);
    // Moved from the block's centre to the mean of all: sum (x-m)^2 = sum (x-c)^2 + 2 (c-m) sum (x-c) + n (c-m)^2.
    for (int64_t block = 0; block < blocks.count(); ++block) {
      const float *center = parts + block * 3 * channels, *residual = center + channels, *square = residual + channels;
      const auto rows = static_cast<double>(blocks.rows_in(block));
      for (int64_t c = lo; c < hi; ++c) {
        const double shift = center[c] - mean[c];
        squares[c] += square[c] + shift * (2 * residual[c] + rows * shift);
      }
    }
  });
  return total;
}

/// dbeta = sum dy and dgamma / inverse = sum dy (x - mean).
struct Products {
  std::vector<double> total, product;
};

/// `of_block`(block, offset, rows, total, product) forms those of one block.
template <class Body>
Products sum_products(const RowBlocks& blocks, const Body& of_block) {
  const int64_t channels = blocks.channels;
  const Tensor partial = Tensor::empty({blocks.count(), 2, channels});
  float* parts = partial.mutable_data<float>().data();
  blocks.each([&](int64_t block, int64_t at, int64_t rows) {
    float* to = parts + block * 2 * channels;
    of_block(block, at, rows, to, to + channels);
  });
  Products sums{std::vector<double>(static_cast<size_t>(channels)), std::vector<double>(static_cast<size_t>(channels))};
  double *total = sums.total.data(), *product = sums.product.data();
  parallel_for(0, channels, row_grain(blocks.count() * 2), [&](int64_t lo, int64_t hi) {
    for (int64_t block = 0; block < blocks.count(); ++block) {
      const float *first = parts + block * 2 * channels, *second = first + channels;
      for (int64_t c = lo; c < hi; ++c) {
        total[c] += first[c];
        product[c] += second[c];
      }
    }
  });
  return sums;
}

Products products_of(const Tensor& x, const Tensor& dy, const Tensor& mean, const RowBlocks& blocks) {
  const elementwise::Kernels& kernels = elementwise::kernels();
  return sum_products(blocks, [&](int64_t, int64_t at, int64_t rows, float* total, float* product) {
    kernels.products(values(x) + at, values(dy) + at, rows, blocks.channels, values(mean), total, product);
  });
}

/// y = a[c] * x + b[c]
Tensor apply(const Tensor& x, const std::vector<float>& a, const std::vector<float>& b, const Tensor& y) {
  const RowBlocks blocks(x.shape());
  const elementwise::Kernels& kernels = elementwise::kernels();
  const float* from = values(x);
  float* to = y.mutable_data<float>().data();
  blocks.each([&](int64_t, int64_t at, int64_t rows) {
    kernels.affine(from + at, rows, blocks.channels, a.data(), b.data(), to + at);
  });
  return y;
}

/// 1 / sqrt(variance + epsilon)
std::vector<double> inverse_of(const std::vector<double>& variance, float epsilon) {
  std::vector<double> inverse;
  for (const double v : variance) inverse.push_back(1 / std::sqrt(v + epsilon));
  return inverse;
}

ChannelAffine affine_of(const Tensor& gamma, const Tensor& beta, const std::vector<double>& mean,
                        const std::vector<double>& inverse) {
  ChannelAffine affine;
  for (size_t c = 0; c < mean.size(); ++c) {
    const double a = (gamma.defined() ? values(gamma)[c] : 1.0) * inverse[c];
    affine.a.push_back(static_cast<float>(a));
    affine.b.push_back(static_cast<float>((beta.defined() ? values(beta)[c] : 0.0) - a * mean[c]));
  }
  return affine;
}

std::vector<double> to_doubles(const Tensor& t) { return {t.data<float>().begin(), t.data<float>().end()}; }

Tensor to_tensor(const std::vector<double>& from, const Tensor& factor) {
  Tensor to = Tensor::empty({static_cast<int64_t>(from.size())});
  for (size_t c = 0; c < from.size(); ++c) {
    to.mutable_data<float>()[c] = static_cast<float>(from[c] * (factor.defined() ? values(factor)[c] : 1.0));
  }
  return to;
}

void update(const BatchNormState& state, const Moments& moments, int64_t rows) {
  const double keep = state.momentum;
  const auto mean = state.mean.mutable_data<float>(), variance = state.variance.mutable_data<float>();
  for (size_t c = 0; c < mean.size(); ++c) {
    const double unbiased = moments.squares[c] / static_cast<double>(rows - 1);
    mean[c] = static_cast<float>(keep * mean[c] + (1 - keep) * moments.mean[c]);
    variance[c] = static_cast<float>(keep * variance[c] + (1 - keep) * unbiased);
  }
}

/// The statistics of a batch and what they make of gamma and beta.
struct Batch {
  ChannelAffine affine;
  Tensor mean, inverse;
};

/// Updates the running statistics.
Batch statistics_of(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
                    const RowBlocks& blocks) {
  NIBBLE_CHECK(blocks.rows >= 2, "batch_norm: training needs at least 2 values per channel, input is ", x.shape());
  const Moments moments = moments_of(x, blocks);
  update(state, moments, blocks.rows);
  std::vector<double> biased = moments.squares;
  for (double& v : biased) v /= static_cast<double>(blocks.rows);
  const std::vector<double> deviation = inverse_of(biased, state.epsilon);
  return {affine_of(gamma, beta, moments.mean, deviation), to_tensor(moments.mean, {}), to_tensor(deviation, {})};
}

/// dx = gamma * inverse * (dy - mean(dy) - xhat * mean(dy * xhat)) with xhat = (x - mean) * inverse, formed from x
/// again rather than kept. Into `dx`, which may be dy.
Tensor train_input_gradient(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& mean,
                            const Tensor& inverse, const Products& sums, const RowBlocks& blocks, const Tensor& dx) {
  const auto channels = static_cast<size_t>(blocks.channels);
  const auto rows = static_cast<double>(blocks.rows);
  std::vector<float> factor(channels), shift(channels), slope(channels);
  for (size_t c = 0; c < channels; ++c) {
    const double r = values(inverse)[c], a = (gamma.defined() ? values(gamma)[c] : 1.0) * r;
    factor[c] = static_cast<float>(a);
    shift[c] = static_cast<float>(a * sums.total[c] / rows);
    slope[c] = static_cast<float>(a * r * r * sums.product[c] / rows);
  }
  const elementwise::Kernels& kernels = elementwise::kernels();
  const float *in = values(x), *grad = values(dy);
  float* to = dx.mutable_data<float>().data();
  blocks.each([&](int64_t, int64_t at, int64_t count) {
    kernels.correct(in + at, grad + at, count, blocks.channels, values(mean), factor.data(), shift.data(), slope.data(),
                    to + at);
  });
  return dx;
}

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
  Grads gradients(const Tensor& g, const Products& sums) const {
    Tensor dx, dgamma, dbeta;
    if (gamma.requires_grad()) dgamma = to_tensor(sums.product, batch.inverse);
    if (beta.requires_grad()) dbeta = to_tensor(sums.total, {});
    if (x.requires_grad())
      dx = train_input_gradient(x, g, gamma, batch.mean, batch.inverse, sums, blocks,
                                wants_residual() ? Tensor::empty_like(g) : g);
    return {dx, dgamma, dbeta, wants_residual() ? g : Tensor()};
  }
};

ClampedNorm clamped_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state,
                         const Tensor& residual, float most) {
  check_arguments("batch_norm", x, gamma, beta, state);
  if (residual.defined()) {
    check_f32("add", residual);
    NIBBLE_CHECK(residual.shape() == x.shape(), "add: shapes differ: ", x.shape(), " and ", residual.shape());
  }
  const RowBlocks blocks(x.shape());
  return {x, gamma, beta, residual, most, blocks, statistics_of(x, gamma, beta, state, blocks)};
}

int64_t stretches_of(const RowBlocks& blocks) {
  return (blocks.elements() + ElementwiseOp::kStretch - 1) / ElementwiseOp::kStretch;
}

/// step(offset, elements, index) for the stretches of a block, which are numbered through all blocks.
template <class Step>
void each_stretch(const RowBlocks& blocks, int64_t block, const Step& step) {
  constexpr int64_t kStretch = ElementwiseOp::kStretch;
  const int64_t size = blocks.rows_in(block) * blocks.channels;
  for (int64_t first = 0; first < size; first += kStretch)
    step(first, std::min(kStretch, size - first), block * stretches_of(blocks) + first / kStretch);
}

/// One sum for every stretch of all blocks.
std::vector<double> stretch_sums(const RowBlocks& blocks) {
  return std::vector<double>(static_cast<size_t>(blocks.count() * stretches_of(blocks)), 0.0);
}

double total_of(const std::vector<double>& parts) { return std::accumulate(parts.begin(), parts.end(), 0.0); }

/// The sums of ClampedNorm for the gradient of what `then` makes of y, which is computed again rather than kept, and in
/// `parts` the sums of `then`, stretch by stretch.
Products sum_through(const ClampedNorm& norm, const ElementwiseOp& then, const Tensor& dy, const Tensor& g,
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
Products sum_both(const ClampedNorm& norm, const ElementwiseOp& also, const Tensor& y, const Tensor& dy,
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

ChannelAffine batch_norm_affine(const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  return affine_of(gamma, beta, to_doubles(state.mean), inverse_of(to_doubles(state.variance), state.epsilon));
}

Tensor batch_norm_train(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  check_arguments("batch_norm", x, gamma, beta, state);
  const RowBlocks blocks(x.shape());
  const Batch batch = statistics_of(x, gamma, beta, state, blocks);
  const Tensor y = apply(x, batch.affine.a, batch.affine.b, Tensor::empty_like(x));
  return record("batch_norm", y, {x, gamma, beta},
                [=, mean = batch.mean, inverse = batch.inverse](const Tensor& dy) -> Grads {
                  const Products sums = products_of(x, dy, mean, blocks);
                  Tensor dx, dgamma, dbeta;
                  if (gamma.requires_grad()) dgamma = to_tensor(sums.product, inverse);
                  if (beta.requires_grad()) dbeta = to_tensor(sums.total, {});
                  if (x.requires_grad())
                    dx = train_input_gradient(x, dy, gamma, mean, inverse, sums, blocks, reuse(dy));
                  return {dx, dgamma, dbeta};
                });
}

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
    const Products sums =
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

Tensor batch_norm_eval(const Tensor& x, const Tensor& gamma, const Tensor& beta, const BatchNormState& state) {
  check_arguments("batch_norm", x, gamma, beta, state);
  const ChannelAffine affine = batch_norm_affine(gamma, beta, state);
  const Tensor y = apply(x, affine.a, affine.b, Tensor::empty_like(x));
  if (!would_record({x, gamma, beta})) return y;
  // Copies: the running statistics may have moved on by the time of the backward pass.
  const Tensor mean = state.mean.clone(),
               inverse = to_tensor(inverse_of(to_doubles(state.variance), state.epsilon), {});
  return record("batch_norm", y, {x, gamma, beta}, [=, a = affine.a](const Tensor& dy) -> Grads {
    Tensor dx, dgamma, dbeta;
    if (gamma.requires_grad() || beta.requires_grad()) {
      const Products sums = products_of(x, dy, mean, RowBlocks(x.shape()));
      if (gamma.requires_grad()) dgamma = to_tensor(sums.product, inverse);
      if (beta.requires_grad()) dbeta = to_tensor(sums.total, {});
    }
    if (x.requires_grad()) dx = apply(dy, a, std::vector<float>(a.size()), reuse(dy));
    return {dx, dgamma, dbeta};
  });
}

}  // namespace nibble
