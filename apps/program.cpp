#include "apps/program.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <new>

#include "apps/commands/commands.h"
#include "core/config.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/version.h"

namespace nibble {
namespace {

std::string program_help() {
  std::string text =
      "nibble " + std::string(version()) +
      ": trains and evaluates neural networks described by JSON configs\n\nusage: nibble COMMAND ...\n\n";
  for (const Command& command : commands()) {
    std::string head = command.spec.name;
    head.resize(std::max<size_t>(head.size() + 2, 12), ' ');
    text += "  " + head + command.spec.doc.substr(0, command.spec.doc.find_first_of(".\n")) + "\n";
  }
  text +=
      "\nnibble COMMAND --help says what a command accepts; nibble --version prints version and commit.\n"
      "Exit code: 0 success, 1 runtime failure, 2 bad usage or config, 130 interrupted.\n";
  return text;
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  std::string list;
  for (const Command& command : commands()) {
    if (command.spec.name == name) return command;
    names.push_back(command.spec.name);
    list += (list.empty() ? "" : ", ") + command.spec.name;
  }
  const auto guess = closest(name, names);
  throw UsageError("unknown command '" + name + "'" + (guess ? ", did you mean '" + *guess + "'?" : "") +
                   " (known: " + list + ")");
}

int dispatch(const std::vector<std::string>& args, Console& console) {
  if (args.empty()) {
    console.err << program_help();
    return kBadUsage;
  }
  if (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
    if (args.size() > 1) {
      console.out << help_text(find_command(args[1]).spec);
    } else {
      console.out << program_help();
    }
    return 0;
  }
  if (args[0] == "--version") {
    console.out << "nibble " << version() << " (" << commit() << ")\n";
    return 0;
  }
  const Command& command = find_command(args[0]);
  const Arguments parsed(command.spec, {args.begin() + 1, args.end()});
  if (parsed.help()) {
    console.out << help_text(command.spec);
    return 0;
  }
  return command.run(parsed, console);
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      train_command(), eval_command(),    inspect_command(),  check_command(),   init_command(),     quantize_command(),
      audit_command(), pack_command(),    lower_command(),    verify_command(),  predict_command(),  import_command(),
      bench_command(), profile_command(), evidence_command(), results_command(), reference_command()};
  return table;
}

int run_program(const std::vector<std::string>& args, Console& console) {
  const auto failed = [&console](int code, const std::string& what) {
    console.err << "nibble: " << what << std::endl;
    return code;
  };
  try {
    const int code = dispatch(args, console);
    console.out.flush();
    if (!console.out) return failed(kRuntimeFailure, "cannot write the results to standard output");
    return code;
  } catch (const UsageError& error) {
    return failed(kBadUsage, error.what());
  } catch (const std::bad_alloc&) {
    return failed(kRuntimeFailure, "out of memory");
  } catch (const std::exception& error) {
    return failed(kRuntimeFailure, error.what());
  }
}

int run_program(int argc, char** argv) {
  signal(SIGXFSZ, SIG_IGN);  // so that a write past the file size limit is an error with a message
  Console console{std::cout, std::cerr, isatty(STDERR_FILENO) != 0};
  return run_program({argv + 1, argv + argc}, console);
}

namespace option {
OptionSpec json() { return {"--json", "", "print the results as JSON", "", false}; }
OptionSpec threads() { return {"--threads", "N", "compute threads; by default one per core", "", false}; }
OptionSpec set() {
  return {"--set", "/POINTER=VALUE", "change one value of the config, given as JSON or plain text", "", true};
}
OptionSpec data() {
  return {"--data", "DIR_OR_JSON",
          "other images: a folder, a JSON object with options of the data section, or a config", "", false};
}
OptionSpec isa() {
  return {"--isa", "TIER", "use no instructions above this tier (scalar, sse4, avx2, avxvnni, avx512, ...)", "", false};
}
OptionSpec hash() {
  return {"--hash", "",
          "also a hash of all logits' bits: for a lowered model the same on every processor, with any --isa, --batch "
          "and --threads",
          "", false};
}
}  // namespace option

void apply_threads(const Arguments& args) {
  if (args.has("--threads")) set_threads(static_cast<int>(args.integer("--threads", 1, 1, 4096)));
}

void apply_isa(const Arguments& args, const std::string& command) {
  if (!args.has("--isa")) return;
  const std::string tier = args.text("--isa");
  try {
    cpu::limit_to_tier(cpu::detected(), tier);
  } catch (const Error& error) {
    throw UsageError("nibble " + command + ": --isa: " + std::string(error.what()));
  }
  setenv("NIBBLE_ISA", tier.c_str(), 1);
}

}  // namespace nibble
