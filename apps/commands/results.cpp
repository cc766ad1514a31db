#include <ostream>

#include "apps/commands/commands.h"
#include "apps/results_table.h"
#include "core/file.h"

namespace nibble {
namespace {

int run_results(const Arguments& args, Console& console) {
  std::string folder = args.positional()[0];
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  const std::string text = results_table(folder);
  if (args.has("--out")) {
    write_file_atomically(args.text("--out"), text);
  } else {
    console.out << text;
  }
  return 0;
}

}  // namespace

Command results_command() {
  CommandSpec spec;
  spec.name = "results";
  spec.arguments = "FOLDER";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "print a Markdown table of the runs whose records a folder holds.\n"
      "The folder's table.json names the runs, the bars they have to reach and the notes above the table; each run is "
      "a\n"
      "folder with the config.json, results.json and run.json that `nibble train` wrote.";
  spec.options = {{"--out", "FILE", "write the table there instead", "-o", false}};
  return {spec, run_results};
}

}  // namespace nibble
