#include "core/kernels/conv_f32/winograd.h"

#include <algorithm>
#include <memory>

#include "core/allocator.h"
#include "core/kernels/conv_f32/plan.h"
#include "core/parallel.h"

namespace nibble::conv_f32 {
namespace {

constexpr int64_t kOut = 4, kIn = 6, kPositions = kIn * kIn, kTaps = 9;
constexpr int64_t kFewestTiles = 32;  // of all images; fewer do not pay for the weights' transform
constexpr int64_t kFewestChannels = 16;
constexpr int64_t kPartialFloats = 2 << 20;  // all partial gradients together
constexpr int64_t kMostChunks = 16;
constexpr int64_t kUnitFloats = 128 * 1024;  // of both transformed operands: stays in a 1 MiB L2 beside weights

/// Pixels in NHWC.
struct Map {
  int64_t images, h, w, c;
};

/// Tiles of outputs, numbered along the rows of all images; tile (i, j) reads a window of `window` pixels square from
/// pixel (4 i + top, 4 j + left) on.
struct Tiling {
  Map map;
  int64_t rows, cols;  ///< tiles of an image
  int64_t top, left, window;

  int64_t count() const { return map.images * rows * cols; }
};

/// Transforms tiles [first, last) into to[position][tile][channel]. What lies outside of the map is 0.
void transform(void (*kernel)(const WinogradTile&), const Tiling& tiling, const float* x, int64_t first, int64_t last,
               float* patch, float* to, int64_t position) {
  const Map& m = tiling.map;
  for (int64_t tile = first; tile < last; ++tile) {
    const int64_t image = tile / (tiling.rows * tiling.cols), row = tile / tiling.cols % tiling.rows;
    const int64_t y = row * kOut + tiling.top, z = tile % tiling.cols * kOut + tiling.left;
    const float* from = x + ((image * m.h + y) * m.w + z) * m.c;
    int64_t from_row = m.w * m.c;
    if (y < 0 || z < 0 || y + tiling.window > m.h || z + tiling.window > m.w) {
      const int64_t z0 = std::max<int64_t>(0, -z), z1 = std::clamp<int64_t>(m.w - z, z0, tiling.window);
      for (int64_t i = 0; i < tiling.window; ++i) {
        float* line = patch + i * tiling.window * m.c;
        const bool inside = y + i >= 0 && y + i < m.h && z0 < tiling.window;
        const int64_t begin = inside ? z0 * m.c : 0, end = inside ? z1 * m.c : 0;
        std::fill(line, line + begin, 0.f);
        if (begin < end) std::copy_n(from + i * from_row + begin, end - begin, line + begin);
        std::fill(line + end, line + tiling.window * m.c, 0.f);
      }
      from = patch;
      from_row = tiling.window * m.c;
    }
    kernel({.from = from,
            .from_row = from_row,
            .from_col = m.c,
            .to = to + (tile - first) * m.c,
            .to_row = kIn * position,
            .to_col = position,
            .rows = kIn,
            .cols = kIn,
            .channels = m.c});
  }
}

/// Floats from one position to the next. No power of two: the 36 of a tile would fall into a few sets of the cache.
int64_t position_of(int64_t tiles, int64_t channels) { return tiles * channels + 16; }

/// Tiles that are worked on at a time: all their products with one position's weights, then the next position's.
int64_t unit_of(const Tiling& tiling, int64_t channels) {
  const int64_t fit = kUnitFloats / (kPositions * channels);
  return std::min(tiling.count(), std::max(kFewestTiles, fit) / 2 * 2);
}

/// t = G g along one axis, for `n` values side by side.
void weights_axis(const float* g0, const float* g1, const float* g2, float* const (&t)[6], int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    const float near = (g0[j] + g2[j]) * (-1.f / 6), middle = g1[j] * (1.f / 6);
    const float far = g0[j] * (1.f / 24) + g2[j] * (1.f / 6), half = g1[j] * (1.f / 12);
    t[0][j] = g0[j] * 0.25f;
    t[1][j] = near - middle;
    t[2][j] = near + middle;
    t[3][j] = far + half;
    t[4][j] = far - half;
    t[5][j] = g2[j];
  }
}

/// g = G^T t along one axis.
void weights_axis_back(const float* const (&t)[6], float* const (&g)[3], int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    const float near = t[1][j] + t[2][j], far = t[3][j] + t[4][j];
    g[0][j] = t[0][j] * 0.25f - near * (1.f / 6) + far * (1.f / 24);
    g[1][j] = (t[2][j] - t[1][j]) * (1.f / 6) + (t[3][j] - t[4][j]) * (1.f / 12);
    g[2][j] = (far - near) * (1.f / 6) + t[5][j];
  }
}

/// Weights as a correlation from `from` channels to `to` reads them: tap t of a pair of channels is
/// w[from * from_step + to * to_step + (turned ? 8 - t : t)].
struct Taps {
  const float* w;
  int64_t from, from_step, to, to_step;
  bool turned;
};

/// Transformed weights, G g G^T: [position][panel of `block` channels of the result][source channel][channel of the
/// panel].
struct Weights {
  std::shared_ptr<std::byte> storage;
  const float* data = nullptr;
  int64_t position = 0;
};

constexpr int64_t kMostBlock = 64;

void transform_panel(const Taps& taps, int64_t first, int64_t live, int64_t width, int64_t position, float* to) {
  float g[kTaps][kMostBlock] = {}, half[kIn][3][kMostBlock];
  for (int64_t c = 0; c < taps.from; ++c, to += width) {
    for (int64_t j = 0; j < live; ++j) {
      const float* const at = taps.w + c * taps.from_step + (first + j) * taps.to_step;
      for (int64_t t = 0; t < kTaps; ++t) g[t][j] = at[taps.turned ? kTaps - 1 - t : t];
    }
    for (int64_t col = 0; col < 3; ++col)
      weights_axis(g[col], g[3 + col], g[6 + col],
                   {half[0][col], half[1][col], half[2][col], half[3][col], half[4][col], half[5][col]}, width);
    for (int64_t i = 0; i < kIn; ++i) {
      float* at = to + i * kIn * position;
      weights_axis(half[i][0], half[i][1], half[i][2],
                   {at, at + position, at + 2 * position, at + 3 * position, at + 4 * position, at + 5 * position},
                   width);
    }
  }
}

Weights transform_weights(const Kernels& k, const Taps& taps) {
  const int64_t padded = ceil_div(taps.to, k.lanes) * k.lanes, panels = ceil_div(taps.to, k.block);
  Weights weights;
  weights.position = taps.from * padded;
  weights.storage = allocate(static_cast<size_t>(kPositions * weights.position) * sizeof(float));
  auto* data = reinterpret_cast<float*>(weights.storage.get());
  parallel_for(0, panels, 1 + (1 << 14) / (taps.from * k.block), [&](int64_t lo, int64_t hi) {
    for (int64_t panel = lo; panel < hi; ++panel) {
      const int64_t first = panel * k.block, width = std::min(k.block, padded - first);
      transform_panel(taps, first, std::min(width, taps.to - first), width, weights.position, data + first * taps.from);
    }
  });
  weights.data = data;
  return weights;
}

/// The 36 products of a unit: m[position][tile][n] = v[position][tile][c] * weights.
void multiply(const Kernels& k, const Weights& weights, int64_t tiles, int64_t c, int64_t n, const float* v, float* m) {
  const int64_t zero = 0;
  const int64_t rows = tiles % 2 == 0 ? 2 : 1, cols = tiles / rows;  // pairs of rows fill a tile of the kernel
  for (int64_t p = 0; p < kPositions; ++p)
    for (int64_t first = 0; first < n; first += k.block) {
      k.correlate({.x = v + p * position_of(tiles, c),
                   .x_row = cols * c,
                   .x_col = c,
                   .seg = &zero,
                   .segs = 1,
                   .run = c,
                   .w = weights.data + p * weights.position + first * c,
                   .bias = nullptr,
                   .y = m + p * position_of(tiles, n) + first,
                   .y_row = cols * n,
                   .y_col = n,
                   .rows = rows,
                   .cols = cols,
                   .n = std::min(k.block, n - first)});
    }
}

/// Writes tiles [first, last) of the outputs.
void put(const Kernels& k, const Tiling& tiling, const Map& out, const float* m, int64_t first, int64_t last,
         float* y) {
  const int64_t position = position_of(last - first, out.c);
  for (int64_t tile = first; tile < last; ++tile) {
    const int64_t image = tile / (tiling.rows * tiling.cols), row = tile / tiling.cols % tiling.rows * kOut;
    const int64_t col = tile % tiling.cols * kOut;
    k.winograd_output({.from = m + (tile - first) * out.c,
                       .from_row = kIn * position,
                       .from_col = position,
                       .to = y + ((image * out.h + row) * out.w + col) * out.c,
                       .to_row = out.w * out.c,
                       .to_col = out.c,
                       .rows = std::min(kOut, out.h - row),
                       .cols = std::min(kOut, out.w - col),
                       .channels = out.c});
  }
}

/// Every tile of `out` from its window of the source.
void correlate(const Kernels& k, const Tiling& tiling, const Taps& taps, const Map& out, const float* from, float* to) {
  const int64_t in_c = taps.from, out_c = taps.to;
  const Weights weights = transform_weights(k, taps);
  const int64_t unit = unit_of(tiling, in_c + out_c), units = ceil_div(tiling.count(), unit);
  parallel_for(0, units, 1, [&](int64_t lo, int64_t hi) {
    const int64_t in_floats = kPositions * position_of(unit, in_c), out_floats = kPositions * position_of(unit, out_c);
    float* v = thread_scratch(in_floats + out_floats + kPositions * in_c);
    float *m = v + in_floats, *patch = m + out_floats;
    for (int64_t i = lo; i < hi; ++i) {
      const int64_t first = i * unit, last = std::min(first + unit, tiling.count());
      transform(k.winograd_input, tiling, from, first, last, patch, v, position_of(last - first, in_c));
      multiply(k, weights, last - first, in_c, out_c, v, m);
      put(k, tiling, out, m, first, last, to);
    }
  });
}

/// How the sum over tiles is cut, which depends on the shape only: into chunks that have a sum of their own, and where
/// large weights leave few of them, into parts of the 36 positions, each of which transforms all for itself.
struct Cut {
  int64_t chunks = 1, tiles, parts;
};

Cut cut(const Tiling& tiling, int64_t floats) {
  Cut c;
  while (c.chunks < kMostChunks && 2 * c.chunks * floats <= kPartialFloats &&
         tiling.count() >= 2 * c.chunks * kFewestTiles)
    c.chunks *= 2;
  c.tiles = ceil_div(tiling.count(), c.chunks);
  c.parts = std::max<int64_t>(1, 4 / c.chunks);
  return c;
}

/// Gradients of a chunk in the transformed domain, [position][input][output], for one part of the positions.
struct Sums {
  const Kernels& k;
  const Tiling &inputs, &gradients;
  const float *x, *dy;
  int64_t unit;

  void operator()(const Cut& c, int64_t index, int64_t part, float* sum) const {
    const int64_t in = inputs.map.c, out = gradients.map.c;
    const int64_t end = std::min(inputs.count(), (index + 1) * c.tiles);
    const int64_t in_floats = kPositions * position_of(unit, in), out_floats = kPositions * position_of(unit, out);
    float* v = thread_scratch(in_floats + out_floats + kPositions * std::max(in, out));
    float *g = v + in_floats, *patch = g + out_floats;
    for (int64_t first = index * c.tiles; first < end; first += unit) {
      const int64_t last = std::min(first + unit, end), tiles = last - first;
      transform(k.winograd_input, inputs, x, first, last, patch, v, position_of(tiles, in));
      transform(k.winograd_gradient, gradients, dy, first, last, patch, g, position_of(tiles, out));
      for (int64_t p = kPositions * part / c.parts; p < kPositions * (part + 1) / c.parts; ++p)
        k.outer({.a = v + p * position_of(tiles, in),
                 .a_image = 0,
                 .a_row = 0,
                 .a_col = in,
                 .m = in,
                 .b = g + p * position_of(tiles, out),
                 .b_image = 0,
                 .b_row = 0,
                 .b_col = out,
                 .n = out,
                 .images = 1,
                 .rows = 1,
                 .cols = tiles,
                 .c = sum + p * in * out,
                 .ldc = out,
                 .add = first > index * c.tiles});
    }
  }
};

/// dw[o][c] = G^T sum[.][c][o] G for inputs [first, last) and all outputs.
void transform_sums(const ConvShape& s, const float* sum, int64_t first, int64_t last, float* dw) {
  const int64_t position = s.c * s.o;
  float half[3][kIn][kMostBlock], g[kTaps][kMostBlock];
  for (int64_t c = first; c < last; ++c)
    for (int64_t o = 0; o < s.o; o += kMostBlock) {
      const int64_t n = std::min(kMostBlock, s.o - o);
      const float* from = sum + c * s.o + o;
      for (int64_t j = 0; j < kIn; ++j) {
        const auto at = [&](int64_t i) { return from + (i * kIn + j) * position; };
        weights_axis_back({at(0), at(1), at(2), at(3), at(4), at(5)}, {half[0][j], half[1][j], half[2][j]}, n);
      }
      for (int64_t i = 0; i < 3; ++i)
        weights_axis_back({half[i][0], half[i][1], half[i][2], half[i][3], half[i][4], half[i][5]},
                          {g[3 * i], g[3 * i + 1], g[3 * i + 2]}, n);
      for (int64_t j = 0; j < n; ++j)
        for (int64_t t = 0; t < kTaps; ++t) dw[((o + j) * s.c + c) * kTaps + t] = g[t][j];
    }
}

}  // namespace

bool winograd_pays(const ConvShape& s, ConvPass pass) {
  const ConvGeometry& g = s.geometry;
  const bool fits = s.kh == 3 && s.kw == 3 && g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 &&
                    g.dilation_w == 1 && g.groups == 1;
  if (!fits || std::min(s.c, s.o) < kFewestChannels) return false;
  const int64_t h = pass == ConvPass::data ? s.h : s.oh, w = pass == ConvPass::data ? s.w : s.ow;
  const int64_t tiles = s.n * ceil_div(h, kOut) * ceil_div(w, kOut);
  // A transform of a value costs about as much as four multiplications with a weight.
  const int64_t there = tiles * kPositions * (s.c * s.o + 4 * (s.c + s.o)), direct = s.n * h * w * kTaps * s.c * s.o;
  return tiles >= kFewestTiles && 4 * there < 3 * direct;
}

void winograd_forward(const Kernels& k, const ConvShape& s, const float* x, const float* w, float* y) {
  const Tiling tiling{{s.n, s.h, s.w, s.c}, ceil_div(s.oh, kOut), ceil_div(s.ow, kOut),
                      -s.geometry.pad.top,  -s.geometry.pad.left, kIn};
  correlate(k, tiling, {w, s.c, kTaps, s.o, s.c * kTaps, false}, {s.n, s.oh, s.ow, s.o}, x, y);
}

void winograd_backward_data(const Kernels& k, const ConvShape& s, const float* dy, const float* w, float* dx) {
  const Tiling tiling{{s.n, s.oh, s.ow, s.o}, ceil_div(s.h, kOut),     ceil_div(s.w, kOut),
                      s.geometry.pad.top - 2, s.geometry.pad.left - 2, kIn};
  correlate(k, tiling, {w, s.o, s.c * kTaps, s.c, kTaps, true}, {s.n, s.h, s.w, s.c}, dy, dx);
}

void winograd_backward_weights(const Kernels& k, const ConvShape& s, const float* x, const float* dy, float* dw) {
  const int64_t rows = ceil_div(s.oh, kOut), cols = ceil_div(s.ow, kOut), floats = kPositions * s.c * s.o;
  const Tiling inputs{{s.n, s.h, s.w, s.c}, rows, cols, -s.geometry.pad.top, -s.geometry.pad.left, kIn};
  const Tiling gradients{{s.n, s.oh, s.ow, s.o}, rows, cols, 0, 0, kOut};
  const Cut c = cut(inputs, floats);
  const auto storage = allocate(static_cast<size_t>(c.chunks * floats) * sizeof(float));
  auto* partial = reinterpret_cast<float*>(storage.get());
  const Sums sums{k, inputs, gradients, x, dy, std::min(unit_of(inputs, s.c + s.o), c.tiles)};
  parallel_for(0, c.chunks * c.parts, 1, [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) sums(c, i / c.parts, i % c.parts, partial + i / c.parts * floats);
  });
  sum_chunks(partial, c.chunks, floats);
  parallel_for(0, s.c, 1 + (1 << 12) / s.o, [&](int64_t lo, int64_t hi) { transform_sums(s, partial, lo, hi, dw); });
}

}  // namespace nibble::conv_f32
