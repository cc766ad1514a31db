#include <cstdint>

#include "quant/kernels/bit_gemm/bit_gemm.h"

namespace nibble::bits {
namespace {

constexpr int64_t kLanes = 4, kGroup = 4;
constexpr uint8_t kPlace[kLanes] = {0, 1, 2, 3};

int32_t popcount(uint32_t v) {
  int32_t n = 0;
  for (; v; v &= v - 1) ++n;
  return n;
}

uint32_t word(const uint8_t* p) {
  uint32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}

template <class T>
T bound(T v, T lo, T hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

// Adding 1.5 * 2^23 leaves no room for a fraction: half to even.
int32_t round_real(float r) { return static_cast<int32_t>((bound(r, -65536.f, 65536.f) + 0x1.8p23f) - 0x1.8p23f); }

/// An output: channel c of pixel (row, col), and the counts P_kj.
struct Output {
  int64_t row, col, c;
  int32_t counts[32];
};

float learned_value(const Correlate& k, const Output& y) {
  const Outcome& o = k.outcome;
  const int64_t pixel = y.row * k.cols + y.col;
  float r = o.offset[y.c];
  for (int64_t i = 0; i < k.w_bits * k.a_bits; ++i) {
    const float term = static_cast<float>(y.counts[i]) * o.real_factor[i * o.stride + y.c];
    r = r + term;
  }
  for (int64_t j = 0; o.sum_factor && j < k.a_bits; ++j) {
    const float term = static_cast<float>(k.sums[j * k.sum_plane + pixel]) * o.sum_factor[j * o.stride + y.c];
    r = r + term;
  }
  return o.real_border ? r + o.real_border[k.at[pixel] + y.c] : r;
}

int32_t accumulator(const Correlate& k, const Output& y, int pairs) {
  const Outcome& o = k.outcome;
  const int64_t pixel = y.row * k.cols + y.col;
  int32_t raw = 0;
  for (int i = 0; i < pairs; ++i) raw += k.factor[i] * y.counts[i];
  return raw * (1 << o.shift) + (k.sums ? k.sums[pixel] : 0) + (o.border ? o.border[k.at[pixel] + y.c] : 0);
}

float bounded_real(const Outcome& o, float r) {
  const float above = r > o.least ? r : o.least;
  return above < o.most ? above : o.most;
}

void emit(const Correlate& k, const Output& y, int pairs) {
  const Outcome& o = k.outcome;
  const int64_t to = y.row * k.y_row + y.col * k.y_col + y.c;
  const int32_t acc = o.learned ? 0 : accumulator(k, y, pairs);
  float r = 0;
  if (o.learned) {
    r = learned_value(k, y);
  } else if (o.scale) {
    const float scaled = static_cast<float>(acc) * o.scale[y.c];
    r = scaled + o.offset[y.c];
  }
  if (o.kind == Outcome::kAccumulators) {
    static_cast<int32_t*>(k.y)[to] = acc;
  } else if (o.kind == Outcome::kReals) {
    static_cast<float*>(k.y)[to] = bounded_real(o, k.add ? r + k.add[to] : r);
  } else if (o.kind == Outcome::kUniform) {
    static_cast<uint8_t*>(k.y)[to] = static_cast<uint8_t>(bound(round_real(r) + o.zero, o.lo, o.hi));
  } else {
    int64_t level = 0;
    for (int64_t l = 0; l < o.cuts; ++l)
      level += o.learned ? r > o.threshold[l] : (acc ^ (o.flip ? o.flip[y.c] : 0)) >= o.cut[l * o.stride + y.c];
    static_cast<uint8_t*>(k.y)[to] = o.codes[level];
  }
}

/// Calls body(output) for every one, with counts of 0.
template <class Body>
void each(const Correlate& k, const Body& body) {
  for (int64_t row = 0; row < k.rows; ++row)
    for (int64_t col = 0; col < k.cols; ++col)
      for (int64_t c = 0; c < k.n; ++c) {
        Output y{row, col, c, {}};
        body(y);
      }
}

void planes(const Correlate& k) {
  const int64_t width = (k.n + kLanes - 1) / kLanes * kLanes, words = k.segs * k.steps;
  each(k, [&](Output& y) {
    const uint8_t* pixel = k.x + y.row * k.x_row + y.col * k.x_col;
    for (int i = 0; i < k.w_bits; ++i)
      for (int j = 0; j < k.a_bits; ++j)
        for (int64_t t = 0; t < words; ++t) {
          const uint32_t x = word(pixel + j * k.x_plane + k.seg[t / k.steps] + t % k.steps * 4);
          y.counts[i * k.a_bits + j] += popcount(x & word(k.w + ((i * words + t) * width + y.c) * 4));
        }
    emit(k, y, k.w_bits * k.a_bits);
  });
}

void pack(const Pixels& p) {
  for (int64_t i = 0; i < p.pixels; ++i)
    for (int j = 0; j < p.a_bits; ++j) {
      uint8_t* to = p.to + i * p.to_pitch + j * p.to_plane;
      int32_t total = 0;
      for (int64_t c = 0; c < p.channels; c += 8) {
        unsigned bits = 0;
        for (int64_t b = 0; b < 8 && c + b < p.channels; ++b) bits |= (p.x[i * p.x_pitch + c + b] >> j & 1u) << b;
        to[c / 8] = static_cast<uint8_t>(bits);
        total += popcount(bits);
      }
      if (p.sums) p.sums[j * p.sum_plane + i] = total;
    }
}

void tables(const Correlate& k) {
  const int64_t width = (k.n + kLanes - 1) / kLanes * kLanes, words = k.segs * k.steps;
  each(k, [&](Output& y) {
    const uint8_t* pixel = k.x + y.row * k.x_row + y.col * k.x_col;
    for (int64_t t = 0; t < words; ++t) {
      const uint8_t* table = pixel + k.seg[t / k.steps] + t % k.steps * (1 << kGroup);
      for (int i = 0; i < k.w_bits; ++i) y.counts[i] += table[k.w[(t * k.w_bits + i) * width + y.c]];
    }
    emit(k, y, k.w_bits);
  });
}

void tabulate(const Pixels& p) {
  const unsigned mask = (1u << p.a_bits) - 1;
  for (int64_t i = 0; i < p.pixels; ++i) {
    int32_t total = 0;
    for (int64_t c = 0; c < p.channels; c += kGroup)
      for (int s = 0; s < 1 << kGroup; ++s) {
        unsigned sum = 0;
        for (int64_t b = 0; b < kGroup && c + b < p.channels; ++b)
          if (s >> b & 1) sum += p.x[i * p.x_pitch + c + b] & mask;
        p.to[i * p.to_pitch + c / kGroup * (1 << kGroup) + s] = static_cast<uint8_t>(sum);
        if (s == (1 << kGroup) - 1) total += static_cast<int32_t>(sum);
      }
    if (p.sums) p.sums[i] = total;
  }
}

constexpr Kernels kTable{.lanes = kLanes,
                         .block = 8,
                         .planes = planes,
                         .pack = pack,
                         .group = kGroup,
                         .table_lanes = kLanes,
                         .table_block = {0, 8, 8, 8, 8},
                         .place = kPlace,
                         .tables = tables,
                         .tabulate = tabulate};

}  // namespace

const Kernels& gemm_scalar();
const Kernels& gemm_scalar() { return kTable; }

}  // namespace nibble::bits
