#include "apps/metrics.h"

#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {

TEST_CASE("metrics: lines of steps that a resumed run repeats are cut") {
  const test::Scratch folder("metrics");
  const std::string path = folder / "metrics.jsonl";
  {
    MetricsLog log(path);
    for (int step = 1; step <= 4; ++step) {
      log.write({{"kind", "step"}, {"step", step}});
      if (step % 2 == 0) log.write({{"kind", "epoch"}, {"step", step}});
    }
  }
  const std::string whole = read_text_file(path);
  SUBCASE("a closed epoch keeps its line") {
    cut_metrics(path, 2, false);
    CHECK(read_text_file(path) ==
          "{\"kind\":\"step\",\"step\":1}\n{\"kind\":\"step\",\"step\":2}\n{\"kind\":\"epoch\",\"step\":2}\n");
  }
  SUBCASE("an epoch whose evaluation is missing does not") {
    cut_metrics(path, 2, true);
    CHECK(read_text_file(path) == "{\"kind\":\"step\",\"step\":1}\n{\"kind\":\"step\",\"step\":2}\n");
  }
  SUBCASE("a line cut short by a crash goes") {
    write_file_atomically(path, whole + "{\"kind\":\"st");
    cut_metrics(path, 4, false);
    CHECK(read_text_file(path) == whole);
  }
  SUBCASE("nothing is left for a run that starts anew") {
    cut_metrics(path, -1, false);
    CHECK(read_text_file(path).empty());
  }
}

TEST_CASE("metrics: a file that does not exist is not created by cutting") {
  const test::Scratch folder("metrics-none");
  cut_metrics(folder / "metrics.jsonl", 5, false);
  CHECK_FALSE(std::filesystem::exists(folder / "metrics.jsonl"));
}

TEST_CASE("metrics: numbers that are not finite become null and a full disk is an error") {
  const test::Scratch folder("metrics-bad");
  const std::string path = folder / "metrics.jsonl";
  MetricsLog(path).write({{"loss", std::numeric_limits<double>::quiet_NaN()}});
  CHECK(read_text_file(path) == "{\"loss\":null}\n");
  MetricsLog full("/dev/full");
  CHECK_THROWS_AS(full.write({{"loss", 1}}), Error);
}

}  // namespace nibble
