#include "apps/bench_kernels.h"

#include <cstdio>
#include <ostream>
#include <string>
#include <vector>

#include "apps/kernel_run.h"
#include "apps/kernel_timing.h"
#include "apps/median.h"
#include "apps/table.h"
#include "core/parallel.h"

namespace nibble {
namespace {

constexpr ConvLayer kLayers[] = {{"ResNet-20", 3, 16, 3, 1, 32},
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

constexpr FewBits kFewBits[] = {{1, 1, false}, {1, 2, false}, {1, 4, false}, {2, 1, false},
                                {2, 2, false}, {4, 4, false}, {1, 2, true},  {2, 2, true}};

/// Networks of few bits keep the first layer at more, and their others are 3x3.
bool has_few_bits(const ConvLayer& layer) { return layer.kernel == 3 && layer.in >= 16 && !layer.depthwise; }

Json row_of(const ConvLayer& layer, const std::string& family, const KernelRun& run, const KernelTime& time) {
  return {{"layer", layer.name()},
          {"network", layer.network},
          {"family", family},
          {"kernel", run.kernel},
          {"macs", layer.macs()},
          {"seconds", time.seconds},
          {"gmacs_per_second", layer.macs() / time.seconds / 1e9},
          {"macs_per_cycle", layer.macs() / time.cycles}};
}

/// The rows of one layer; appends the clocks.
Json rows_of(const ConvLayer& layer, int64_t steps, std::vector<double>& clocks) {
  Json rows = Json::array();
  const KernelRun int8 = int8_run(layer);
  const KernelTime time = time_in_turns({int8.run}, steps)[0];
  clocks.push_back(time.clock);
  Json row = row_of(layer, "int8", int8, time);
  row["peak_macs_per_cycle"] = int8.peak * threads();
  row["peak_share"] = layer.macs() / time.cycles / (int8.peak * threads());
  rows.push_back(std::move(row));
  if (!has_few_bits(layer)) return rows;
  for (const FewBits& bits : kFewBits) {
    const KernelRun run = bit_run(layer, bits);
    const std::vector<KernelTime> times = time_in_turns({run.run, int8.run}, steps);
    for (const KernelTime& t : times) clocks.push_back(t.clock);
    row = row_of(layer, "bits " + bits.name(), run, times[0]);
    row["over_int8"] = times[1].seconds / times[0].seconds;
    rows.push_back(std::move(row));
  }
  return rows;
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
  progress.start("bench kernels", static_cast<int64_t>(std::size(kLayers)));
  int64_t done = 0;
  for (const ConvLayer& layer : kLayers) {
    for (Json& row : rows_of(layer, steps, clocks)) rows.push_back(std::move(row));
    progress.update(++done, "");
  }
  progress.clear();
  return {{"threads", threads()}, {"steps", steps}, {"clock_ghz", median(clocks) / 1e9}, {"rows", std::move(rows)}};
}

void print_kernels(const Json& json, std::ostream& out) {
  Table table({"network", "layer", "us", "GMAC/s", "MAC/cycle", "of peak", "over int8", "kernel"}, {2, 3, 4, 5, 6});
  for (const Json& row : json["rows"]) {
    const auto real = [&row](const char* key) { return row[key].get<double>(); };
    table.add({row["network"].get<std::string>(), row["layer"].get<std::string>(),
               number("%.1f", 1e6 * real("seconds")), number("%.0f", real("gmacs_per_second")),
               number("%.1f", real("macs_per_cycle")),
               row.contains("peak_share") ? number("%.0f %%", 100 * real("peak_share")) : "",
               row.contains("over_int8") ? number("%.2f", real("over_int8")) : "",
               row["family"].get<std::string>() + ": " + row["kernel"].get<std::string>()});
  }
  table.print(out);
  out << number("clock %.2f GHz", json["clock_ghz"].get<double>()) << ", " << json["threads"].get<int>()
      << " threads, batch 1\n";
}

}  // namespace nibble
