#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace nibble {

/// One gradient per input of an op, in order; an undefined one means none.
using Grads = std::vector<Tensor>;
/// Given dL/dy returns dL/d(input) for every input. Pure: only the tape accumulates. It may capture inputs, never the
/// output's handle (capture y.detach()). It may return `dy` itself.
using BackwardFn = std::function<Grads(const Tensor& dy)>;
/// The same for an op with two outputs; one of the gradients may be undefined.
using PairBackwardFn = std::function<Grads(const Tensor& dfirst, const Tensor& dsecond)>;

/// Where the gradient of an op's input goes: to the op that made it, to a leaf, or (neither) nowhere. The data of a
/// tensor that an op made is not held: what a backward function needs, it captures.
struct GradTarget {
  explicit GradTarget(const Tensor& input);

  Shape shape;
  std::shared_ptr<TapeNode> node;
  bool second = false;  ///< to the second output of `node`
  Tensor leaf;
};

/// One recorded op.
class TapeNode {
 public:
  std::string name;
  std::vector<GradTarget> inputs;
  BackwardFn backward;
  PairBackwardFn pair_backward;         ///< in place of `backward`, of an op with two outputs
  std::shared_ptr<TapeNode> second_of;  ///< the node of a second output only says to which op that belongs
  uint64_t order = 0;  ///< increases with every recorded op, so inputs have smaller orders than outputs
};

/// Puts y = op(inputs) on the tape and returns y. Does nothing if recording is off on this thread or no input
/// requires a gradient.
Tensor record(std::string_view name, Tensor y, std::span<const Tensor> inputs, BackwardFn fn);
Tensor record(std::string_view name, Tensor y, std::initializer_list<Tensor> inputs, BackwardFn fn);
/// The same for an op with two outputs.
void record_pair(std::string_view name, Tensor first, Tensor second, std::initializer_list<Tensor> inputs,
                 PairBackwardFn fn);

/// True if an op on these inputs would be recorded: lets an op skip work that only its backward needs.
bool would_record(std::initializer_list<Tensor> inputs);

/// While one is alive on this thread nothing is recorded.
class NoRecord {
 public:
  NoRecord();
  ~NoRecord();
  NoRecord(const NoRecord&) = delete;
  NoRecord& operator=(const NoRecord&) = delete;

 private:
  bool before_;
};

/// Sees the name of an op and the gradient that arrived at its output, before the op's backward runs.
using GradientWatch = std::function<void(std::string_view name, const Tensor& dy)>;

/// Runs the tape backwards from a one-element tensor and adds to the `grad()` of every leaf that requires one. The
/// recorded closures are released as they are used; a second backward through them throws. The order of all additions
/// is fixed by the order of recording.
void backward(const Tensor& loss, const GradientWatch& watch = {});

}  // namespace nibble
