#include "apps/reference.h"

#include <cstdlib>

#include "apps/run_config.h"
#include "core/file.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {

TEST_CASE("reference: the page in the repository is the one the program writes") {
  // The test program itself registers further types.
  const test::Scratch folder("reference");
  const std::string page = folder / "page.md";
  REQUIRE(std::system(("'" NIBBLE_PROGRAM "' reference > '" + page + "'").c_str()) == 0);
  const bool same = read_text_file(NIBBLE_SOURCE_DIR "/apps/configs/REFERENCE.md") == read_text_file(page);
  CHECK_MESSAGE(same, "out of date: build/nibble reference > apps/configs/REFERENCE.md");
}

TEST_CASE("reference: every key of a run is documented with a meaning") {
  const std::string page = reference_page();
  for (const FieldDoc& field : list_options<RunConfig>()) {
    CAPTURE(field.key);
    CHECK_FALSE(field.doc.empty());
    CHECK(page.find("| `" + field.key + "` |") != std::string::npos);
  }
}

}  // namespace nibble
