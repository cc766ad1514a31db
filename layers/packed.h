#pragma once

#include <span>

#include "core/grid.h"

/// Weights as strings of codes with as few bits each as their levels need.
namespace nibble {

/// Bytes that this many codes take: ceil(count * bits / 8).
int64_t packed_bytes(int64_t count, int bits);
/// u8 codes of any shape -> packed_bytes(...) u8: code i fills the bits i * bits .. (i + 1) * bits - 1 of the string,
/// where bit k is bit k % 8 of byte k / 8; what is left of the last byte is 0. Throws if a code does not fit.
Tensor pack_codes(const Tensor& codes, int bits);
/// The reverse. Throws unless there are exactly the bytes that the shape takes and the left-over bits are 0.
Tensor unpack_codes(const Tensor& packed, const Shape& shape, int bits);
/// Codes first, first + 1, ... of a string that has them, as many as `codes` takes; nothing is checked.
void unpack_some(const Tensor& packed, int bits, int64_t first, std::span<uint8_t> codes);
/// All into `codes`, for as many as there are, checked as above.
void unpack_codes(const Tensor& packed, int bits, std::span<uint8_t> codes);

/// Bits that a code of this grid takes when packed: those of bits_of(), at least 1.
int packed_bits(const Grid& grid);
/// f32 numbers that describe a grid's levels: scales and, unless all are 0, offsets per channel; offset and basis per
/// channel; or the levels. Those of all channels count if there is more than one for any list.
int64_t grid_numbers(const Grid& grid);
/// u8 codes of a weight all of whose elements equal a level of their channel (of equal levels the smallest code).
/// Throws Error naming the first element that does not. Not encode(): the thresholds of a grid may lie elsewhere than
/// its levels.
Tensor exact_codes(const Tensor& weight, const Grid& grid);

}  // namespace nibble
