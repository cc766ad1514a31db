#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "core/file.h"
#include "data/dataset.h"
#include "data/image_index.h"
#include "data/image_list.h"
#include "data/locate.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

bool is_folder(const std::string& path) {
  std::error_code ignored;  // a folder that cannot be looked at is reported when it is opened
  return fs::is_directory(path, ignored);
}

class FolderDataset final : public Dataset {
 public:
  FolderDataset(std::string root, ImageList images, std::vector<std::string> notes)
      : root_(std::move(root)), images_(std::move(images)), notes_(std::move(notes)) {}
  int64_t size() const override { return images_.size(); }
  Sample get(int64_t index) const override {
    NIBBLE_CHECK(index >= 0 && index < size(), "folder: sample ", index, " of ", size());
    return {load_image(root_ + "/" + images_.path(index)), images_.label[static_cast<size_t>(index)]};
  }
  std::vector<std::string> notes() const override { return notes_; }

 private:
  std::string root_;
  ImageList images_;
  std::vector<std::string> notes_;
};

/// The names of classes in a file with lines "CLASS NAME", apart by a tab, or the first blank if there is none.
std::map<std::string, std::string> read_words(const std::string& path) {
  std::istringstream lines(read_text_file(path));
  std::map<std::string, std::string> words;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    size_t gap = line.find('\t');
    if (gap == std::string::npos) gap = line.find(' ');
    if (gap != std::string::npos) words[line.substr(0, gap)] = line.substr(gap + 1);
  }
  return words;
}

class Folder final : public DataSource {
 public:
  struct Options : DataOptions {
    Options() {
      mean = {0.485, 0.456, 0.406};
      std = {0.229, 0.224, 0.225};
    }
    std::string root, train = "train", val = "val", words, labels, synsets, index;
    int classes = 0;
    void fields(Fields& f) {
      f.required()(
          "root", root,
          "folder of the splits; a relative one is looked up from the current folder, then under $NIBBLE_DATA");
      f("train", train, "folder under root with one folder of images per class");
      f("val", val, "the same for evaluation, or a folder with all images and a list of their classes");
      f("words", words,
        "file under root with lines 'CLASSFOLDER NAME', apart by a tab or a blank; if empty, folder names are class "
        "names");
      f("labels", labels,
        "file under root with the classes of a flat evaluation folder: lines 'IMAGE CLASS' (the class as its folder or "
        "its position from 0; commas and tabs are blanks), or numbers alone (ILSVRC2012_validation_ground_truth.txt); "
        "if empty, val_annotations.txt in that folder, or else there are class folders");
      f("synsets", synsets,
        "file under root with the class of each number in such a list: lines 'CLASS NUMBER NAME' (map_clsloc.txt of "
        "the development kit), or one class a line, the first being number 1; also the classes of a tree without a "
        "training folder and with a flat one");
      f("classes", classes,
        "how many there are, which is checked when the images are opened; 0 counts the folders, so that even checking "
        "a config needs them",
        {0, 1 << 24});
      f("index", index,
        "folder for the lists of the images, which make the next start fast; if empty, .image-lists beside the folder "
        "of a training run");
      DataOptions::fields(f);
    }
  };
  explicit Folder(const Options& options) : options_(options), index_(options.index) {
    NIBBLE_CHECK(!options.root.empty(), "folder: 'root' must not be empty");
    options_.check();
  }
  const DataOptions& options() const override { return options_; }
  std::shared_ptr<const Dataset> open(Split split) const override {
    const bool train = split == Split::train;
    const std::string base = root(), path = base + "/" + (train ? options_.train : options_.val);
    NIBBLE_CHECK(is_folder(path), "folder: there is no folder '", path, "'");
    const Request request{path, class_folders(), train ? "" : flat_labels(base), under(base, options_.synsets)};
    Listing listing = index_.empty() ? list(request) : kept(request, train ? "train" : "val");
    return std::make_shared<FolderDataset>(path, std::move(listing.images), std::move(listing.notes));
  }
  std::vector<std::string> class_names() const override {
    std::vector<std::string> names = class_folders();
    if (options_.words.empty()) return names;
    const std::string path = under(root(), options_.words);
    const auto words = read_words(path);
    for (std::string& name : names) {
      const auto found = words.find(name);
      NIBBLE_CHECK(found != words.end(), path, ": has no line for class '", name, "'");
      name = found->second;
    }
    return names;
  }
  int classes() const override {
    return options_.classes > 0 ? options_.classes : static_cast<int>(class_folders().size());
  }
  Json config() const override { return write_options(options_); }
  void keep_lists_in(const std::string& folder) override {
    if (index_.empty()) index_ = folder;
  }

 private:
  /// What a list of images is made from.
  struct Request {
    std::string path;
    std::vector<std::string> classes;
    std::string labels;  ///< "" if there are class folders
    std::string synsets;
  };

  static std::string under(const std::string& base, const std::string& file) {
    return file.empty() ? "" : (fs::path(base) / file).string();
  }
  std::string root() const {
    return locate({.who = "folder", .root = options_.root, .subfolder = "", .file = "", .hint = ""});
  }
  /// The list of classes of a flat evaluation folder, or "".
  std::string flat_labels(const std::string& base) const {
    if (!options_.labels.empty()) return under(base, options_.labels);
    const std::string usual = base + "/" + options_.val + "/val_annotations.txt";
    std::error_code ignored;
    return fs::exists(usual, ignored) ? usual : "";
  }
  std::vector<std::string> class_folders() const {
    std::vector<std::string> classes = found_classes();
    NIBBLE_CHECK(options_.classes == 0 || options_.classes == std::ssize(classes), "folder: 'classes' says ",
                 options_.classes, ", but there are ", classes.size(), " of them under '", root(), "'");
    return classes;
  }
  /// Of the training split, or in a tree for evaluation only of the other one, or what `synsets` says.
  std::vector<std::string> found_classes() const {
    const std::string base = root(), train = base + "/" + options_.train;
    if (is_folder(train)) return list_folder(train).folders;
    const std::string labels = flat_labels(base);
    if (labels.empty()) return list_folder(base + "/" + options_.val).folders;
    NIBBLE_CHECK(!options_.synsets.empty(), "folder: there is no training folder '", train,
                 "' that would name the classes of '", labels, "'; 'synsets' has to name a file with them");
    std::vector<std::string> classes = read_synsets(under(base, options_.synsets));
    std::sort(classes.begin(), classes.end());
    return classes;
  }
  static Listing list(const Request& request) {
    return request.labels.empty() ? list_class_folders(request.path, request.classes)
                                  : list_flat_folder(request.path, request.classes, request.labels, request.synsets);
  }
  /// The list from the index, or a new one that is then put there.
  Listing kept(const Request& request, const std::string& split) const {
    std::string key = fs::absolute(request.path).string();
    for (const std::string& part : {request.labels, request.synsets}) key += '\n' + part;
    for (const std::string& name : request.classes) key += '\n' + name;
    const ImageIndex index = image_index(index_, split, key);
    std::string note;
    if (auto images = read_image_index(index, note)) return {std::move(*images), {}, {}};
    Listing listing = list(request);
    if (!note.empty()) listing.notes.push_back(note);
    try {
      write_image_index(index, listing);
    } catch (const Error& error) {
      listing.notes.push_back(concat_text("the list of images cannot be kept: ", error.what()));
    }
    return listing;
  }
  Options options_;
  std::string index_;  ///< folder for the lists, "" for none
};
NIBBLE_REGISTER_DATA(Folder, "folder",
                     "a tree of JPEG and PNG files: ROOT/train/CLASS/*.JPEG (or CLASS/images/*.JPEG), and for "
                     "evaluation ROOT/val/CLASS/*.JPEG or one folder with a list of classes: ImageNet, Tiny-ImageNet");

}  // namespace
}  // namespace nibble
