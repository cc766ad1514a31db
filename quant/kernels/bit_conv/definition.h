#pragma once

#include "quant/kernels/bit_conv/bit_conv.h"

/// The arithmetic of BitConvSpec, operation by operation. Plans precompute with it, tests compare with it.
namespace nibble::bits {

/// Counts over one window: see BitConvSpec.
struct Counts {
  int32_t p[4][8] = {}, q[8] = {}, r[4] = {}, t = 0;
};

/// acc of Rule::integer.
int64_t accumulator(const BitConvSpec& spec, const Counts& counts);
/// r of Rule::integer for output channel o.
float integer_value(const BitConvSpec& spec, int64_t o, int32_t acc);
/// f32(product * scale[o]): a factor of Rule::learned.
float learned_factor(const BitConvSpec& spec, int64_t o, double product);
/// b of Rule::learned for output channel o; 0 if a_offset is 0.
float learned_border(const BitConvSpec& spec, int64_t o, const Counts& counts);
/// r of Rule::learned for output channel o.
float learned_value(const BitConvSpec& spec, int64_t o, const Counts& counts);
/// r within the bounds of Output::reals.
float bounded(const Epilogue& epilogue, float r);
/// The code of Output::levels or Output::uniform.
uint8_t code_of(const Epilogue& epilogue, float r);

/// The whole convolution by plain loops: what BitConv::run writes, slowly. Throws Error as BitConv does.
void evaluate(const BitConvSpec& spec, const uint8_t* x, int64_t batch, int64_t h, int64_t w, void* y,
              const float* add = nullptr);

}  // namespace nibble::bits
