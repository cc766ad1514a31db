#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/grid.h"
#include "core/ops.h"
#include "core/registry.h"
#include "core/rng.h"
#include "core/tensor.h"

namespace nibble {

class Layer;
class WeightSlot;

/// What an optimizer may do with a parameter.
struct ParamTraits {
  bool decay = true;       ///< weight decay applies
  float lr_factor = 1.0f;  ///< multiplies the learning rate
  Tensor mask{};           ///< u8, as many elements: those at 0 are frozen; undefined means that all are trained
};

/// Walks the tensors of layers by name. Parameters are trained; buffers are state that is only saved.
class StateVisitor {
 public:
  virtual ~StateVisitor() = default;

  void param(std::string_view name, Tensor& tensor, const ParamTraits& traits = {}) {
    on_param(prefix_ + std::string(name), tensor, traits);
  }
  void buffer(std::string_view name, Tensor& tensor) { on_buffer(prefix_ + std::string(name), tensor); }
  /// Visits a layer, or a part of one, under "name.".
  void child(std::string_view name, Layer& layer);

 protected:
  virtual void on_param(const std::string& name, Tensor& tensor, const ParamTraits& traits) = 0;
  virtual void on_buffer(const std::string& name, Tensor& tensor) = 0;

 private:
  std::string prefix_;
};

enum class Mode { train, eval };

/// Where training stands, for layers that follow its course (incremental quantizers). Whoever trains fills it in.
struct TrainClock {
  int64_t step = 0, total_steps = 1;  ///< optimizer steps done, of how many
  int phase = 0, phases = 1;          ///< part of the schedule this step lies in, from 0
  double lr = 0;                      ///< learning rate of this step
  double lr_share = 0;                ///< lr over the sum of the rates of all steps of this phase
};

/// The arguments of one pass through a graph.
struct Pass {
  Mode mode = Mode::eval;
  Rng* rng = nullptr;  ///< for layers that draw random numbers in training (dropout); they throw without it
  int64_t step = 0;    ///< optimizer steps done, for layers that change with time (delays)
  const TrainClock* clock = nullptr;  ///< for layers that follow the phases of training; they throw without it
};

using Inputs = std::span<const Tensor>;

/// y = clamp(a[c] * x + b[c], lo[c], hi[c]) along the last axis; every list has C entries or one.
struct AffineClamp {
  std::vector<float> a, b, lo, hi;
};

/// A convolution or linear layer as data: weight (O, I/groups, KH, KW) or (O, I), already on weight_grid; bias empty
/// or O entries.
struct GemmForm {
  Tensor weight;
  Grid weight_grid;
  std::vector<float> bias;
  ConvGeometry geometry;
  bool same_padding =
      false;           ///< the border depends on the input's size: geometry_for() (layers/geometry.h) works it out
  Tensor latent = {};  ///< the weight as its quantizer gets it; undefined without a quantizer
};

/// A window that slides over the pixels and yields its largest value, or the mean of what it covers.
struct WindowForm {
  bool mean = false;
  PoolGeometry geometry = {};
  bool same_padding = false;  ///< as in GemmForm
  bool global = false;        ///< one window over all pixels, whatever `geometry` says: (N, H, W, C) -> (N, C)
};

/// Values that only change their place: every output is an input or 0. An image loses all but every stride-th row and
/// column; then zero channels are added, half of them in front if `centred`; then it is flattened if wanted.
struct MoveForm {
  int stride = 1;
  int channels = 0;  ///< that the output has; 0: as many as the input
  bool centred = false;
  bool flatten = false;  ///< (N, H, W, C) -> (N, C*H*W), features in the order (c, h, w)
};

/// How several inputs become one.
enum class Join { none, sum, channels };

/// What a layer is in eval mode, as data; all empty means opaque.
struct Facts {
  std::optional<GemmForm> gemm;          ///< conv2d, linear
  std::optional<AffineClamp> pointwise;  ///< batch_norm, relu, relu6
  std::optional<Grid> snaps_to;          ///< forward(x) == snap(x, *snaps_to) for every x
  bool selects = false;                  ///< every output is an element of the input (flatten, max_pool)
  std::optional<WindowForm> window;      ///< max_pool, avg_pool, global_avg_pool; where there is `move`, too, before it
  std::optional<MoveForm> move;          ///< flatten, shortcut_a, dropout
  Join join = Join::none;                ///< add, concat
  bool softmax = false;                  ///< the softmax of each row
  std::string unready;                   ///< a quantizer whose grid stands for nothing yet: what it lacks; else empty
};

/// A node's function together with the parameters it owns. Layers are built from JSON by their registered type; their
/// options struct says what they accept.
class Layer {
 public:
  virtual ~Layer() = default;
  /// The registered name.
  virtual std::string_view type() const = 0;
  /// Records on the tape. In eval mode it must be a pure function of each sample.
  virtual Tensor forward(Inputs in, const Pass& pass) = 0;
  /// Parameters and buffers, by name.
  virtual void visit(StateVisitor&) {}
  /// (Re)draws the initial parameters; a pure function of rng.
  virtual void initialize(const Rng&) {}
  /// The options that rebuild this layer (without "type"), defaults included.
  virtual Json config() const { return Json::object(); }
  virtual Facts facts() const { return {}; }
  /// Where a weight quantizer may sit; null if the layer cannot carry one.
  virtual WeightSlot* weight_slot() { return nullptr; }
  /// Called after every optimizer step: keeps what was learned within its bounds.
  virtual void after_update() {}
  /// Called when state has been read from a file: throws Error if the values make no sense.
  virtual void after_load() {}
};

/// Registers a layer: NIBBLE_REGISTER_LAYER(Relu, "relu", "max(x, 0).").
#define NIBBLE_REGISTER_LAYER(Derived, name, doc) NIBBLE_REGISTER(::nibble::Layer, Derived, name, doc)

/// Number of trainable scalars.
int64_t parameter_count(Layer& layer);

/// Throws unless a layer got `expected` inputs.
void check_inputs(const Layer& layer, Inputs in, size_t expected);

}  // namespace nibble
