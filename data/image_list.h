#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// The images of one split: the folder and name of each, and its class. An image takes 12 bytes and the length of its
/// name, so that a million are no burden.
struct ImageList {
  std::vector<std::string> folders;  ///< relative to the split's folder, "" for that itself
  std::vector<uint32_t> folder;      ///< per image, into `folders`
  std::vector<int32_t> label;        ///< per image
  std::vector<uint32_t> begin;       ///< per image, of its name in `names`
  std::string names;                 ///< one after the other, each ended by a zero

  int64_t size() const { return static_cast<int64_t>(label.size()); }
  /// Appends an image of the folder added last. Throws if the names no longer fit in 4 GiB.
  void add(std::string_view name, int image_label);
  std::string_view name(int64_t image) const { return names.data() + begin[static_cast<size_t>(image)]; }
  /// Folder and name, relative to the split's folder.
  std::string path(int64_t image) const;
};

/// A folder or file on which a list of images depends, as it was before it was read.
struct Watched {
  std::string path;
  int64_t time = 0;  ///< of its last change, in ticks of the file system's clock; the smallest value if it is missing
  int64_t size = 0;  ///< of a file
};
Watched watch(const std::string& path);

/// What a folder holds, sorted by name so that nothing depends on the file system; hidden entries are left out.
struct FolderEntries {
  std::vector<std::string> images;  ///< by extension: .jpeg, .jpg, .png in any case
  std::vector<std::string> folders;
};
/// Throws Error naming the folder.
FolderEntries list_folder(const std::string& folder);

/// A list, what it depends on, and what its user should know about it.
struct Listing {
  ImageList images;
  std::vector<Watched> watched;
  std::vector<std::string> notes;
};

/// ROOT/CLASS/*.JPEG, also ROOT/CLASS/images/*.JPEG as Tiny-ImageNet has it. Labels are positions in `classes`, which
/// is sorted. Throws Error naming a folder that is no class or holds no image.
Listing list_class_folders(const std::string& root, const std::vector<std::string>& classes);

/// ROOT/*.JPEG, or ROOT/images/*.JPEG if there is that folder, with the classes in the file `labels`, in one of two
/// forms. Lines of image and class, apart by tab, comma or blanks, what follows is ignored; the image's extension may
/// be missing; the class is one of `classes` or its position among them from 0 (Caffe's val.txt, Kaggle's
/// LOC_val_solution.csv, Tiny-ImageNet's val_annotations.txt). Or lines of one number, in the order of the images'
/// names, which the file `synsets` translates (ILSVRC2012_validation_ground_truth.txt). Throws Error naming file and
/// line, or an image without a class.
Listing list_flat_folder(const std::string& root, const std::vector<std::string>& classes, const std::string& labels,
                         const std::string& synsets);

/// The first word of every line of a file of synsets, in its order, which is that of the numbers from 1; lines
/// "CLASS NUMBER NAME" (map_clsloc.txt of the ILSVRC development kit) are put in the order of their numbers.
std::vector<std::string> read_synsets(const std::string& path);

}  // namespace nibble
