#include "apps/bench_crossover.h"

#include <algorithm>
#include <cstdio>
#include <ostream>

#include "apps/kernel_run.h"
#include "apps/kernel_timing.h"
#include "apps/machine.h"
#include "apps/median.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/parallel.h"

namespace nibble {
namespace {

constexpr FewBits kRows[] = {{1, 1, false}, {1, 2, false}, {1, 3, false}, {1, 4, false}, {2, 1, false},
                             {2, 2, false}, {2, 3, false}, {2, 4, false}, {3, 3, false}, {4, 4, false},
                             {1, 1, true},  {1, 2, true},  {2, 2, true},  {3, 3, true}};

ConvLayer layer_of(const CrossoverLayer& l) { return {"", l.channels, l.channels, 3, 1, l.size}; }

/// What the rows of a layer are compared with.
struct Peers {
  KernelRun int8, real;
};

struct Contender {
  const char* engine;
  double seconds;
};

/// All of one layer and row, sampled in turns; appends the clocks.
Json cell_of(const ConvLayer& layer, const FewBits& few, const Peers& peers, int64_t steps,
             std::vector<double>& clocks) {
  const KernelRun bits = bit_run(layer, few);
  const KernelRun same_codes = int8_run(layer, few.w_bits);
  const auto times = time_in_turns({bits.run, peers.int8.run, same_codes.run, peers.real.run}, steps);
  for (const KernelTime& t : times) clocks.push_back(t.clock);
  const double seconds = times[0].fastest, real = times[3].fastest;
  std::vector<Contender> contenders{{"bits", seconds}, {"float", few.learned ? real * few.w_bits * few.a_bits : real}};
  if (!few.learned) contenders.push_back({"int8", times[2].fastest});
  return {{"path", bits.kernel.substr(0, bits.kernel.find(' '))},
          {"seconds", seconds},
          {"over_int8", times[1].fastest / seconds},
          {"over_float", real / seconds},
          {"engine", std::ranges::min_element(contenders, {}, &Contender::seconds)->engine}};
}

std::string text_of(const char* format, double a, double b = 0) {
  char text[80];
  std::snprintf(text, sizeof text, format, a, b);
  return text;
}

std::string cell_text(const Json& cell) {
  const auto engine = cell["engine"].get<std::string>();
  return text_of("%.2f, %.1f, ", cell["over_int8"].get<double>(), cell["over_float"].get<double>()) +
         (engine == "bits" ? cell["path"].get<std::string>() : engine);
}

void print_isa(const Json& json, std::ostream& out) {
  const Json& kernels = json["kernels"];
  const auto variant = [&](const char* contract) { return kernels.value(contract, "?"); };
  out << "\n## " << json["isa"].get<std::string>() << "\n\nKernels: bits " << variant("bit_gemm") << ", int8 "
      << variant("int8_gemm") << ", float " << variant("conv_f32") << "; "
      << text_of("clock %.2f GHz.", json["clock_ghz"].get<double>()) << "\n\n| W x A |";
  for (const Json& layer : json["layers"])
    out << " " << layer["channels"].get<int64_t>() << " channels, " << layer["size"].get<int64_t>() << "x"
        << layer["size"].get<int64_t>() << " |";
  out << "\n|---|";
  for (size_t i = 0; i < json["layers"].size(); ++i) out << "---|";
  out << "\n| int8: MAC/cycle |";
  for (const Json& layer : json["layers"]) out << text_of(" %.0f", layer["int8_macs_per_cycle"].get<double>()) << " |";
  out << "\n";
  for (const Json& row : json["rows"]) {
    out << "| " << row["w_bits"].get<int>() << "x" << row["a_bits"].get<int>()
        << (row["learned"].get<bool>() ? " learned |" : " |");
    for (const Json& cell : row["cells"]) out << " " << cell_text(cell) << " |";
    out << "\n";
  }
}

}  // namespace

std::vector<CrossoverLayer> crossover_layers(const std::string& text) {
  std::vector<CrossoverLayer> layers;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    int channels = 0, size = 0, read = 0;
    if (std::sscanf(part.c_str(), "%4dx%4d%n", &channels, &size, &read) != 2 ||
        static_cast<size_t>(read) != part.size() || channels < 1 || channels > 4096 || size < 1 || size > 4096)
      throw UsageError("nibble bench: --layers: expected CHANNELSxSIZE[,...] of 1 to 4096, got '" + part + "'");
    layers.push_back({channels, size});
    at = end + 1;
  }
  return layers;
}

Json bench_crossover(const std::string& isa, const std::vector<CrossoverLayer>& layers, int64_t steps,
                     Progress& progress) {
  std::vector<double> clocks;
  std::vector<Peers> peers;
  Json columns = Json::array(), rows = Json::array();
  for (const CrossoverLayer& l : layers) {
    const ConvLayer layer = layer_of(l);
    peers.push_back({int8_run(layer), float_run(layer)});
    const KernelTime time = time_in_turns({peers.back().int8.run}, steps)[0];
    columns.push_back({{"channels", l.channels},
                       {"size", l.size},
                       {"int8_macs_per_cycle", layer.macs() / (time.fastest * time.clock)}});
  }
  progress.start("bench crossover " + isa, static_cast<int64_t>(std::size(kRows)));
  for (const FewBits& few : kRows) {
    Json cells = Json::array();
    for (size_t i = 0; i < layers.size(); ++i)
      cells.push_back(cell_of(layer_of(layers[i]), few, peers[i], steps, clocks));
    rows.push_back(
        {{"w_bits", few.w_bits}, {"a_bits", few.a_bits}, {"learned", few.learned}, {"cells", std::move(cells)}});
    progress.update(static_cast<int64_t>(rows.size()), "");
  }
  progress.clear();
  return {{"isa", isa},
          {"kernels", machine_info()["kernels"]},
          {"clock_ghz", median(clocks) / 1e9},
          {"layers", std::move(columns)},
          {"rows", std::move(rows)}};
}

std::vector<std::string> crossover_isas() {
  std::vector<std::string> names;
  for (const char* isa : {"amx", "avx512bits", "avx512vnni", "avx512", "avxvnni", "avx2", "i8mm", "dotprod", "neon"}) {
    try {
      cpu::limit_to_tier(cpu::features(), isa);
      names.emplace_back(isa);
    } catch (const Error&) {  // not on this processor
    }
  }
  return names;
}

void print_crossover(const Json& json, std::ostream& out) {
  const Json& machine = json["machine"];
  out << "# Where bitwise kernels pay: W x A against int8 and float, by instruction set\n\nWritten by `"
      << json["command"].get<std::string>() << "` on " << json["date"].get<std::string>() << ": "
      << machine_line(machine) << ", " << machine["compiler"].get<std::string>() << ", fastest of "
      << json["steps"].get<int64_t>()
      << " samples of each,\ntaken in turns.\n\n"
         "3x3 convolutions of one image with as many channels in as out, from codes to codes (float: from f32 to f32), "
         "data in the\ncaches. A cell has the bitwise kernel's speed over our int8 kernel on 8-bit weights, its speed "
         "over our float convolution,\nand what engine `auto` takes, as far as kernels alone decide it: `planes`, "
         "`tables` or `bytes` (engine bits), `int8` or\n`float`, whichever is fastest here. int8 competes for that "
         "place on the weights of few bits, and cannot compute learned\nlevels; float needs a convolution for each "
         "pair of bits of these. `nibble lower --engine auto --explain` measures whole\nlayers.\n";
  for (const Json& isa : json["isas"]) print_isa(isa, out);
}

}  // namespace nibble
