#pragma once

#include <string>

namespace nibble {

/// A Markdown table of measured accuracies, made from the records of runs. `folder` holds "table.json":
///
///     {"title": "...", "notes": ["a paragraph", ...],
///      "rows": [{"run": "lsq-2bit", "bar": 86.5}, {"run": "ptq-8bit", "command": "nibble quantize ...", "bar": 91.3}]}
///
/// and for every row a folder of that name with the run's config.json, results.json and run.json (`nibble train` writes
/// them), or with results.json alone, as `nibble eval --json` prints it, where the row gives the command. Throws Error
/// naming the file and the place in it that is missing or of the wrong kind.
std::string results_table(const std::string& folder);

}  // namespace nibble
