#include "tests/data/fixtures.h"
#include "tests/data/golden.h"

using namespace nibble;
using namespace nibble::data_test;

namespace {

std::shared_ptr<DataSource> source_at(const TempFolder& folder, const std::string& more = "") {
  return make_source(R"({"type": "folder", "root": ")" + folder.path() + "\"" + more + "}");
}

}  // namespace

TEST_CASE("folder: classes are the sorted folders of train, images sorted within them") {
  const TempFolder folder;
  folder.write("train/n02/b.JPEG", golden::jpeg_grey);
  folder.write("train/n02/a.png", golden::png_rgb);
  folder.write("train/n01/z.jpg", golden::jpeg_cmyk);
  folder.write("train/n01/boxes.txt", {'x'});
  folder.write("train/n01/.hidden.png", {'x'});
  folder.write("val/n02/c.JPEG", golden::jpeg_rgb);
  const auto source = source_at(folder);
  const auto train = source->open(Split::train), val = source->open(Split::test);
  CHECK(source->class_names() == std::vector<std::string>{"n01", "n02"});
  CHECK(source->classes() == 2);
  CHECK(source->side() == 0);
  REQUIRE(train->size() == 3);
  CHECK(train->get(0).label == 0);
  CHECK(train->get(1).image.pixels == golden::png_rgb_pixels);
  CHECK(train->get(2).label == 1);
  REQUIRE(val->size() == 1);
  CHECK(val->get(0).label == 1);
  CHECK_THROWS_AS(val->get(1), Error);
}

TEST_CASE("folder: a words file gives the names") {
  const TempFolder folder;
  folder.write("val/n01/a.png", golden::png_rgb);
  const std::string words = "n00\tdog\r\nn01\tcat, house cat\r\n";
  folder.write("words.txt", {words.begin(), words.end()});
  CHECK(source_at(folder, R"(, "words": "words.txt")")->class_names() == std::vector<std::string>{"cat, house cat"});
  folder.write("val/n02/a.png", golden::png_rgb);
  CHECK(
      mentions(error_of([&] { source_at(folder, R"(, "words": "words.txt")")->class_names(); }), {"words.txt", "n02"}));
}

TEST_CASE("folder: what is missing or damaged is named") {
  const TempFolder folder;
  folder.write("train/n01/a.png", golden::png_rgb);
  CHECK(mentions(error_of([&] { source_at(folder)->open(Split::test); }), {folder.path() + "/val"}));
  folder.write("val/n03/a.png", golden::png_rgb);
  CHECK(mentions(error_of([&] { source_at(folder)->open(Split::test); }), {"val/n03", "1 classes"}));
  const std::string bad = folder.write("train/n01/b.JPEG", {'n', 'o'});
  CHECK(mentions(error_of([&] { source_at(folder)->open(Split::train)->get(1); }), {bad, "neither a JPEG nor a PNG"}));
  std::filesystem::create_directories(folder.path() + "/train/n02");
  CHECK(mentions(error_of([&] { source_at(folder)->open(Split::train); }), {"train/n02", "no image"}));
  CHECK(mentions(error_of([] { make_source(R"({"type": "folder"})"); }), {"root"}));
  CHECK(mentions(error_of([] { make_source(R"({"type": "folder", "root": "/nowhere"})")->open(Split::train); }),
                 {"folder", "/nowhere"}));
}

TEST_CASE("folder: a config that says how many classes there are needs no images until they are opened") {
  const auto source = make_source(R"({"type": "folder", "root": "/nowhere", "classes": 1000})");
  CHECK(source->classes() == 1000);
  CHECK(mentions(error_of([&] { source->open(Split::train); }), {"/nowhere"}));
  const TempFolder folder;
  folder.write("train/n01/a.png", golden::png_rgb);
  CHECK(source_at(folder, R"(, "classes": 1)")->open(Split::train)->size() == 1);
  CHECK(mentions(error_of([&] { source_at(folder, R"(, "classes": 2)")->open(Split::train); }),
                 {"'classes' says 2", "there are 1", folder.path()}));
}
