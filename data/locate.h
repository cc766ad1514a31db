#pragma once

#include <string>

namespace nibble {

/// A data set that is to be found on disk.
struct Location {
  std::string who;        ///< for the message
  std::string root;       ///< what the config says
  std::string subfolder;  ///< the set's usual folder, "" if it has none: root may be its parent
  std::string file;       ///< file or folder inside that must exist; "" for none
  std::string hint;       ///< how to get the set, for the message
};

/// The folder that holds `file`. An absolute root is taken as it is; a relative one is looked up from the current
/// folder, then under $NIBBLE_DATA, whole and by its last part; an empty one stands for the current folder, "datasets",
/// "data-cache" and $NIBBLE_DATA. Throws Error listing every place where it looked.
std::string locate(const Location& what);

}  // namespace nibble
