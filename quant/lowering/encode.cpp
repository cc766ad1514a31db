#include "quant/lowering/encode.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "core/kernels/elementwise/dispatch.h"
#include "core/parallel.h"

namespace nibble {

void Encode::Options::fields(Fields& f) {
  f.required().raw("grid", grid, "a grid", "the levels, and what is rounded to which");
}

Encode::Encode(const Options& options) : options_(options), grid_(grid_from_json(options.grid)) {
  std::string why;
  const std::optional<Coding> coding = coding_of(grid_, why);
  NIBBLE_CHECK(coding, "encode: the grid cannot be written as codes: ", why);
  coding_ = *coding;
  table_ = code_table(grid_, coding_);
  constexpr int64_t kFewLevels = 8;
  if (level_count(grid_) <= kFewLevels) steps_ = steps_of(grid_, coding_);
}

std::optional<Coding> Encode::coding(std::span<const std::optional<Coding>> inputs) const {
  NIBBLE_CHECK(inputs.size() == 1 && !inputs[0], "encode: expected one input of values (f32)");
  return coding_;
}

bool Encode::count_steps(const Tensor& x, const Tensor& codes) const {
  constexpr int64_t kStretch = 4096, kGrain = 1 << 15;  // in the first-level cache; worth a thread
  const elementwise::Kernels& kernels = elementwise::kernels();
  const float* const from = x.data<float>().data();
  uint8_t* const to = codes.mutable_data<uint8_t>().data();
  const bool ranks_are_codes =
      std::ranges::all_of(steps_.codes, [&, rank = 0](uint8_t code) mutable { return code == rank++; });
  std::atomic<bool> fine{true};
  parallel_for(0, x.numel(), kGrain, [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; i += kStretch) {
      const int64_t n = std::min(kStretch, hi - i);
      if (!kernels.within(from + i, std::numeric_limits<float>::infinity(), n)) fine = false;
      kernels.count_below(from + i, steps_.thresholds.data(), static_cast<int64_t>(steps_.thresholds.size()), to + i,
                          n);
      if (!ranks_are_codes)
        for (int64_t k = i; k < i + n; ++k) to[k] = steps_.codes[to[k]];
    }
  });
  return fine;
}

Tensor Encode::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::f32);
  if (!steps_.codes.empty()) {
    const Tensor counted = Tensor::empty(in[0].shape(), DType::u8);
    if (count_steps(in[0], counted)) return counted;
  }
  Tensor codes = encode(in[0], grid_);
  if (coding_.unit == 2 || coding_.ladder) {
    for (uint8_t& code : codes.mutable_data<uint8_t>()) code = table_[code];
  }
  return codes;
}

NIBBLE_REGISTER_LAYER(Encode, "encode", "Lowered: reals to the codes of a grid.");

}  // namespace nibble
