#include "tests/quant/conformance.h"

#include <set>

#include "quant/backward_rule.h"
#include "tests/quant/broken_quantizers.h"
#include "tests/quant/quantizer_subjects.h"
#include "third_party/doctest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// The checks that a quantizer fails, in order: "on grid, snaps".
std::string failing(const Subject& subject) {
  std::string names;
  for (const Check& check : checks())
    if (!verdict(check, subject).empty()) names += (names.empty() ? "" : ", ") + std::string(check.name);
  return names;
}

}  // namespace

TEST_CASE("conformance: every registered quantizer passes every check") {
  const std::vector<NamedSubject> quantizers = registered_quantizers();
  CHECK(quantizers.size() > 0);
  for (const NamedSubject& named : quantizers) {
    CAPTURE(named.name);
    for (const Check& check : checks()) {
      CAPTURE(std::string(check.name));
      CHECK(verdict(check, named.subject) == "");
    }
  }
}

TEST_CASE("conformance: under every backward rule the gradient is that of the declared surrogate") {
  for (const NamedSubject& named : quantizers_with_every_rule()) {
    CAPTURE(named.name);
    for (const Check& check : checks())
      if (std::string(check.name) == "surrogate") CHECK(verdict(check, named.subject) == "");
  }
}

TEST_CASE("conformance: quantizers that set their scale by the data claim to scale with it") {
  std::set<std::string> claim;
  for (const NamedSubject& named : registered_quantizers())
    if (named.subject.make(named.subject.shape())->claims().scale_equivariant) claim.insert(named.type);
  for (const char* type : {"abc", "affine", "bwn", "dorefa", "elq", "hwgq", "lsq", "twn", "xnor"}) {
    CAPTURE(std::string(type));
    CHECK(claim.contains(type));
  }
}

TEST_CASE("conformance: a sound quantizer passes, and each broken one fails the check that looks for its fault") {
  CHECK(failing(sound_quantizer()) == "");
  std::set<std::string> looked_for;
  for (const Broken& broken : broken_quantizers()) {
    CAPTURE(broken.fault);
    looked_for.insert(broken.breaks);
    CHECK(failing(broken.subject) == (broken.fails.empty() ? broken.breaks : broken.fails));
  }
  for (const Check& check : checks()) {
    CAPTURE(std::string(check.name));
    CHECK(looked_for.contains(check.name));
  }
}
