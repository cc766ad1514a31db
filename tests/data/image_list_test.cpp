#include "data/image_list.h"

#include "data/image_index.h"
#include "tests/data/fixtures.h"
#include "tests/data/golden.h"

using namespace nibble;
using namespace nibble::data_test;

namespace {

namespace fs = std::filesystem;

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

/// A training tree of the classes n01, n02 and n03, and images a, b and c for evaluation, in the folder `flat`.
void write_flat(const TempFolder& folder, const std::string& flat) {
  for (const char* name : {"n03", "n01", "n02"}) folder.write(std::string("train/") + name + "/x.png", golden::png_rgb);
  for (const char* name : {"c.JPEG", "a.JPEG", "b.JPEG"}) folder.write(flat + "/" + name, golden::jpeg_rgb);
}

std::shared_ptr<DataSource> source_at(const TempFolder& folder, const std::string& more = "") {
  return make_source(R"({"type": "folder", "root": ")" + folder.path() + "\"" + more + "}");
}

std::vector<int> labels_of(const Dataset& dataset) {
  std::vector<int> labels;
  for (int64_t i = 0; i < dataset.size(); ++i) labels.push_back(dataset.get(i).label);
  return labels;
}

/// Sets the times of all folders and files back, as those of a tree unpacked an hour ago.
void settle(const std::string& root) {
  const auto then = fs::file_time_type::clock::now() - std::chrono::hours(1);
  fs::last_write_time(root, then);
  for (const auto& entry : fs::recursive_directory_iterator(root)) fs::last_write_time(entry.path(), then);
}

/// The files in a folder.
std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> files;
  if (fs::exists(folder))
    for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path().string());
  return files;
}

}  // namespace

TEST_CASE("folder: a flat folder takes its classes from a list by name, in each of the usual forms") {
  const std::vector<std::string> forms = {
      "b.JPEG 2\nc.JPEG 0\na.JPEG 1\n",                                        // Caffe's val.txt
      "ImageId,PredictionString\nb,n03 1 2 3 4 n03 5 6\nc,n01\na,n02 85 1\n",  // Kaggle's table
      "c.JPEG\tn01\t0\t0\t9\t9\r\na.JPEG\tn02\t1\t1\t2\t2\r\nb.JPEG\tn03\t0\t32\t44\t62\r\n",
  };
  for (const std::string& form : forms) {
    CAPTURE(form);
    const TempFolder folder;
    write_flat(folder, "val");
    folder.write("list.txt", bytes_of(form));
    CHECK(labels_of(*source_at(folder, R"(, "labels": "list.txt")")->open(Split::test)) == std::vector<int>{1, 2, 0});
  }
}

TEST_CASE("folder: Tiny-ImageNet's layout needs no option") {
  const TempFolder folder;
  folder.write("train/n02/images/n02_0.JPEG", golden::jpeg_rgb);
  folder.write("train/n02/n02_boxes.txt", bytes_of("n02_0.JPEG\t0\t0\t1\t1\n"));
  folder.write("train/n01/images/n01_1.JPEG", golden::jpeg_grey);
  folder.write("val/images/val_1.JPEG", golden::jpeg_grey);
  folder.write("val/images/val_0.JPEG", golden::jpeg_rgb);
  folder.write("val/val_annotations.txt", bytes_of("val_0.JPEG\tn02\t0\t1\t2\t3\nval_1.JPEG\tn01\t0\t1\t2\t3\n"));
  folder.write("words.txt", bytes_of("n00\tx\nn01\tcat, house cat\nn02\tdog\n"));
  const auto source = source_at(folder, R"(, "words": "words.txt")");
  CHECK(source->class_names() == std::vector<std::string>{"cat, house cat", "dog"});
  const auto train = source->open(Split::train), val = source->open(Split::test);
  CHECK(labels_of(*train) == std::vector<int>{0, 1});
  CHECK(distance(train->get(0).image.pixels, golden::jpeg_grey_pixels) <= 4);
  CHECK(labels_of(*val) == std::vector<int>{1, 0});
}

TEST_CASE("folder: the development kit's numbers are translated by its list of synsets") {
  const TempFolder folder;
  write_flat(folder, "val");
  folder.write("ILSVRC2012_validation_ground_truth.txt", bytes_of("3\n1\n2\n"));
  const std::string with = R"(, "labels": "ILSVRC2012_validation_ground_truth.txt", "synsets": "map.txt")";
  folder.write("map.txt", bytes_of("n01 3 kit_fox\nn02 1 English_setter\nn03 2 Siberian_husky\n"));
  CHECK(labels_of(*source_at(folder, with)->open(Split::test)) == std::vector<int>{0, 1, 2});
  folder.write("map.txt", bytes_of("n03\nn02\nn01\n"));
  CHECK(labels_of(*source_at(folder, with)->open(Split::test)) == std::vector<int>{0, 2, 1});
  const auto message = [&](const std::string& more) {
    return error_of([&] { source_at(folder, more)->open(Split::test); });
  };
  CHECK(mentions(message(R"(, "labels": "ILSVRC2012_validation_ground_truth.txt")"), {"synsets", "map_clsloc.txt"}));
  folder.write("ILSVRC2012_validation_ground_truth.txt", bytes_of("3\n1\n4\n"));
  CHECK(mentions(message(with), {"ground_truth.txt:3", "1 to 3", "'4'"}));
  folder.write("ILSVRC2012_validation_ground_truth.txt", bytes_of("3\n1\n"));
  CHECK(mentions(message(with), {"2 lines", "3 images"}));
  folder.write("map.txt", bytes_of("n01 3 a\nn02 3 b\nn03 2 c\n"));
  CHECK(mentions(message(with), {"3 images"}));
  folder.write("ILSVRC2012_validation_ground_truth.txt", bytes_of("3\n1\n2\n"));
  CHECK(mentions(message(with), {"map.txt:2", "once"}));
}

TEST_CASE("folder: without a training folder the classes of a flat one are those of the synsets") {
  const TempFolder folder;
  folder.write("val/a.png", golden::png_rgb);
  folder.write("list.txt", bytes_of("a.png n05\n"));
  CHECK(mentions(error_of([&] { source_at(folder, R"(, "labels": "list.txt")")->classes(); }), {"train", "synsets"}));
  folder.write("synsets.txt", bytes_of("n07 x\nn05 y\nn06 z\n"));
  const auto source = source_at(folder, R"(, "labels": "list.txt", "synsets": "synsets.txt")");
  CHECK(source->class_names() == std::vector<std::string>{"n05", "n06", "n07"});
  CHECK(source->open(Split::test)->get(0).label == 0);
}

TEST_CASE("folder: a list of classes that does not fit the images is refused by line, or its surplus told") {
  const TempFolder folder;
  write_flat(folder, "val");
  const auto open = [&](const std::string& list) {
    folder.write("list.txt", bytes_of(list));
    return source_at(folder, R"(, "labels": "list.txt")")->open(Split::test);
  };
  CHECK(mentions(error_of([&] { open("a.JPEG 0\nb.JPEG 1\n"); }), {"list.txt", "no line", "c.JPEG"}));
  CHECK(mentions(error_of([&] { open("a.JPEG 0\nb.JPEG 3\nc.JPEG 1\n"); }), {"list.txt:2", "'3'", "3 classes"}));
  CHECK(mentions(error_of([&] { open("a.JPEG n01\nb.JPEG n09\nc.JPEG n02\n"); }), {"list.txt:2", "'n09'"}));
  CHECK(mentions(error_of([&] { open("a.JPEG n01\nb.JPEG\nc.JPEG n02\n"); }), {"list.txt:2", "expected an image"}));
  CHECK(mentions(error_of([&] { open("\n"); }), {"list.txt", "empty"}));
  CHECK(open("a.JPEG 0\nb.JPEG 1\nc.JPEG 1\n")->notes().empty());
  const auto part = open("a.JPEG 0\nb.JPEG 1\nc.JPEG 1\nd.JPEG n77\n");
  REQUIRE(part->notes().size() == 1);
  CHECK(mentions(part->notes()[0], {"list.txt", "4 images", "1 are not"}));
  CHECK(mentions(error_of([&] { source_at(folder)->open(Split::test); }), {"class folders", "labels"}));
}

TEST_CASE("image index: the second start lists nothing, and changes of the tree are seen") {
  const TempFolder folder, cache;
  folder.write("train/n01/a.png", golden::png_rgb);
  folder.write("train/n02/images/b.png", golden::png_grey);
  const std::string keep = cache.path() + "/lists/here", more = R"(, "index": ")" + keep + "\"";
  CHECK(source_at(folder, more)->open(Split::train)->size() == 2);
  CHECK(files_in(keep).empty());  // the tree is younger than its times can tell
  settle(folder.path());
  CHECK(source_at(folder, more)->open(Split::train)->size() == 2);
  REQUIRE(files_in(keep).size() == 1);

  // A file added without a trace in its folder's time is not seen: the list comes from the index.
  const auto time = fs::last_write_time(folder.path() + "/train/n01");
  folder.write("train/n01/c.png", golden::png_rgb);
  fs::last_write_time(folder.path() + "/train/n01", time);
  const auto second = source_at(folder, more)->open(Split::train);
  CHECK(second->size() == 2);
  CHECK(second->notes().empty());
  CHECK(second->get(1).image.pixels == golden::png_grey_pixels);
  CHECK(second->get(1).label == 1);

  for (const std::string& added : {std::string("train/n01/d.png"), std::string("train/n02/images/e.png")}) {
    const int64_t before = source_at(folder, more)->open(Split::train)->size();
    folder.write(added, golden::png_rgb);
    const auto third = source_at(folder, more)->open(Split::train);
    CHECK(third->size() > before);
    REQUIRE(third->notes().size() == 1);
    CHECK(mentions(third->notes()[0], {fs::path(added).parent_path().string(), "has changed"}));
    settle(folder.path());
    CHECK(source_at(folder, more)->open(Split::train)->notes().size() == 1);
    CHECK(source_at(folder, more)->open(Split::train)->notes().empty());
  }
  CHECK(files_in(keep).size() == 1);
}

TEST_CASE("image index: a damaged one is told of and made again, one of another tree or class list is not used") {
  const TempFolder folder, other, cache;
  for (const TempFolder* tree : {&folder, &other}) {
    tree->write("train/n01/a.png", golden::png_rgb);
    tree->write("val/n01/b.png", golden::png_rgb);
    settle(tree->path());
  }
  other.write("train/n01/c.png", golden::png_rgb);
  settle(other.path());
  const std::string more = R"(, "index": ")" + cache.path() + "\"";
  source_at(folder, more)->open(Split::train);
  REQUIRE(files_in(cache.path()).size() == 1);
  const std::string file = files_in(cache.path())[0];
  std::ifstream in(file, std::ios::binary);
  const std::vector<uint8_t> good((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const std::string name = fs::path(file).filename().string();
  for (size_t damage = 0; damage < good.size() + 3; damage += 5) {
    auto bad = good;
    if (damage < good.size())
      bad[damage] ^= 16;
    else
      bad.resize(bad.size() - (damage - good.size() + 1) * 8);
    cache.write(name, bad);
    const auto dataset = source_at(folder, more)->open(Split::train);
    CHECK(dataset->size() == 1);
    REQUIRE(dataset->notes().size() == 1);
    CHECK(mentions(dataset->notes()[0], {file, "damaged"}));
    CHECK(source_at(folder, more)->open(Split::train)->notes().empty());
  }
  cache.write(name, {});
  CHECK(mentions(source_at(folder, more)->open(Split::train)->notes().at(0), {file, "damaged", "too short"}));

  CHECK(source_at(other, more)->open(Split::train)->size() == 2);
  CHECK(source_at(folder, more)->open(Split::test)->size() == 1);
  CHECK(files_in(cache.path()).size() == 3);
  // A further class folder changes labels, so the list for evaluation is another one too.
  folder.write("train/n00/a.png", golden::png_rgb);
  settle(folder.path());
  CHECK(source_at(folder, more)->open(Split::test)->get(0).label == 1);
}

TEST_CASE("image index: one that cannot be written is told of, and the images are there") {
  const TempFolder folder, cache;
  folder.write("train/n01/a.png", golden::png_rgb);
  settle(folder.path());
  const std::string file = cache.write("file", {'x'});
  const auto dataset = source_at(folder, R"(, "index": ")" + file + "/below\"")->open(Split::train);
  CHECK(dataset->size() == 1);
  REQUIRE(dataset->notes().size() == 1);
  CHECK(mentions(dataset->notes()[0], {"cannot be kept", file}));
}

TEST_CASE("image index: the folder that a run offers is used unless an option names one") {
  const TempFolder folder, cache, offered;
  folder.write("train/n01/a.png", golden::png_rgb);
  settle(folder.path());
  const auto plain = source_at(folder), told = source_at(folder, R"(, "index": ")" + cache.path() + "\"");
  for (const auto& source : {plain, told}) {
    source->keep_lists_in(offered.path());
    source->open(Split::train);
  }
  CHECK(files_in(offered.path()).size() == 1);
  CHECK(files_in(cache.path()).size() == 1);
  CHECK(plain->config()["index"] == "");
}

TEST_CASE("folder: the list of a tree takes 12 bytes and a name for each image") {
  ImageList list;
  list.folders = {"n01440764"};
  for (int i = 0; i < 1000; ++i) list.add("n01440764_" + std::to_string(10000 + i) + ".JPEG", i % 7);
  CHECK(list.size() == 1000);
  CHECK(list.names.size() == 1000 * 21);
  CHECK(list.path(999) == "n01440764/n01440764_10999.JPEG");
  CHECK(list.label[999] == 999 % 7);
}
