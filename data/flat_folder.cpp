#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "data/image_list.h"

namespace nibble {
namespace {

struct Line {
  size_t number = 0;
  std::vector<std::string> words;
};

/// The lines of a text file that are not empty, cut at tabs, commas and blanks.
std::vector<Line> read_lines(const std::string& path) {
  std::istringstream text(read_text_file(path));
  std::vector<Line> lines;
  size_t number = 0;
  for (std::string line; std::getline(text, line);) {
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c == '\t' || c == ',' || c == '\r'; }, ' ');
    std::istringstream words(line);
    Line read{++number, {}};
    for (std::string word; words >> word;) read.words.push_back(word);
    if (!read.words.empty()) lines.push_back(std::move(read));
  }
  NIBBLE_CHECK(!lines.empty(), path, ": expected lines of text, the file is empty");
  return lines;
}

std::optional<int> as_number(const std::string& word) {
  int value = 0;
  const auto end = word.data() + word.size();
  const auto read = std::from_chars(word.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return value;
}

std::optional<int> position_of(const std::string& name, const std::vector<std::string>& classes) {
  const auto found = std::lower_bound(classes.begin(), classes.end(), name);
  if (found == classes.end() || *found != name) return std::nullopt;
  return static_cast<int>(found - classes.begin());
}

std::string without_extension(const std::string& name) { return std::filesystem::path(name).stem().string(); }

/// Image, without extension, and what the file calls its class.
using Named = std::pair<std::string, const Line*>;

/// Classes of images by name. Classes are looked up only for images that are there: a part of a set may keep the file
/// of the whole.
void add_by_name(Listing& listing, const std::vector<std::string>& files, const std::vector<Line>& lines,
                 const std::vector<std::string>& classes, const std::string& path) {
  std::vector<Named> named;
  for (const Line& line : lines) {
    if (line.number == 1 && line.words[0] == "ImageId") continue;  // the heading of Kaggle's table
    NIBBLE_CHECK(line.words.size() >= 2, path, ":", line.number, ": expected an image and its class, found '",
                 line.words[0], "'");
    const bool extended = position_of(line.words[0], files).has_value();
    named.emplace_back(extended ? without_extension(line.words[0]) : line.words[0], &line);
  }
  std::sort(named.begin(), named.end(), [](const Named& a, const Named& b) { return a.first < b.first; });
  size_t used = 0;
  for (const std::string& file : files) {
    const auto found = std::lower_bound(named.begin(), named.end(), without_extension(file),
                                        [](const Named& a, const std::string& b) { return a.first < b; });
    NIBBLE_CHECK(found != named.end() && found->first == without_extension(file), path, ": has no line for image '",
                 file, "'");
    const Line& line = *found->second;
    auto label = position_of(line.words[1], classes);
    if (!label) label = as_number(line.words[1]);
    NIBBLE_CHECK(label && *label >= 0 && *label < static_cast<int>(classes.size()), path, ":", line.number, ": class '",
                 line.words[1], "' is none of the ", classes.size(), " classes, nor the position of one");
    listing.images.add(file, *label);
    ++used;
  }
  if (used < named.size())
    listing.notes.push_back(concat_text(path, ": names ", named.size(), " images, of which ", named.size() - used,
                                        " are not in the folder"));
}

/// Classes of images in the order of their names.
void add_by_order(Listing& listing, const std::vector<std::string>& files, const std::vector<Line>& lines,
                  const std::vector<std::string>& classes, const std::string& path, const std::string& synsets) {
  NIBBLE_CHECK(!synsets.empty(), path, ": holds numbers of the ILSVRC development kit, whose order is not that of the ",
               "class folders; 'synsets' has to name a file with the class of each number (map_clsloc.txt)");
  NIBBLE_CHECK(lines.size() == files.size(), path, ": has ", lines.size(), " lines, but there are ", files.size(),
               " images");
  const std::vector<std::string> order = read_synsets(synsets);
  for (size_t i = 0; i < files.size(); ++i) {
    const auto number = as_number(lines[i].words[0]);
    NIBBLE_CHECK(number && *number >= 1 && *number <= static_cast<int>(order.size()), path, ":", lines[i].number,
                 ": expected a number from 1 to ", order.size(), ", found '", lines[i].words[0], "'");
    const std::string& name = order[static_cast<size_t>(*number - 1)];
    const auto label = position_of(name, classes);
    NIBBLE_CHECK(label, path, ":", lines[i].number, ": class '", name, "' of ", synsets, " is none of the ",
                 classes.size(), " classes");
    listing.images.add(files[i], *label);
  }
}

}  // namespace

std::vector<std::string> read_synsets(const std::string& path) {
  const std::vector<Line> lines = read_lines(path);
  const auto numbered = [](const Line& line) { return line.words.size() >= 3 && as_number(line.words[1]); };
  const bool by_number = std::all_of(lines.begin(), lines.end(), numbered);
  std::vector<std::string> order(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t at = by_number ? static_cast<size_t>(*as_number(lines[i].words[1])) - 1 : i;
    NIBBLE_CHECK(at < order.size() && order[at].empty(), path, ":", lines[i].number,
                 ": expected every number from 1 to ", order.size(), " once, found '", lines[i].words[1], "'");
    order[at] = lines[i].words[0];
  }
  return order;
}

Listing list_flat_folder(const std::string& root, const std::vector<std::string>& classes, const std::string& labels,
                         const std::string& synsets) {
  Listing listing;
  listing.watched.push_back(watch(root));
  listing.watched.push_back(watch(labels));
  if (!synsets.empty()) listing.watched.push_back(watch(synsets));
  FolderEntries entries = list_folder(root);
  std::string folder;
  if (entries.images.empty() && position_of("images", entries.folders)) {
    folder = "images";
    listing.watched.push_back(watch(root + "/images"));
    entries = list_folder(root + "/images");
  }
  NIBBLE_CHECK(!entries.images.empty(), "folder: '", root, "' holds no image (.jpeg, .jpg, .png), only the list '",
               labels, "' of their classes");
  listing.images.folders.push_back(folder);
  const std::vector<Line> lines = read_lines(labels);
  const bool bare = std::all_of(lines.begin(), lines.end(), [](const Line& line) { return line.words.size() == 1; });
  if (bare)
    add_by_order(listing, entries.images, lines, classes, labels, synsets);
  else
    add_by_name(listing, entries.images, lines, classes, labels);
  return listing;
}

}  // namespace nibble
