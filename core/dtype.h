#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nibble {

/// Element types: f32 for values, the integers for codes, labels, accumulators and counters.
enum class DType : uint8_t { f32, i32, i64, u8, i8, u32, u64 };

size_t size_of(DType type);
std::string_view name_of(DType type);

template <class T>
inline constexpr bool kIsElement = false;
template <class T>
inline constexpr DType kDTypeOf = DType::f32;

#define NIBBLE_ELEMENT(T, name)               \
  template <>                                 \
  inline constexpr bool kIsElement<T> = true; \
  template <>                                 \
  inline constexpr DType kDTypeOf<T> = DType::name
NIBBLE_ELEMENT(float, f32);
NIBBLE_ELEMENT(int32_t, i32);
NIBBLE_ELEMENT(int64_t, i64);
NIBBLE_ELEMENT(uint8_t, u8);
NIBBLE_ELEMENT(int8_t, i8);
NIBBLE_ELEMENT(uint32_t, u32);
NIBBLE_ELEMENT(uint64_t, u64);
#undef NIBBLE_ELEMENT

}  // namespace nibble
