#pragma once

#include <optional>
#include <string>

#include "data/image_list.h"

namespace nibble {

/// A list of images kept in a file, so that a million files are not looked for at every start. It is trusted while the
/// folders and files that it was made from have the times they had: about one call of the system per class folder.
/// Changing what is in an image does not make it stale; adding, removing or renaming one does.
struct ImageIndex {
  std::string file;
  std::string key;  ///< what the list was made for: folder, classes, options
};

/// The index of `key` in a folder, under a name made of `split` and the key.
ImageIndex image_index(const std::string& folder, const std::string& split, const std::string& key);

/// The list, or nothing if there is no such file, it is stale, or damaged; `note` then says why, but for the first.
std::optional<ImageList> read_image_index(const ImageIndex& index, std::string& note);

/// Replaces the file atomically, making its folder. Returns false, and writes nothing, if something the list depends on
/// changed so recently that a further change might not show in its time. Throws Error naming a file that cannot be
/// written.
bool write_image_index(const ImageIndex& index, const Listing& listing);

}  // namespace nibble
