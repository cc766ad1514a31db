#include "core/cpu.h"

#include "core/error.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

constexpr uint64_t kServer = cpu::ssse3 | cpu::sse41 | cpu::popcnt | cpu::avx2 | cpu::fma | cpu::f16c | cpu::avxvnni |
                             cpu::avx512 | cpu::avx512vnni | cpu::avx512vbmi | cpu::avx512bitalg |
                             cpu::avx512vpopcntdq | cpu::amxint8;
constexpr cpu::Row kRows[] = {{"avx512", cpu::avx512}, {"avx2", cpu::avx2 | cpu::fma}, {"scalar", 0}};

TEST_CASE("cpu: usable features are a subset of the detected ones") {
  CHECK((cpu::features() & ~cpu::detected()) == 0);
  CHECK(cpu::has(0));
  CHECK(cpu::has(cpu::features()));
}

TEST_CASE("cpu: describe lists feature names") {
  CHECK(cpu::describe(0) == "none");
  CHECK(cpu::describe(cpu::fma | cpu::avx2) == "avx2 fma");
}

TEST_CASE("cpu: a tier lets through what it names and all below") {
  CHECK(cpu::limit_to_tier(kServer, "scalar") == 0);
  CHECK((cpu::limit_to_tier(kServer, "avx2") & (cpu::avx512 | cpu::avxvnni)) == 0);
  CHECK((cpu::limit_to_tier(kServer, "avx2") & cpu::avx2) != 0);
  CHECK((cpu::limit_to_tier(kServer, "avx512") & cpu::avx512) == cpu::avx512);
  CHECK((cpu::limit_to_tier(kServer, "avx512") & cpu::avx512vnni) == 0);
  CHECK(cpu::limit_to_tier(kServer, "avx512bits") == (kServer & ~cpu::amxint8));
  CHECK(cpu::limit_to_tier(kServer, "amx") == kServer);
}

TEST_CASE("cpu: a tier that the processor lacks is an error, and so is an unknown one") {
  CHECK_THROWS_WITH_AS(cpu::limit_to_tier(cpu::ssse3 | cpu::sse41 | cpu::popcnt | cpu::avx2 | cpu::fma, "avx2"),
                       "NIBBLE_ISA=avx2: this processor lacks: f16c", Error);
  CHECK_THROWS_WITH_AS(
      cpu::limit_to_tier(kServer, "sve"),
      "NIBBLE_ISA=sve: unknown, expected one of: scalar sse4 avx2 avxvnni avx512 avx512vnni avx512bits "
      "amx neon dotprod i8mm",
      Error);
}

TEST_CASE("cpu: the first row that the processor supports is chosen") {
  CHECK(cpu::choose_row("k", kRows, kServer, "") == 0);
  CHECK(cpu::choose_row("k", kRows, cpu::avx2 | cpu::fma, "") == 1);
  CHECK(cpu::choose_row("k", kRows, cpu::avx2, "") == 2);
  CHECK_THROWS_AS(cpu::choose_row("k", {kRows, 2}, 0, ""), Error);
}

TEST_CASE("cpu: NIBBLE_KERNEL forces a row of its contract only") {
  CHECK(cpu::choose_row("k", kRows, kServer, "other:avx2,k:scalar") == 2);
  CHECK(cpu::choose_row("k", kRows, kServer, "other:avx2") == 0);
  CHECK_THROWS_WITH_AS(cpu::choose_row("k", kRows, 0, "k:avx2"),
                       "kernel k:avx2 was forced, but these features are missing: avx2 fma", Error);
  CHECK_THROWS_WITH_AS(cpu::choose_row("k", kRows, 0, "k:sse9"),
                       "NIBBLE_KERNEL: k has no variant 'sse9'; it has: avx512 avx2 scalar", Error);
  CHECK_THROWS_AS(cpu::choose_row("k", kRows, 0, "scalar"), Error);
}

TEST_CASE("cpu: choices are remembered once per contract") {
  static constexpr Variant<int()> table[] = {{"only", 0, nullptr}};
  const std::span<const Variant<int()>> rows(table);
  cpu::select("cpu_test", rows);
  cpu::select("cpu_test", rows);
  int seen = 0;
  for (const cpu::Choice& c : cpu::choices())
    if (c.contract == "cpu_test") {
      ++seen;
      CHECK(c.variant == "only");
    }
  CHECK(seen == 1);
}

}  // namespace
}  // namespace nibble
