#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#ifndef NIBBLE_X86
#if defined(__x86_64__)
#define NIBBLE_X86 1
#else
#define NIBBLE_X86 0
#endif
#endif
#ifndef NIBBLE_ARM
#if defined(__aarch64__)
#define NIBBLE_ARM 1
#else
#define NIBBLE_ARM 0
#endif
#endif

namespace nibble {

/// One implementation of a kernel contract and the processor features it needs (0: runs everywhere).
template <class F>
struct Variant {
  const char* name;
  uint64_t needs;
  F* fn;
};

/// What the processor can do, and which kernel variant is used. Features are bits of a mask; AVX features are only
/// reported if the operating system saves their registers.
namespace cpu {

inline constexpr uint64_t ssse3 = 1u << 0;
inline constexpr uint64_t sse41 = 1u << 1;
inline constexpr uint64_t popcnt = 1u << 2;
inline constexpr uint64_t avx2 = 1u << 3;
inline constexpr uint64_t fma = 1u << 4;
inline constexpr uint64_t f16c = 1u << 5;
inline constexpr uint64_t avxvnni = 1u << 6;
inline constexpr uint64_t avx512f = 1u << 7;
inline constexpr uint64_t avx512dq = 1u << 8;
inline constexpr uint64_t avx512bw = 1u << 9;
inline constexpr uint64_t avx512vl = 1u << 10;
inline constexpr uint64_t avx512vnni = 1u << 11;
inline constexpr uint64_t avx512vbmi = 1u << 12;
inline constexpr uint64_t avx512bitalg = 1u << 13;
inline constexpr uint64_t avx512vpopcntdq = 1u << 14;
inline constexpr uint64_t amxint8 = 1u << 15;
inline constexpr uint64_t neon = 1u << 16;
inline constexpr uint64_t dotprod = 1u << 17;
inline constexpr uint64_t i8mm = 1u << 18;
inline constexpr uint64_t avx512bf16 = 1u << 19;
inline constexpr uint64_t amxbf16 = 1u << 20;
/// The four features that the tier "avx512" stands for.
inline constexpr uint64_t avx512 = avx512f | avx512dq | avx512bw | avx512vl;

/// Everything this processor and operating system support. The first call asks the operating system for the tile
/// registers of AMX, which it gives to processes that ask.
uint64_t detected();
/// detected(), cut down to the tier named by the environment variable NIBBLE_ISA if that is set (read once). Throws
/// Error if the tier is unknown or not supported here.
uint64_t features();
/// True if all features in `needs` may be used.
bool has(uint64_t needs);
/// "avx2 fma f16c"; "none" for 0.
std::string describe(uint64_t features);
/// `available` without what lies above `tier` (scalar, sse4, avx2, avxvnni, avx512, avx512vnni, avx512bits, amx,
/// neon, dotprod, i8mm). Throws Error if the tier is unknown or `available` lacks part of it.
uint64_t limit_to_tier(uint64_t available, std::string_view tier);

struct Row {
  const char* name;
  uint64_t needs;
};
/// Index of the first row that `available` supports, or of the one that `forced` ("conv_f32:scalar,int8_gemm:avx2")
/// names for this contract. Throws Error if that one is unknown or unsupported, or if no row is supported.
size_t choose_row(std::string_view contract, std::span<const Row> rows, uint64_t available, std::string_view forced);

/// A choice made in this process, for the header of a run.
struct Choice {
  std::string contract, variant;
};
/// All choices so far, in the order in which they were made.
std::vector<Choice> choices();

namespace detail {
size_t select_row(std::string_view contract, std::span<const Row> rows);
}

/// The variant of a contract to use: the best supported one (tables are ordered best first), or the one forced by the
/// environment variable NIBBLE_KERNEL. The choice is kept for choices(). Keep the result: this reads the environment.
template <class F>
const Variant<F>& select(std::string_view contract, std::span<const Variant<F>> table) {
  std::vector<Row> rows;
  for (const Variant<F>& v : table) rows.push_back({v.name, v.needs});
  return table[detail::select_row(contract, rows)];
}

}  // namespace cpu
}  // namespace nibble
