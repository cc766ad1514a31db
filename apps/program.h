#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/arguments.h"
#include "apps/console.h"

namespace nibble {

/// One word after "nibble". `run` returns the exit code and throws what it cannot handle.
struct Command {
  CommandSpec spec;
  std::function<int(const Arguments&, Console&)> run;
};

inline constexpr int kRuntimeFailure = 1;
inline constexpr int kBadUsage = 2;

/// Every command, in the order in which help lists them.
const std::vector<Command>& commands();

/// Runs a command line (without the program's name) and returns its exit code: 0 success, 1 runtime failure, 2 bad
/// usage or config, 130 interrupted. Errors go to console.err as one line.
int run_program(const std::vector<std::string>& args, Console& console);
/// The same with the arguments, the output and the terminal of the process: all that a main() has to do. A user's
/// program that links nibble::program and registers types of its own is nibble with those types.
int run_program(int argc, char** argv);

/// Options that several commands have.
namespace option {
OptionSpec json();
OptionSpec threads();
OptionSpec set();
OptionSpec data();
OptionSpec isa();
OptionSpec hash();
}  // namespace option

/// Applies "--threads".
void apply_threads(const Arguments& args);
/// Applies "--isa": before anything asks for the processor's features, which are looked up once. Throws UsageError
/// naming the command if the tier is unknown or not there.
void apply_isa(const Arguments& args, const std::string& command);

}  // namespace nibble
