#pragma once

#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/quads.h"

/// Sums of products of bytes by the tile registers of AMX, for files that are compiled for it. A tile is up to 16 rows
/// of 64 bytes: four codes each of 16 quads for a pixel, or four weights each of 16 output channels for a quad.
namespace nibble::amx {

inline constexpr int64_t kPixels = 16, kChannels = 16;

/// The tile registers, laid out for so many pixels and quads; other threads have their own.
class Registers {
 public:
  Registers(int64_t pixels, int64_t quads) {
    alignas(64) Layout layout;
    const auto shape = [&](int tile, int64_t rows, int64_t bytes) {
      layout.rows[tile] = static_cast<uint8_t>(rows);
      layout.row_bytes[tile] = static_cast<uint16_t>(bytes);
    };
    for (int tile = 0; tile < 4; ++tile) shape(tile, pixels, 4 * kChannels);
    for (int tile = 4; tile < 6; ++tile) shape(tile, pixels, 4 * quads);
    for (int tile = 6; tile < 8; ++tile) shape(tile, quads, 4 * kChannels);
    // GCC 12 believes that only the first bytes are read.
    __asm__ volatile("" : : "r"(&layout) : "memory");
    _tile_loadconfig(&layout);
  }
  Registers(const Registers&) = delete;
  Registers& operator=(const Registers&) = delete;
  ~Registers() { _tile_release(); }

 private:
  struct Layout {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
};

/// What is summed up for a pixel: `segs` segments of `steps` quads, `quads` of which make a tile (a divisor of steps).
struct Window {
  int64_t pitch = 0;             ///< bytes from pixel to pixel
  const int64_t* seg = nullptr;  ///< bytes from the pixel on
  int64_t segs = 0, steps = 0, quads = 0;
};

/// Where the sums of tile `tile` of Vectors to a row go in sums[row][pixel][channel].
template <int Vectors>
int32_t* sums_of(int tile, int32_t* sums) {
  constexpr int64_t kRow = kPixels * Vectors * kChannels;
  return sums + tile / Vectors * kRow + tile % Vectors * kChannels;
}

template <int Tile, int Vectors>
void store(int32_t* sums) {
  constexpr int64_t kBytes = Vectors * kChannels * 4;
  int32_t* const to = sums_of<Vectors>(Tile, sums);
  if constexpr (Tile == 0) _tile_stored(0, to, kBytes);
  if constexpr (Tile == 1) _tile_stored(1, to, kBytes);
  if constexpr (Tile == 2) _tile_stored(2, to, kBytes);
  if constexpr (Tile == 3) _tile_stored(3, to, kBytes);
}

/// Stores the sums of the window before, if there was one, and begins at zero.
template <int Tile, int Vectors>
[[gnu::always_inline]] inline void restart(int32_t* before) {
  if (before) store<Tile, Vectors>(before);
  if constexpr (Tile == 0) _tile_zero(0);
  if constexpr (Tile == 1) _tile_zero(1);
  if constexpr (Tile == 2) _tile_zero(2);
  if constexpr (Tile == 3) _tile_zero(3);
}

/// Adds the products of one tile of quads; the first one restarts each sum just before it is needed, as storing all of
/// them at once would leave the multipliers idle.
template <int Rows, int Vectors, bool First>
[[gnu::always_inline]] inline void add_products(const uint8_t* const (&x)[Rows], int64_t pitch, int64_t at,
                                                const uint8_t* w, int32_t* before) {
  constexpr int64_t kBytes = Vectors * kChannels * 4;
  if constexpr (First) restart<0, Vectors>(before);
  _tile_loadd(6, w, kBytes);
  _tile_loadd(4, x[0] + at, pitch);
  _tile_dpbusd(0, 4, 6);
  if constexpr (Vectors == 2) {
    if constexpr (First) restart<1, Vectors>(before);
    _tile_loadd(7, w + 64, kBytes);
    _tile_dpbusd(1, 4, 7);
  }
  if constexpr (Vectors == 2 && Rows == 2) {
    if constexpr (First) restart<2, Vectors>(before);
    _tile_loadd(5, x[1] + at, pitch);
    _tile_dpbusd(2, 5, 6);
    if constexpr (First) restart<3, Vectors>(before);
    _tile_dpbusd(3, 5, 7);
  }
  if constexpr (Vectors == 1 && Rows == 4) {
    if constexpr (First) restart<1, Vectors>(before);
    _tile_loadd(5, x[1] + at, pitch);
    _tile_dpbusd(1, 5, 6);
    if constexpr (First) restart<2, Vectors>(before);
    _tile_loadd(4, x[2] + at, pitch);
    _tile_dpbusd(2, 4, 6);
    if constexpr (First) restart<3, Vectors>(before);
    _tile_loadd(5, x[3] + at, pitch);
    _tile_dpbusd(3, 5, 6);
  }
}

/// Sums up the products of rows of pixels that start at x[row] with Vectors times 16 channels, whose quads of weights
/// lie at w, one row of channels after another, in the tile registers; those of the window before are stored at
/// `before`, if that is not null. Calls between() after each tile of quads, for other work to run beside the products:
/// sums of the window before may be read there. Rows are 1, or 4 / Vectors.
template <int Rows, int Vectors, class Between>
[[gnu::always_inline]] inline void sum_window(const Window& k, const uint8_t* const (&x)[Rows], const uint8_t* w,
                                              int32_t* before, const Between& between) {
  static_assert(Vectors <= 2 && (Rows == 1 || Rows * Vectors == 4));
  const int64_t step = k.quads * Vectors * kChannels * 4;
  // The compiler does not know what tiles read.
  __asm__ volatile("" ::: "memory");
  add_products<Rows, Vectors, true>(x, k.pitch, k.seg[0], w, before);
  __asm__ volatile("" ::: "memory");
  between();
  int64_t i = k.quads;
  for (int64_t s = 0; s < k.segs; ++s, i = 0)
    for (; i < k.steps; i += k.quads) {
      w += step;
      add_products<Rows, Vectors, false>(x, k.pitch, k.seg[s] + 4 * i, w, nullptr);
      between();
    }
}

/// Stores the sums of the last window.
template <int Rows, int Vectors>
void store_all(int32_t* sums) {
  store<0, Vectors>(sums);
  if constexpr (Rows * Vectors > 1) store<1, Vectors>(sums);
  if constexpr (Rows * Vectors > 2) store<2, Vectors>(sums), store<3, Vectors>(sums);
  __asm__ volatile("" ::: "memory");
}

/// Pixels of a rectangle in rows of up to 16 that tiles take. Where the image's rows are a whole number of pixels apart
/// they can be one long row, with what lies between them computed in vain; whichever way needs fewer tiles.
class Places {
 public:
  struct Place {
    int64_t row, col;
    int64_t skip;  ///< pixels that the place before has too
  };
  /// Neighbours in a row of the rectangle.
  struct Run {
    int64_t pixel = 0;  ///< the first one's number in its place
    int64_t row = 0, col = 0, pixels = 0;
  };

  /// Pixel (row, col) lies row * row_bytes + col * col_bytes from the first.
  Places(int64_t rows, int64_t cols, int64_t row_bytes, int64_t col_bytes) : cols_(cols), wide_(cols) {
    pixels_ = least(kPixels, cols);
    per_row_ = up(cols, pixels_);
    count_ = rows * per_row_;
    if (row_bytes % col_bytes != 0 || row_bytes / col_bytes < cols) return;
    const int64_t wide = row_bytes / col_bytes, total = (rows - 1) * wide + cols, pixels = least(kPixels, total);
    if (up(total, pixels) >= count_) return;
    wide_ = wide, pixels_ = pixels, count_ = up(total, pixels), total_ = total;
  }
  int64_t count() const { return count_; }
  int64_t pixels() const { return pixels_; }
  Place operator[](int64_t i) const {
    if (total_ == 0) {
      const int64_t at = i % per_row_ * pixels_, col = least(at, cols_ - pixels_);
      return {i / per_row_, col, at - col};
    }
    const int64_t first = least(i * pixels_, total_ - pixels_);
    return {first / wide_, first % wide_, i * pixels_ - first};
  }
  /// The first run of place i from `pixel` on; none, if there are no pixels of the rectangle left.
  Run run(int64_t i, int64_t pixel) const {
    const Place place = (*this)[i];
    const int64_t from = pixel < place.skip ? place.skip : pixel, at = place.col + from;
    Run run{from, place.row + at / wide_, at % wide_};
    if (run.col >= cols_) run.pixel += wide_ - run.col, run.col = 0, ++run.row;
    run.pixels = least(pixels_ - run.pixel, cols_ - run.col);
    if (run.pixels < 0) run.pixels = 0;
    return run;
  }

 private:
  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
  static int64_t up(int64_t n, int64_t by) { return (n + by - 1) / by; }

  int64_t cols_, wide_;  ///< of the rectangle; places from a row to the next
  int64_t pixels_, per_row_, count_;
  int64_t total_ = 0;  ///< pixels of the long row; 0: none
};

/// Walks over the pixels of some places.
class Walk {
 public:
  explicit Walk(const Places& places) : places_(places) {}
  void start(int64_t first, int64_t count) {
    first_ = at_ = first, end_ = first + count;
    run_ = {};
    if (count > 0) run_ = places_.run(at_, 0);
    find();
  }
  /// What is left of the run: none at the end of all.
  const Places::Run& run() const { return run_; }
  /// The number of its first pixel, counted over all places from the first.
  int64_t number() const { return (at_ - first_) * kPixels + run_.pixel; }
  void go_on(int64_t pixels) {
    run_.pixel += pixels, run_.col += pixels, run_.pixels -= pixels;
    if (run_.pixels > 0) return;
    run_ = places_.run(at_, run_.pixel);
    find();
  }

 private:
  void find() {
    while (run_.pixels == 0 && at_ != end_ && ++at_ != end_) run_ = places_.run(at_, 0);
  }

  const Places& places_;
  int64_t first_ = 0, at_ = 0, end_ = 0;
  Places::Run run_;
};

}  // namespace nibble::amx
