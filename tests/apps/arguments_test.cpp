#include "apps/arguments.h"

#include "core/error.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

CommandSpec spec() {
  CommandSpec spec;
  spec.name = "paint";
  spec.arguments = "WALL...";
  spec.min_arguments = 1;
  spec.max_arguments = 2;
  spec.doc = "paint walls.";
  spec.options = {{"--colour", "NAME", "of the paint", "-c", false},
                  {"--coats", "N", "how many", "", false},
                  {"--set", "A=B", "more", "", true},
                  {"--dry", "", "wait", "", false}};
  return spec;
}

}  // namespace

TEST_CASE("arguments: options stand before, between and behind positional arguments") {
  const Arguments args(spec(), {"-c", "red", "north", "--set", "a=1", "--dry", "--set=b=2", "south"});
  CHECK(args.positional() == std::vector<std::string>{"north", "south"});
  CHECK(args.text("--colour") == "red");
  CHECK(args.all("--set") == std::vector<std::string>{"a=1", "b=2"});
  CHECK(args.has("--dry"));
  CHECK_FALSE(args.has("--coats"));
  CHECK(args.integer("--coats", 3, 1, 9) == 3);
}

TEST_CASE("arguments: everything behind -- is positional, and a lone dash is too") {
  const Arguments args(spec(), {"-", "--", "--dry"});
  CHECK(args.positional() == std::vector<std::string>{"-", "--dry"});
}

TEST_CASE("arguments: help wins over missing arguments") {
  CHECK(Arguments(spec(), {"--help"}).help());
  CHECK(Arguments(spec(), {"--nonsense", "-h"}).help());
  CHECK_FALSE(Arguments(spec(), {"--", "--help"}).help());
}

TEST_CASE("arguments: what the command does not accept is a usage error") {
  CHECK_THROWS_AS(Arguments(spec(), {}), UsageError);
  CHECK_THROWS_AS(Arguments(spec(), {"a", "b", "c"}), UsageError);
  CHECK_THROWS_AS(Arguments(spec(), {"a", "--coats"}), UsageError);
  CHECK_THROWS_AS(Arguments(spec(), {"a", "--dry=1"}), UsageError);
  CHECK_THROWS_AS(Arguments(spec(), {"a", "-c", "x", "--colour", "y"}), UsageError);
  CHECK_THROWS_WITH_AS(Arguments(spec(), {"a", "--color", "x"}),
                       "nibble paint: unknown option '--color', did you mean '--colour'? (see nibble paint --help)",
                       UsageError);
}

TEST_CASE("arguments: numbers are whole and in range") {
  for (const char* bad : {"", "x", "1x", "0", "10", "1.5", "99999999999999999999"}) {
    CAPTURE(bad);
    const Arguments args(spec(), {"a", "--coats", bad});
    CHECK_THROWS_AS(args.integer("--coats", 1, 1, 9), UsageError);
  }
  CHECK(Arguments(spec(), {"a", "--coats", "9"}).integer("--coats", 1, 1, 9) == 9);
}

TEST_CASE("arguments: the help names every option") {
  const std::string text = help_text(spec());
  for (const char* part : {"nibble paint WALL...", "-c, --colour NAME", "--coats N", "several times", "--help"})
    CHECK(text.find(part) != std::string::npos);
}

}  // namespace nibble
