#pragma once

#include "tests/quant/conformance.h"

namespace nibble::test {

/// A quantizer with one fault.
struct Broken {
  std::string fault;
  Subject subject;
  std::string breaks;  ///< the check that looks for it
  std::string fails;   ///< if further ones see it: all that fail, in their order
};

/// What all of these are but for the fault: 8 levels of width max|x| / 4 of the first tensor seen in training.
Subject sound_quantizer();
std::vector<Broken> broken_quantizers();

}  // namespace nibble::test
