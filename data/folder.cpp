#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "core/file.h"
#include "data/dataset.h"
#include "data/locate.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

/// The names in a folder, sorted, so that labels do not depend on the file system.
std::vector<std::string> sorted_entries(const fs::path& folder, bool folders) {
  std::vector<std::string> names;
  try {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (!name.empty() && name[0] != '.' && entry.is_directory() == folders) names.push_back(name);
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(concat_text("folder: cannot list '", folder.string(), "': ", error.code().message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;  // a folder that cannot be looked at is reported when it is opened
  return fs::is_directory(path, ignored);
}

bool is_image_name(const std::string& name) {
  std::string extension = fs::path(name).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return extension == ".jpeg" || extension == ".jpg" || extension == ".png";
}

class FolderDataset final : public Dataset {
 public:
  FolderDataset(const fs::path& root, const std::vector<std::string>& classes) {
    for (const std::string& folder : sorted_entries(root, true)) {
      const auto found = std::lower_bound(classes.begin(), classes.end(), folder);
      NIBBLE_CHECK(found != classes.end() && *found == folder, "folder: '", (root / folder).string(),
                   "' is none of the ", classes.size(), " classes of the training split");
      const size_t before = files_.size();
      for (const std::string& file : sorted_entries(root / folder, false))
        if (is_image_name(file))
          files_.emplace_back((root / folder / file).string(), static_cast<int>(found - classes.begin()));
      NIBBLE_CHECK(files_.size() > before, "folder: '", (root / folder).string(),
                   "' holds no image (.jpeg, .jpg, .png)");
    }
    NIBBLE_CHECK(!files_.empty(), "folder: '", root.string(), "' holds no class folders");
  }
  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  Sample get(int64_t index) const override {
    NIBBLE_CHECK(index >= 0 && index < size(), "folder: sample ", index, " of ", size());
    const auto& file = files_[static_cast<size_t>(index)];
    return {load_image(file.first), file.second};
  }

 private:
  std::vector<std::pair<std::string, int>> files_;
};

class Folder final : public DataSource {
 public:
  struct Options : DataOptions {
    Options() {
      mean = {0.485, 0.456, 0.406};
      std = {0.229, 0.224, 0.225};
    }
    std::string root, train = "train", val = "val", words;
    void fields(Fields& f) {
      f.required()(
          "root", root,
          "folder of the splits; a relative one is looked up from the current folder, then under $NIBBLE_DATA");
      f("train", train, "folder under root with one folder of images per class");
      f("val", val, "the same for evaluation");
      f("words", words, "file under root with lines 'CLASSFOLDER<tab>NAME'; if empty, folder names are class names");
      DataOptions::fields(f);
    }
  };
  explicit Folder(const Options& options) : options_(options) {
    NIBBLE_CHECK(!options.root.empty(), "folder: 'root' must not be empty");
    options_.check();
  }
  const DataOptions& options() const override { return options_; }
  std::shared_ptr<const Dataset> open(Split split) const override {
    const fs::path path = fs::path(root()) / (split == Split::train ? options_.train : options_.val);
    NIBBLE_CHECK(is_folder(path), "folder: there is no folder '", path.string(), "'");
    return std::make_shared<FolderDataset>(path, class_folders());
  }
  std::vector<std::string> class_names() const override {
    std::vector<std::string> names = class_folders();
    if (options_.words.empty()) return names;
    const std::string path = (fs::path(root()) / options_.words).string();
    std::istringstream lines(read_text_file(path));
    std::map<std::string, std::string> words;
    for (std::string line; std::getline(lines, line);) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      const size_t tab = line.find('\t');
      if (tab != std::string::npos) words[line.substr(0, tab)] = line.substr(tab + 1);
    }
    for (std::string& name : names) {
      const auto found = words.find(name);
      NIBBLE_CHECK(found != words.end(), path, ": has no line for class '", name, "'");
      name = found->second;
    }
    return names;
  }
  int classes() const override { return static_cast<int>(class_folders().size()); }
  Json config() const override { return write_options(options_); }

 private:
  std::string root() const {
    return locate({.who = "folder", .root = options_.root, .subfolder = "", .file = "", .hint = ""});
  }
  /// Of the training split, or of the other one in a tree for evaluation only.
  std::vector<std::string> class_folders() const {
    const fs::path base = root();
    const fs::path train = base / options_.train;
    return sorted_entries(is_folder(train) ? train : base / options_.val, true);
  }
  Options options_;
};
NIBBLE_REGISTER_DATA(Folder, "folder", "a tree of JPEG and PNG files: ROOT/train/CLASS/*.JPEG, ROOT/val/CLASS/*.JPEG");

}  // namespace
}  // namespace nibble
