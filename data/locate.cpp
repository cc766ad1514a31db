#include "data/locate.h"

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "core/error.h"

namespace nibble {

std::string locate(const Location& what) {
  namespace fs = std::filesystem;
  const char* variable = std::getenv("NIBBLE_DATA");
  const std::string data = variable ? variable : "";
  std::vector<fs::path> places;
  if (what.root.empty()) {
    places = {".", "datasets", "data-cache"};
    if (!data.empty()) places.emplace_back(data);
  } else {
    places = {what.root};
    if (fs::path root = what.root; !data.empty() && root.is_relative()) {
      places.push_back(fs::path(data) / root);
      if (!root.has_filename()) root = root.parent_path();  // "folder/"
      if (root.has_parent_path()) places.push_back(fs::path(data) / root.filename());
    }
  }
  std::string looked;
  for (const fs::path& place : places)
    for (const bool below : {false, true}) {
      if (below && what.subfolder.empty()) continue;
      const fs::path folder = below ? place / what.subfolder : place;
      std::error_code error;
      if (fs::is_directory(folder, error) && (what.file.empty() || fs::exists(folder / what.file, error)))
        return folder.string();
      looked += (looked.empty() ? "" : ", ") + folder.string();
    }
  const std::string sought = what.file.empty() ? "the folder" : "a folder with '" + what.file + "'";
  throw Error(concat_text(what.who, ": cannot find ", sought, "; looked in ", looked,
                          data.empty() ? " (the environment variable NIBBLE_DATA is not set)" : "",
                          what.hint.empty() ? "" : "; ", what.hint));
}

}  // namespace nibble
