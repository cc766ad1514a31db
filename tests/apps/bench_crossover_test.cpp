#include "apps/bench_crossover.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "tests/apps/scratch.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

int run_nibble(const std::string& arguments) {
  FILE* pipe = popen(("'" NIBBLE_PROGRAM "' " + arguments).c_str(), "r");
  REQUIRE(pipe != nullptr);
  return pclose(pipe);
}

int64_t columns_of(const std::string& line) { return std::count(line.begin(), line.end(), '|') - 1; }

}  // namespace

TEST_CASE("bench crossover: writes a table of every instruction set, with a cell for each layer") {
  const Scratch folder("crossover");
  const std::string path = folder / "table.md";
  REQUIRE(run_nibble("bench crossover --steps 1 --threads 1 --layers 16x3,20x2 -o '" + path + "'") == 0);
  std::istringstream text(read_text_file(path));
  std::vector<std::string> sections;
  int rows = 0, bitwise = 0;
  for (std::string line; std::getline(text, line);) {
    if (line.rfind("## ", 0) == 0) sections.push_back(line.substr(3));
    if (line.rfind("|", 0) != 0) continue;
    CAPTURE(line);
    CHECK(columns_of(line) == 3);
    ++rows;
    if (line.find("x") == std::string::npos || line.find("channels") != std::string::npos) continue;
    ++bitwise;
    const std::string end = line.substr(line.rfind(", ") + 2);
    CHECK((end == "planes |" || end == "tables |" || end == "bytes |" || end == "int8 |" || end == "float |"));
  }
  CHECK(sections == crossover_isas());
  CHECK(rows == 17 * static_cast<int>(sections.size()));
  CHECK(bitwise == 14 * static_cast<int>(sections.size()));
  const std::string whole = read_text_file(path);
  CHECK(mentions(whole, {"nibble bench crossover", "--layers 16x3,20x2", "threads", "clock", "fastest of 1"}));
}

TEST_CASE("bench crossover: one instruction set, as JSON") {
  const Scratch folder("crossover-json");
  const std::string path = folder / "table.json";
  REQUIRE(run_nibble("bench crossover --steps 1 --isa scalar --layers 16x2 --json -o '" + path + "'") == 0);
  const Json json = Json::parse(read_text_file(path));
  REQUIRE(json["isas"].size() == 1);
  const Json& isa = json["isas"][0];
  CHECK(isa["isa"] == "scalar");
  CHECK(isa["kernels"]["bit_gemm"] == "scalar");
  CHECK(isa["kernels"]["int8_gemm"] == "scalar");
  CHECK(isa["kernels"]["conv_f32"] == "scalar");
  for (const Json& row : isa["rows"]) {
    REQUIRE(row["cells"].size() == 1);
    const Json& cell = row["cells"][0];
    CHECK(cell["over_int8"].get<double>() > 0);
    CHECK(cell["over_float"].get<double>() > 0);
    // There is no integer kernel for learned levels.
    CHECK_FALSE((row["learned"].get<bool>() && cell["engine"] == "int8"));
  }
}

TEST_CASE("bench crossover: layers are channels by size") {
  CHECK(crossover_layers("64x56,16x32").size() == 2);
  CHECK(crossover_layers("64x56,16x32")[1].channels == 16);
  CHECK(crossover_layers("64x56,16x32")[1].size == 32);
  for (const std::string text : {"", "64", "64x", "64x56,", "x56", "0x5", "5x0", "64x56 ", "5000x1", "64x56;16x32"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(crossover_layers(text), UsageError);
  }
}
