#include "data/drawing.h"

#include <algorithm>
#include <cstdlib>

namespace nibble {
namespace {

constexpr int kSide = 32;
constexpr int kUnit = 64;      // positions on the canvas are in 1/64 pixel
constexpr int kRadius = 1024;  // figures are described inside a circle of this radius
using Colour = std::array<int, 3>;

// Every draw is a statement of its own: the order in which a call's arguments are evaluated is the compiler's choice.
int between(Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.next_below(static_cast<uint32_t>(high - low + 1)));
}

Colour random_colour(Rng& rng) { return {between(rng, 0, 255), between(rng, 0, 255), between(rng, 0, 255)}; }

int distance(const Colour& a, const Colour& b) {
  return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
}

/// A colour at least `apart` from another; a corner of the colour cube is always more than 380 away.
Colour contrasting(Rng& rng, const Colour& other, int apart) {
  for (int i = 0; i < 16; ++i) {
    const Colour c = random_colour(rng);
    if (distance(c, other) >= apart) return c;
  }
  return {other[0] < 128 ? 255 : 0, other[1] < 128 ? 255 : 0, other[2] < 128 ? 255 : 0};
}

struct Point {
  int u, v;
};

bool in_circle(Point p, int64_t radius) { return int64_t{p.u} * p.u + int64_t{p.v} * p.v < radius * radius; }

bool in_triangle(Point p) {
  return p.v < 512 && (887 * p.u - 512 * p.v) / 1024 < 512 && (-887 * p.u - 512 * p.v) / 1024 < 512;
}

/// A pentagram is what lies beyond at most one of the five lines through its inner pentagon.
bool in_star(Point p) {
  constexpr Point normal[5] = {{0, -1024}, {974, -316}, {602, 828}, {-602, 828}, {-974, -316}};
  int beyond = 0;
  for (const Point n : normal) beyond += (n.u * p.u + n.v * p.v) / 1024 > 390;
  return beyond <= 1;
}

bool inside(Figure figure, Point p, bool round) {
  const int u = std::abs(p.u), v = std::abs(p.v);
  switch (figure) {
    case Figure::disc:
      return in_circle(p, 900);
    case Figure::ring:
      return in_circle(p, 980) && !in_circle(p, 580);
    case Figure::square:
      return std::max(u, v) < 760;
    case Figure::triangle:
      return in_triangle(p);
    case Figure::star:
      return in_star(p);
    case Figure::cross:
      return std::min(u, v) < 270 && std::max(u, v) < 960;
    case Figure::stripes:
    case Figure::checker:
      return round ? in_circle(p, 960) : std::max(u, v) < 800;
    case Figure::crescent:
      return in_circle(p, 980) && !in_circle({p.u - 440, p.v}, 780);
    case Figure::corner:
      return std::max(u, v) < 840 && !(p.u > -330 && p.v > -330);
  }
  return false;
}

/// Where a figure is: canvas positions are turned and scaled by an integer matrix.
struct Pose {
  int x, y, m00, m01;
  Point at(int px, int py) const {
    const int dx = px - x, dy = py - y;
    return {(m00 * dx + m01 * dy) / 4096, (-m01 * dx + m00 * dy) / 4096};
  }
};

/// Rotation by the rational parametrisation ((1 - t^2), 2t) / (1 + t^2) and a random quarter turn.
Pose random_pose(Rng& rng, int radius) {
  const int64_t t = between(rng, -1024, 1024), d = 1024 * 1024 + t * t;
  int64_t c = (1024 * 1024 - t * t) * 4096 / d, s = 2 * 1024 * t * 4096 / d;
  for (int quarter = between(rng, 0, 3); quarter > 0; --quarter) {
    std::swap(c, s);
    s = -s;
  }
  const int reach = std::min(radius, kSide * kUnit / 2 - kUnit);
  const int x = between(rng, reach, kSide * kUnit - reach), y = between(rng, reach, kSide * kUnit - reach);
  return {x, y, static_cast<int>(c * kRadius / radius), static_cast<int>(s * kRadius / radius)};
}

/// Paints `colour(point)` with `weight` of 256 wherever `covers(point)`, by 4x4 samples per pixel.
template <class Covers, class Paint>
void paint(std::vector<int>& canvas, const Pose& pose, Covers&& covers, Paint&& colour, int weight = 256) {
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      int hits = 0;
      Colour sum{};
      for (int k = 0; k < 16; ++k) {
        const Point p = pose.at(x * kUnit + 8 + k % 4 * 16, y * kUnit + 8 + k / 4 * 16);
        if (!covers(p)) continue;
        ++hits;
        const Colour c = colour(p);
        for (size_t i = 0; i < 3; ++i) sum[i] += c[i];
      }
      int* pixel = canvas.data() + (y * kSide + x) * 3;
      for (size_t i = 0; hits > 0 && i < 3; ++i) pixel[i] += ((sum[i] - hits * pixel[i]) * weight) / (16 * 256);
    }
}

/// A gradient between four corner colours near `base`, under soft blots, thin bars and specks.
void paint_background(std::vector<int>& canvas, const Colour& base, Rng& rng) {
  std::array<Colour, 4> corner;
  for (Colour& c : corner)
    for (size_t i = 0; i < 3; ++i) c[i] = std::clamp(base[i] + between(rng, -40, 40), 0, 255);
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x)
      for (size_t i = 0; i < 3; ++i) {
        const int top = corner[0][i] * (31 - x) + corner[1][i] * x, low = corner[2][i] * (31 - x) + corner[3][i] * x;
        canvas[static_cast<size_t>((y * kSide + x) * 3) + i] = (top * (31 - y) + low * y) / (31 * 31);
      }
  const auto all = [](Point p) { return in_circle(p, kRadius); };
  for (int blots = between(rng, 1, 3); blots > 0; --blots) {
    const Pose pose = random_pose(rng, between(rng, 4 * kUnit, 10 * kUnit));
    const Colour colour = random_colour(rng);
    const int weight = between(rng, 24, 80);
    paint(
        canvas, pose, all, [&](Point) { return colour; }, weight);
  }
  for (int bars = between(rng, 0, 2); bars > 0; --bars) {
    const Pose pose = random_pose(rng, between(rng, 8 * kUnit, 15 * kUnit));
    const int thin = between(rng, 30, 70);
    const Colour colour = random_colour(rng);
    const int weight = between(rng, 90, 180);
    const auto covers = [&](Point p) { return std::abs(p.v) < thin && std::abs(p.u) < kRadius; };
    paint(
        canvas, pose, covers, [&](Point) { return colour; }, weight);
  }
}

void paint_specks(std::vector<int>& canvas, Rng& rng) {
  for (int specks = between(rng, 1, 5); specks > 0; --specks) {
    const Pose pose = random_pose(rng, between(rng, kUnit / 2, 3 * kUnit / 2));
    const bool round = between(rng, 0, 1) == 1;
    const Colour colour = random_colour(rng);
    const int weight = between(rng, 128, 256);
    const auto covers = [&](Point p) {
      return round ? in_circle(p, kRadius) : std::max(std::abs(p.u), std::abs(p.v)) < 900;
    };
    paint(
        canvas, pose, covers, [&](Point) { return colour; }, weight);
  }
}

/// Even or odd band of a figure's texture; solid figures have one band.
int band(Figure figure, Point p, int period) {
  const int u = (p.u + 64 * period) / period % 2, v = (p.v + 64 * period) / period % 2;
  return figure == Figure::stripes ? u : figure == Figure::checker ? u ^ v : 0;
}

void paint_figure(std::vector<int>& canvas, Figure figure, const Colour& behind, Rng& rng) {
  const int radius = between(rng, 9 * kUnit, 14 * kUnit);
  const Pose pose = random_pose(rng, radius);
  const Colour first = contrasting(rng, behind, 240), second = contrasting(rng, first, 260);
  const bool round = between(rng, 0, 1) == 1;
  const int period = between(rng, 5 * kUnit / 2, 7 * kUnit / 2) * kRadius / radius;
  const int shade = between(rng, -40, 40);
  paint(
      canvas, pose, [&](Point p) { return inside(figure, p, round); },
      [&](Point p) {
        Colour c = band(figure, p, period) ? second : first;
        for (int& channel : c) channel = std::clamp(channel + shade * p.v / kRadius, 0, 255);
        return c;
      });
}

}  // namespace

Image draw_figure(Figure figure, Rng rng) {
  std::vector<int> canvas(kSide * kSide * 3);
  const Colour behind = random_colour(rng);
  paint_background(canvas, behind, rng);
  paint_figure(canvas, figure, behind, rng);
  paint_specks(canvas, rng);
  // The sum of four bytes is close enough to a normal distribution: standard deviation 148, times strength / 256.
  const int strength = between(rng, 4, 20);
  Image image{kSide, kSide, std::vector<uint8_t>(canvas.size())};
  for (size_t i = 0; i < canvas.size(); ++i) {
    const uint32_t bits = rng.next_bits();
    const int noise = static_cast<int>((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24)) - 510;
    image.pixels[i] = static_cast<uint8_t>(std::clamp(canvas[i] + noise * strength / 256, 0, 255));
  }
  return image;
}

}  // namespace nibble
