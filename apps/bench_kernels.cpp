#include "apps/bench_kernels.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "apps/table.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/parallel.h"
#include "quant/kernels/fixed_point.h"
#include "quant/kernels/int8_conv/int8_conv.h"

namespace nibble {
namespace {

using Clock = std::chrono::steady_clock;

/// A convolution of one square image; one group, or as many as channels.
struct Layer {
  const char* network;
  int64_t in, out;
  int kernel, stride;
  int64_t size;
  bool depthwise = false;

  int64_t group_in() const { return depthwise ? 1 : in; }
  int64_t out_size() const { return (size + 2 * (kernel / 2) - kernel) / stride + 1; }
  double macs() const { return static_cast<double>(out_size() * out_size() * out * group_in()) * kernel * kernel; }
  std::string name() const {
    char text[96];
    std::snprintf(text, sizeof text, "%s%dx%d%s %lld-%lld, %lldx%lld", depthwise ? "dw " : "", kernel, kernel,
                  stride == 2 ? "/2" : "", static_cast<long long>(in), static_cast<long long>(out),
                  static_cast<long long>(size), static_cast<long long>(size));
    return text;
  }
};

constexpr Layer kLayers[] = {{"ResNet-20", 3, 16, 3, 1, 32},
                             {"ResNet-20", 16, 16, 3, 1, 32},
                             {"ResNet-20", 16, 32, 3, 2, 32},
                             {"ResNet-20", 32, 32, 3, 1, 16},
                             {"ResNet-20", 32, 64, 3, 2, 16},
                             {"ResNet-20", 64, 64, 3, 1, 8},
                             {"ResNet-18", 3, 64, 7, 2, 224},
                             {"ResNet-18", 64, 64, 3, 1, 56},
                             {"ResNet-18", 64, 128, 3, 2, 56},
                             {"ResNet-18", 64, 128, 1, 2, 56},
                             {"ResNet-18", 128, 128, 3, 1, 28},
                             {"ResNet-18", 128, 256, 3, 2, 28},
                             {"ResNet-18", 256, 256, 3, 1, 14},
                             {"ResNet-18", 256, 512, 3, 2, 14},
                             {"ResNet-18", 512, 512, 3, 1, 7},
                             {"ResNet-18", 512, 1000, 1, 1, 1},
                             {"MobileNet-v1", 3, 32, 3, 2, 224},
                             {"MobileNet-v1", 32, 32, 3, 1, 112, true},
                             {"MobileNet-v1", 32, 64, 1, 1, 112},
                             {"MobileNet-v1", 64, 64, 3, 2, 112, true},
                             {"MobileNet-v1", 64, 128, 1, 1, 56},
                             {"MobileNet-v1", 128, 128, 3, 1, 56, true},
                             {"MobileNet-v1", 128, 128, 1, 1, 56},
                             {"MobileNet-v1", 256, 256, 1, 1, 28},
                             {"MobileNet-v1", 512, 512, 3, 1, 14, true},
                             {"MobileNet-v1", 512, 512, 1, 1, 14},
                             {"MobileNet-v1", 1024, 1024, 1, 1, 7}};

/// A kernel with its data, ready to run.
struct Prepared {
  std::string kernel;
  double peak = 0;  ///< multiply-adds per cycle and thread
  std::function<void()> run;
};

/// One way to compute a layer. Further kinds of kernels are further rows of kFamilies.
struct Family {
  const char* name;
  bool (*takes)(const Layer&);
  Prepared (*prepare)(const Layer&);
};

/// Multiply-adds per cycle of two vectors' instructions, which is what processors of these kinds start at most.
double int8_peak(const std::string& kernel) {
  const bool depthwise = kernel.rfind("depthwise", 0) == 0;  // in 16 bits
  const std::string variant = kernel.substr(kernel.rfind(", ") + 2);
  struct Peak {
    const char* variant;
    double macs, depthwise;
  };
  constexpr Peak kPeaks[] = {{"avx512vnni", 128, 64}, {"avxvnni", 64, 32},   {"avx2 runs", 64, 32},
                             {"avx2", 32, 32},        {"sse4 runs", 32, 16}, {"sse4", 16, 16},
                             {"i8mm", 64, 8},         {"dotprod", 32, 8},    {"neon", 16, 8}};
  for (const Peak& p : kPeaks)
    if (variant == p.variant) return depthwise ? p.depthwise : p.macs;
  return 1;
}

/// Codes from a normal distribution around 128, like those of trained weights: their range is 10 standard deviations.
std::vector<uint8_t> normal_codes(int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal(128.f, 25.6f);
  std::vector<uint8_t> codes(static_cast<size_t>(n));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(std::clamp(std::lround(normal(random)), 1L, 255L));
  return codes;
}

struct Int8Run {
  int8::Int8Conv conv;
  int64_t size;
  std::vector<uint8_t> x, y;
  std::vector<std::byte> scratch;

  void operator()() { conv.run(x.data(), 1, size, size, y.data(), scratch); }
};

Prepared prepare_int8(const Layer& layer) {
  std::mt19937 random(1);
  int8::Int8ConvSpec spec;
  spec.in_channels = layer.in, spec.out_channels = layer.out;
  spec.kh = spec.kw = layer.kernel;
  spec.geometry = square_geometry(layer.stride, layer.kernel / 2, 1, layer.depthwise ? static_cast<int>(layer.in) : 1);
  const int64_t taps = layer.group_in() * layer.kernel * layer.kernel;
  spec.weights = normal_codes(taps * layer.out, random);
  spec.w_zero = {128};
  spec.x_zero = 3;
  for (int64_t c = 0; c < layer.out; ++c) {
    const auto m = int8::quantize_multiplier((0.5 + static_cast<double>(c % 7) / 7) / (32.0 * std::sqrt(taps)) / 4);
    spec.epilogue.multiplier.push_back(m.multiplier), spec.epilogue.shift.push_back(m.shift);
  }
  spec.epilogue.zero = 100;
  auto run = std::make_shared<Int8Run>(Int8Run{int8::Int8Conv(spec), layer.size, {}, {}, {}});
  run->x = normal_codes(layer.size * layer.size * layer.in, random);
  run->y.resize(static_cast<size_t>(layer.out_size() * layer.out_size() * layer.out));
  run->scratch.resize(static_cast<size_t>(run->conv.scratch_bytes(layer.size, layer.size) * threads()));
  const std::string kernel = run->conv.describe();
  return {kernel, int8_peak(kernel), [run] { (*run)(); }};
}

constexpr Family kFamilies[] = {{"int8", [](const Layer&) { return true; }, prepare_int8}};

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Cycles per second, from a chain of links of 3 cycles that wait for each other.
double measure_clock() {
  constexpr int kLinks = 16, kRounds = 1500;
  const auto begin = Clock::now();
  uint64_t v = 3;
  for (int i = 0; i < kRounds; ++i) {
#if NIBBLE_X86
#define NIBBLE_LINK "imul %0, %0\n\t"
#elif NIBBLE_ARM
#define NIBBLE_LINK "add %0, %0, %0\n\tadd %0, %0, %0\n\tadd %0, %0, %0\n\t"
#endif
#ifdef NIBBLE_LINK
    __asm__ volatile(NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK
                         NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK NIBBLE_LINK
                     : "+r"(v));
#endif
  }
  return 3.0 * kLinks * kRounds / seconds_since(begin);
}

/// What the samples of one row came to.
struct Sampled {
  double seconds = 0, cycles = 0, clock = 0;
};

Sampled sample(const std::function<void()>& run, int64_t steps) {
  constexpr double kSample = 300e-6;  // long against the clock's own overhead
  run();
  const auto begin = Clock::now();
  run();
  const int64_t repeats =
      std::clamp<int64_t>(static_cast<int64_t>(kSample / std::max(seconds_since(begin), 1e-7)), 1, 1 << 16);
  std::vector<double> seconds, cycles, clocks;
  for (int64_t step = 0; step < steps; ++step) {
    const double before = measure_clock();
    const auto start = Clock::now();
    for (int64_t i = 0; i < repeats; ++i) run();
    seconds.push_back(seconds_since(start) / static_cast<double>(repeats));
    // What else runs on the machine makes a chain look slower, never faster.
    clocks.push_back(std::max(before, measure_clock()));
    cycles.push_back(seconds.back() * clocks.back());
  }
  return {median(seconds), median(cycles), median(clocks)};
}

Json row_of(const Layer& layer, const Family& family, const Prepared& prepared, const Sampled& s) {
  const double per_cycle = layer.macs() / s.cycles, peak = prepared.peak * threads();
  return {{"layer", layer.name()},
          {"network", layer.network},
          {"family", family.name},
          {"kernel", prepared.kernel},
          {"macs", layer.macs()},
          {"seconds", s.seconds},
          {"gmacs_per_second", layer.macs() / s.seconds / 1e9},
          {"macs_per_cycle", per_cycle},
          {"peak_macs_per_cycle", peak},
          {"peak_share", per_cycle / peak}};
}

std::string number(const char* format, double value) {
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

Json bench_kernels(int64_t steps, Progress& progress) {
  Json rows = Json::array();
  std::vector<double> clocks;
  progress.start("bench kernels", static_cast<int64_t>(std::size(kLayers) * std::size(kFamilies)));
  int64_t done = 0;
  for (const Layer& layer : kLayers)
    for (const Family& family : kFamilies) {
      if (family.takes(layer)) {
        const Prepared prepared = family.prepare(layer);
        const Sampled sampled = sample(prepared.run, steps);
        clocks.push_back(sampled.clock);
        rows.push_back(row_of(layer, family, prepared, sampled));
      }
      progress.update(++done, "");
    }
  progress.clear();
  return {{"threads", threads()}, {"steps", steps}, {"clock_ghz", median(clocks) / 1e9}, {"rows", std::move(rows)}};
}

void print_kernels(const Json& json, std::ostream& out) {
  Table table({"network", "layer", "us", "GMAC/s", "MAC/cycle", "of peak", "kernel"}, {2, 3, 4, 5});
  for (const Json& row : json["rows"]) {
    const auto real = [&row](const char* key) { return row[key].get<double>(); };
    table.add({row["network"].get<std::string>(), row["layer"].get<std::string>(),
               number("%.1f", 1e6 * real("seconds")), number("%.0f", real("gmacs_per_second")),
               number("%.1f", real("macs_per_cycle")), number("%.0f %%", 100 * real("peak_share")),
               row["family"].get<std::string>() + ": " + row["kernel"].get<std::string>()});
  }
  table.print(out);
  out << number("clock %.2f GHz", json["clock_ghz"].get<double>()) << ", " << json["threads"].get<int>()
      << " threads, batch 1\n";
}

}  // namespace nibble
