#include "quant/dorefa_gradient.h"

#include "core/rounding.h"
#include "quant/blocks.h"
#include "quant/finite.h"
#include "quant/statistics.h"

namespace nibble {

namespace {

Tensor quantized(const Tensor& d, int bits, const Rng& rng, uint64_t first) {
  check_finite("dorefa_gradient: the gradient", d);
  Tensor q = Tensor::empty_like(d);
  const int64_t samples = std::max<int64_t>(1, d.dim(0));
  const std::vector<float> largest = max_absolute(d, samples);
  const auto n = static_cast<float>((1 << bits) - 1);
  const float* from = d.data<float>().data();
  float* to = q.mutable_data<float>().data();
  Blocks(d.numel(), samples).each([&, n](const Block& b) {
    const float m = largest[static_cast<size_t>(b.channel)];
    const int64_t end = b.begin + b.count;
    if (m == 0) {
      std::fill(to + b.begin, to + end, 0.0f);
      return;
    }
    for (int64_t i = b.begin; i < end;) {
      const uint64_t index = first + static_cast<uint64_t>(i);
      const auto block = rng.block(index >> 2);
      for (uint64_t k = index & 3; k < 4 && i < end; ++k, ++i) {
        // In units of the codes; the middle of each of the generator's 2^24 cells keeps the noise inside its bounds.
        const float noise = (static_cast<float>(block[k] >> 9) + 0.5f) * 0x1p-23f - 0.5f;
        const float u = (from[i] / m * 0.5f + 0.5f) * n + noise;
        const float code = round_half_even(std::min(std::max(u, 0.0f), n));
        to[i] = m * (2 * code / n - 1);
      }
    }
  });
  return q;
}

}  // namespace

void DorefaGradient::Options::fields(Fields& f) { f("bits", bits, "width of a gradient's codes", {1, 16}); }

DorefaGradient::DorefaGradient(const Options& options) : options_(options) {}

Tensor DorefaGradient::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  if (pass.mode == Mode::eval) return in[0];
  const Tensor& x = in[0];
  NIBBLE_CHECK(pass.rng != nullptr, "dorefa_gradient: training needs a random generator, and this pass has none");
  NIBBLE_CHECK(x.rank() > 0, "dorefa_gradient: expected a batch of samples along axis 0, got a scalar");
  const uint64_t first = pass.rng->position();
  pass.rng->set_position(first + static_cast<uint64_t>(x.numel()));
  return record("dorefa_gradient", x.detach(), {x},
                [bits = options_.bits, rng = *pass.rng, first](const Tensor& dy) -> Grads {
                  return {quantized(dy, bits, rng, first)};
                });
}

NIBBLE_REGISTER_LAYER(DorefaGradient, "dorefa_gradient",
                      "DoReFa-Net's stochastic quantization of the gradient that passes backwards through it.");

}  // namespace nibble
