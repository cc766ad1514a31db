#include "core/dtype.h"

namespace nibble {

size_t size_of(DType type) {
  switch (type) {
    case DType::u8:
    case DType::i8:
      return 1;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::i64:
    case DType::u64:
      return 8;
  }
  return 0;
}

std::string_view name_of(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
    case DType::i8:
      return "i8";
    case DType::u32:
      return "u32";
    case DType::u64:
      return "u64";
  }
  return "?";
}

}  // namespace nibble
