#pragma once

#include <initializer_list>
#include <optional>
#include <span>

#include "layers/layer.h"
#include "quant/lowering/coding.h"
#include "quant/lowering/gemm_window.h"

namespace nibble {

/// A weight that a lowered layer keeps as codes, packed at `bits` bits each (layers/packed.h).
struct CodedWeight {
  Tensor codes;
  GemmWindow window;
  int bits = 8;
};

/// A layer of a network that was lowered: it reads and writes codes (u8) where its neighbours do, and cannot be
/// trained. Its state is read-only buffers; what it works out of them it works out once, so that several threads may
/// run it.
class LoweredLayer : public Layer {
 public:
  /// Throws Error in training, and where an input's type is not what the layer reads.
  Tensor forward(Inputs in, const Pass& pass) final;
  /// How the output is coded, given how the inputs are (nothing for f32); nothing if the output is f32. Throws Error
  /// unless the layer can read such inputs.
  virtual std::optional<Coding> coding(std::span<const std::optional<Coding>> inputs) const = 0;
  /// The Engine that built it; empty for layers of which there is one kind only.
  virtual std::string engine() const { return {}; }
  /// What the time it takes depends on, besides the input's extent: layers with one signature take equally long.
  virtual std::string signature() const { return std::string(type()); }
  /// The shape of the second input, values (f32), for a first of this shape; empty: there is one input, or all are
  /// alike.
  virtual Shape term_shape(const Shape& /*input*/) const { return {}; }
  virtual std::optional<CodedWeight> coded_weight() const { return std::nullopt; }
  /// Memory that it takes besides tensors: what its state was packed into.
  virtual int64_t plan_bytes() const { return 0; }
  /// By how much more than half a step, in codes, the layer's arithmetic as it is defined may miss the exact value.
  virtual double slack() const { return 1.0 / 512; }

 protected:
  virtual Tensor compute(Inputs in) = 0;
};

/// `options` without those that equal `defaults`, but with all that are `required`.
Json without_defaults(const Json& options, const Json& defaults, std::initializer_list<const char*> required);
/// A layer's options as a lowered model writes them: what has its default is left out, so that the JSON is small beside
/// the weights.
template <class Options>
Json written_options(const Options& options, std::initializer_list<const char*> required) {
  return without_defaults(write_options(options), write_options(Options{}), required);
}

/// Throws Error naming the layer unless there are `count` inputs (at least one if 0), all of the type.
void check_lowered_inputs(const Layer& layer, Inputs in, size_t count, DType type);
/// The one input's coding; throws Error unless there is exactly one input and it is coded.
const Coding& only_coding(const Layer& layer, std::span<const std::optional<Coding>> inputs);

/// The same of a layer whose first input is codes and, with a `term`, whose second is values (f32).
const Coding& gemm_coding(const Layer& layer, std::span<const std::optional<Coding>> inputs, bool term);
/// Throws Error unless the inputs are such.
void check_gemm_inputs(const Layer& layer, Inputs in, bool term);
/// Throws Error unless a second input has the output's shape.
void check_term(const Layer& layer, const Tensor& term, const Shape& output);

/// Coding::check, and throws Error unless the levels are equally spaced.
void check_uniform(const char* who, const Coding& coding);

/// More values than one image has anywhere in a network.
inline constexpr int64_t kMostActivations = int64_t{1} << 26;
/// Throws Error if an output of this shape, the samples along the first axis, has more values per sample: paddings and
/// channels of a hostile file must not exhaust the memory.
void check_output(const Layer& layer, const Shape& shape);
/// Space for a layer's output, which is checked.
Tensor new_output(const Layer& layer, const Shape& shape, DType type = DType::u8);

/// A zeroed buffer for a lowered layer's state. Throws Error above 2^28 elements, or where a file that is being
/// loaded has fewer bytes (StateLimit): a hostile file must not exhaust the memory.
Tensor new_buffer(const Shape& shape, DType type, const char* who);

}  // namespace nibble
