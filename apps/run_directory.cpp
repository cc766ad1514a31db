#include "apps/run_directory.h"

#include <filesystem>

#include "apps/run_parts.h"
#include "core/file.h"

namespace nibble {
namespace {

bool is_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

}  // namespace

void RunDirectory::create() const {
  std::error_code error;
  if (is_folder(path)) {
    const bool empty = std::filesystem::is_empty(path, error);
    NIBBLE_CHECK(!error, "cannot read the folder '", path, "': ", error.message());
    if (!empty)
      throw UsageError("the run's folder '" + path +
                       "' is not empty: go on with that run by --resume, or choose another folder with --out");
  }
  make_directories(path);
}

bool RunDirectory::has_config() const { return is_file(config()); }

bool RunDirectory::has_last() const { return is_file(last()); }

void RunDirectory::check_agrees(const Json& ours) const {
  const Json recorded = parse_config(read_text_file(config()), config()).json;
  const auto differing = differing_options(ours, with_defaults(recorded, ours, config()));
  if (differing.empty()) return;
  std::string list;
  for (const std::string& one : differing) list += (list.empty() ? "" : ", ") + one;
  throw UsageError("cannot resume '" + path + "' with another config: " + list);
}

std::string find_checkpoint(const std::string& run_or_checkpoint, bool best) {
  if (is_folder(run_or_checkpoint)) {
    const RunDirectory run{run_or_checkpoint};
    const std::string path = best ? run.best() : run.last();
    if (!is_file(path)) throw UsageError("'" + run_or_checkpoint + "' holds no checkpoint: there is no " + path);
    return path;
  }
  if (best) throw UsageError("--best needs a run's folder, and '" + run_or_checkpoint + "' is none");
  std::error_code ignored;
  if (!std::filesystem::exists(run_or_checkpoint, ignored))
    throw UsageError("'" + run_or_checkpoint + "': no such run or checkpoint");
  return run_or_checkpoint;
}

}  // namespace nibble
