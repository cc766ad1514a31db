#include "core/cpu.h"

#include <cstdlib>
#include <mutex>

#include "core/error.h"

#if NIBBLE_X86
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif
#if NIBBLE_ARM && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace nibble::cpu {
namespace {

struct Name {
  const char* name;
  uint64_t bit;
};
constexpr Name kNames[] = {{"ssse3", ssse3},
                           {"sse41", sse41},
                           {"popcnt", popcnt},
                           {"avx2", avx2},
                           {"fma", fma},
                           {"f16c", f16c},
                           {"avxvnni", avxvnni},
                           {"avx512f", avx512f},
                           {"avx512dq", avx512dq},
                           {"avx512bw", avx512bw},
                           {"avx512vl", avx512vl},
                           {"avx512vnni", avx512vnni},
                           {"avx512vbmi", avx512vbmi},
                           {"avx512bitalg", avx512bitalg},
                           {"avx512vpopcntdq", avx512vpopcntdq},
                           {"amxint8", amxint8},
                           {"neon", neon},
                           {"dotprod", dotprod},
                           {"i8mm", i8mm},
                           {"avx512bf16", avx512bf16},
                           {"amxbf16", amxbf16}};

// `needs` must be there for the tier to be named, `keeps` is what it lets through: AVX-VNNI lies beside AVX-512, not
// below it, so the higher x86 tiers keep it without asking for it.
struct Tier {
  const char* name;
  uint64_t needs, keeps;
};
constexpr uint64_t kSse4 = ssse3 | sse41 | popcnt;
constexpr uint64_t kAvx2 = kSse4 | avx2 | fma | f16c;
constexpr uint64_t kAvx512 = kAvx2 | avx512;
constexpr uint64_t kVnni = kAvx512 | avx512vnni;
constexpr uint64_t kBits = kVnni | avx512vbmi | avx512bitalg | avx512vpopcntdq;
constexpr uint64_t kAmx = kBits | amxint8;
constexpr Tier kTiers[] = {{"scalar", 0, 0},
                           {"sse4", kSse4, kSse4},
                           {"avx2", kAvx2, kAvx2},
                           {"avxvnni", kAvx2 | avxvnni, kAvx2 | avxvnni},
                           {"avx512", kAvx512, kAvx512},
                           {"avx512vnni", kVnni, kVnni | avxvnni},
                           {"avx512bits", kBits, kBits | avxvnni},
                           {"amx", kAmx, kAmx | avxvnni | avx512bf16 | amxbf16},
                           {"neon", neon, neon},
                           {"dotprod", neon | dotprod, neon | dotprod},
                           {"i8mm", neon | dotprod | i8mm, neon | dotprod | i8mm}};

#if NIBBLE_X86
struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(unsigned leaf, unsigned subleaf) {
  Leaf r;
  __cpuid_count(leaf, subleaf, r.a, r.b, r.c, r.d);
  return r;
}

uint64_t xgetbv0() {
  unsigned lo = 0, hi = 0;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t{hi} << 32) | lo;
}

/// Whether the operating system lets this process use the tile registers, which it has to be asked for.
bool grants_tiles(uint64_t saved_state) {
#if defined(__linux__)
  constexpr uint64_t kTileState = 3 << 17;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return (saved_state & kTileState) == kTileState && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  static_cast<void>(saved_state);
  return false;
#endif
}

uint64_t detect() {
  uint64_t found = 0;
  const auto add = [&](unsigned reg, int bit, uint64_t feature) {
    if ((reg >> bit) & 1u) found |= feature;
  };
  const unsigned last = cpuid(0, 0).a;
  if (last < 1) return 0;
  const Leaf one = cpuid(1, 0);
  add(one.c, 9, ssse3);
  add(one.c, 19, sse41);
  add(one.c, 23, popcnt);
  const bool os_saves = ((one.c >> 27) & 1u) && ((one.c >> 28) & 1u);
  const uint64_t state = os_saves ? xgetbv0() : 0;
  if ((state & 0x6) != 0x6 || last < 7) return found;
  add(one.c, 12, fma);
  add(one.c, 29, f16c);
  const Leaf seven = cpuid(7, 0);
  add(seven.b, 5, avx2);
  const Leaf seven1 = seven.a >= 1 ? cpuid(7, 1) : Leaf{};
  add(seven1.a, 4, avxvnni);
  if ((state & 0xE6) != 0xE6) return found;
  add(seven.b, 16, avx512f);
  add(seven.b, 17, avx512dq);
  add(seven.b, 30, avx512bw);
  add(seven.b, 31, avx512vl);
  add(seven.c, 1, avx512vbmi);
  add(seven.c, 11, avx512vnni);
  add(seven.c, 12, avx512bitalg);
  add(seven.c, 14, avx512vpopcntdq);
  add(seven1.a, 5, avx512bf16);
  const bool tiles = (seven.d >> 24) & 1u;
  if (tiles && grants_tiles(state)) {
    add(seven.d, 25, amxint8);
    add(seven.d, 22, amxbf16);
  }
  return found;
}
#elif NIBBLE_ARM
uint64_t detect() {
  uint64_t found = neon;
#if defined(__linux__)
  if (getauxval(AT_HWCAP) & (1ul << 20)) found |= dotprod;
  if (getauxval(AT_HWCAP2) & (1ul << 13)) found |= i8mm;
#endif
  return found;
}
#else
uint64_t detect() { return 0; }
#endif

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// The variant that `forced` names for this contract, or "".
std::string_view forced_variant(std::string_view contract, std::string_view forced) {
  while (!forced.empty()) {
    const size_t comma = forced.find(',');
    const std::string_view entry = forced.substr(0, comma);
    const size_t colon = entry.find(':');
    NIBBLE_CHECK(colon != std::string_view::npos, "NIBBLE_KERNEL: expected CONTRACT:VARIANT[,...], got '", entry, "'");
    if (entry.substr(0, colon) == contract) return entry.substr(colon + 1);
    forced = comma == std::string_view::npos ? std::string_view{} : forced.substr(comma + 1);
  }
  return {};
}

std::mutex choices_mutex;
std::vector<Choice>& choice_list() {
  static std::vector<Choice> list;
  return list;
}

}  // namespace

uint64_t detected() {
  static const uint64_t found = detect();
  return found;
}

uint64_t features() {
  static const uint64_t usable = [] {
    const std::string tier = environment("NIBBLE_ISA");
    return tier.empty() ? detected() : limit_to_tier(detected(), tier);
  }();
  return usable;
}

bool has(uint64_t needs) { return (features() & needs) == needs; }

std::string describe(uint64_t features) {
  std::string text;
  for (const Name& n : kNames)
    if (features & n.bit) text.append(text.empty() ? "" : " ").append(n.name);
  return text.empty() ? "none" : text;
}

uint64_t limit_to_tier(uint64_t available, std::string_view tier) {
  std::string known;
  for (const Tier& t : kTiers) {
    if (tier == t.name) {
      NIBBLE_CHECK((available & t.needs) == t.needs, "NIBBLE_ISA=", tier,
                   ": this processor lacks: ", describe(t.needs & ~available));
      return available & t.keeps;
    }
    known.append(" ").append(t.name);
  }
  throw Error(concat_text("NIBBLE_ISA=", tier, ": unknown, expected one of:", known));
}

size_t choose_row(std::string_view contract, std::span<const Row> rows, uint64_t available, std::string_view forced) {
  const std::string_view wanted = forced_variant(contract, forced);
  std::string known;
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool runs = (available & rows[i].needs) == rows[i].needs;
    if (wanted.empty() ? runs : wanted == rows[i].name) {
      NIBBLE_CHECK(runs, "kernel ", contract, ":", rows[i].name,
                   " was forced, but these features are missing: ", describe(rows[i].needs & ~available));
      return i;
    }
    known.append(" ").append(rows[i].name);
  }
  NIBBLE_CHECK(wanted.empty(), "NIBBLE_KERNEL: ", contract, " has no variant '", wanted, "'; it has:", known);
  throw Error(concat_text("kernel ", contract, ": no variant runs on this processor; there are:", known));
}

std::vector<Choice> choices() {
  const std::lock_guard lock(choices_mutex);
  return choice_list();
}

namespace detail {
size_t select_row(std::string_view contract, std::span<const Row> rows) {
  const size_t row = choose_row(contract, rows, features(), environment("NIBBLE_KERNEL"));
  const std::lock_guard lock(choices_mutex);
  for (const Choice& c : choice_list())
    if (c.contract == contract) return row;
  choice_list().push_back({std::string(contract), rows[row].name});
  return row;
}
}  // namespace detail

}  // namespace nibble::cpu
