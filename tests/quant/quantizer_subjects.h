#pragma once

#include "tests/quant/conformance.h"

namespace nibble::test {

struct NamedSubject {
  std::string type, name;
  Json options{};  ///< other than the defaults
  Subject subject;
};

/// Every registered quantizer in every place that takes it: with its default options, every width from 1 to 8 bits, and
/// every other value of a choice or a switch, one at a time. Types called "test_..." belong to other tests, and
/// fixed_grid has nothing to train.
std::vector<NamedSubject> registered_quantizers();
/// The same with default options and each registered backward rule, of those that take one.
std::vector<NamedSubject> quantizers_with_every_rule();

}  // namespace nibble::test
