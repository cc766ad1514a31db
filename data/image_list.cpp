#include "data/image_list.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <utility>

#include "core/error.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

bool is_image_name(const std::string& name) {
  std::string extension = fs::path(name).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return extension == ".jpeg" || extension == ".jpg" || extension == ".png";
}

}  // namespace

void ImageList::add(std::string_view name, int image_label) {
  NIBBLE_CHECK(names.size() + name.size() < std::numeric_limits<uint32_t>::max() && !folders.empty(),
               "images: the names of ", size(), " files fill 4 GiB");
  folder.push_back(static_cast<uint32_t>(folders.size() - 1));
  label.push_back(image_label);
  begin.push_back(static_cast<uint32_t>(names.size()));
  names.append(name).push_back('\0');
}

std::string ImageList::path(int64_t image) const {
  const std::string& in = folders[folder[static_cast<size_t>(image)]];
  return in.empty() ? std::string(name(image)) : concat_text(in, "/", name(image));
}

Watched watch(const std::string& path) {
  std::error_code error;
  const auto time = fs::last_write_time(path, error);
  if (error) return {path, std::numeric_limits<int64_t>::min(), 0};
  const bool folder = fs::is_directory(path, error);
  const auto size = folder ? 0 : fs::file_size(path, error);
  return {path, static_cast<int64_t>(time.time_since_epoch().count()), error ? 0 : static_cast<int64_t>(size)};
}

FolderEntries list_folder(const std::string& folder) {
  FolderEntries entries;
  try {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.empty() || name[0] == '.') continue;
      if (entry.is_directory())
        entries.folders.push_back(name);
      else if (is_image_name(name))
        entries.images.push_back(name);
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(concat_text("folder: cannot list '", folder, "': ", error.code().message()));
  }
  std::sort(entries.images.begin(), entries.images.end());
  std::sort(entries.folders.begin(), entries.folders.end());
  return entries;
}

Listing list_class_folders(const std::string& root, const std::vector<std::string>& classes) {
  Listing listing;
  listing.watched.push_back(watch(root));
  const FolderEntries top = list_folder(root);
  NIBBLE_CHECK(!top.folders.empty(), "folder: '", root, "' holds no class folders",
               top.images.empty() ? "" : " but images; their classes are to be named by 'labels'");
  ImageList& images = listing.images;
  const auto take = [&](const std::string& folder, int label) {
    listing.watched.push_back(watch(root + "/" + folder));
    const FolderEntries entries = list_folder(root + "/" + folder);
    images.folders.push_back(folder);
    for (const std::string& image : entries.images) images.add(image, label);
    return std::binary_search(entries.folders.begin(), entries.folders.end(), "images");
  };
  for (const std::string& name : top.folders) {
    const auto found = std::lower_bound(classes.begin(), classes.end(), name);
    NIBBLE_CHECK(found != classes.end() && *found == name, "folder: '", root, "/", name, "' is none of the ",
                 classes.size(), " classes of the training split");
    const auto label = static_cast<int>(found - classes.begin());
    const int64_t before = images.size();
    if (take(name, label)) take(name + "/images", label);
    NIBBLE_CHECK(images.size() > before, "folder: '", root, "/", name, "' holds no image (.jpeg, .jpg, .png)");
  }
  return listing;
}

}  // namespace nibble
