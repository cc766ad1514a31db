#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/grid.h"
#include "core/rng.h"
#include "core/tape.h"
#include "quant/backward_rule.h"

/// What the methods with two levels, -scale and +scale, have in common. sign(0) = +1. A channel is an equal part of
/// axis 0.
namespace nibble {

/// Mean of |w| over each of `channels` parts, at most half of the largest float. Throws Error naming `who` if w is not
/// finite.
std::vector<float> sign_scales(std::string_view who, const Tensor& w, int64_t channels);
/// The two levels of every channel; for one channel snap() is scale * sign(x) for every x.
Grid sign_grid(const std::vector<float>& scale);
/// y = scale[c] * sign(w), on sign_grid(scale); off the tape.
Tensor scaled_sign(const Tensor& w, std::span<const float> scale);
/// y = +scale with probability clamp((x / scale + 1) / 2, 0, 1), else -scale; off the tape. Advances rng by one number
/// per element.
Tensor random_sign(const Tensor& x, float scale, Rng& rng);
/// dx = dy * slope of the rule at x, for levels from -scale[c] to scale[c].
Tensor sign_gradient(const Tensor& x, const Tensor& dy, std::span<const float> scale, const BackwardRule& rule);
/// One recorded step: scale * sign(x), or random_sign if there is an rng. Throws Error naming `who` if x is not finite.
Tensor record_sign(std::string_view who, const Tensor& x, float scale, std::shared_ptr<const BackwardRule> rule,
                   Rng* rng = nullptr);
/// The factor of BinaryConnect's code on the learning rate of a binary weight (O, I, ...): 1 / sqrt(1.5 / (fan_in +
/// fan_out)), the inverse of Glorot's coefficient, with fan_in = I times the window and fan_out = O times the window
/// ("glorot"); its square, which the paper has for plain SGD ("glorot_squared"); or 1 ("none").
float glorot_lr_factor(const std::string& scale, const Tensor& weight);
/// The accepted values of `scale`.
const std::vector<std::string>& glorot_lr_scales();
/// Clamps the elements to [-bound, bound] in place.
void clamp_in_place(const Tensor& w, float bound);

}  // namespace nibble
