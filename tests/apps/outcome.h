#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "apps/program.h"
#include "core/json.h"

namespace nibble::test {

/// What a run of the program has left.
struct Outcome {
  int code = 0;
  std::string out, err;
  bool says(const std::string& part) const { return err.find(part) != std::string::npos; }
  Json json() const { return Json::parse(out); }
};

/// Runs a command line (without the program's name) in this process, on no terminal.
inline Outcome run(const std::vector<std::string>& args) {
  std::ostringstream out, err;
  Console console{out, err, false};
  const int code = run_program(args, console);
  return {code, out.str(), err.str()};
}

}  // namespace nibble::test
