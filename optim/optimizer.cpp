#include "optim/optimizer.h"

namespace nibble {

void Warmup::fields(Fields& f) {
  f("epochs", epochs, "length in epochs; or give steps", kNonNegative);
  f("steps", steps, "length in steps; or give epochs", kNonNegative);
  f("from", from, "fraction of the scheduled rate that the first step uses", kFraction);
}

void OptimOptions::fields(Fields& f) {
  f.required()("lr", lr, "base learning rate, which the schedule multiplies", kNonNegative);
  f("weight_decay", weight_decay, "adds weight_decay * w to the gradient of w", kNonNegative);
  f("no_decay", no_decay,
    "names of parameters without weight decay: '*' is any run of characters, '?' any one, '|' separates alternatives");
  f.raw("schedule", schedule, "a schedule", "how the rate changes over the run; none keeps it constant");
  f.nested("warmup", warmup, "linear rise to the scheduled rate at the start of the run");
}

void zero_grads(const std::vector<Param>& params) {
  for (const Param& param : params) param.tensor.set_grad({});
}

}  // namespace nibble
