#include "layers/dropout.h"

namespace nibble {

void Dropout::Options::fields(Fields& f) { f("p", p, "probability that an element is dropped; below 1", kFraction); }

Dropout::Dropout(const Options& options) : options_(options) {
  NIBBLE_CHECK(options.p >= 0 && options.p < 1, "dropout: p must be in [0, 1), got ", options.p);
}

Tensor Dropout::forward(Inputs in, const Pass& pass) {
  check_inputs(*this, in, 1);
  if (pass.mode == Mode::eval || options_.p == 0) return in[0];
  NIBBLE_CHECK(pass.rng != nullptr, "dropout: training needs a random generator, and this pass has none");
  return dropout(in[0], options_.p, *pass.rng);
}

NIBBLE_REGISTER_LAYER(Dropout, "dropout", "Drops random elements in training.");

}  // namespace nibble
