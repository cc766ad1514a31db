#include "apps/memory_use.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/allocator.h"
#include "quant/lowering/lowered_model.h"

namespace nibble {
namespace {

/// Of this process, now; 0 where the system does not tell.
int64_t resident_bytes() {
  int64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

MemoryUse::MemoryUse() : resident_before_(resident_bytes()), tensors_before_(allocator_stats().bytes_held) {}

void MemoryUse::loaded(const Graph& graph, const std::string& path) {
  model_ = static_cast<int64_t>(std::filesystem::file_size(path));
  held_ = allocator_stats().bytes_held;
  network_ = held_ - tensors_before_ + plan_bytes(graph);
}

Json MemoryUse::json(int64_t two_largest_activations) const {
  const int64_t run = allocator_stats().bytes_held - held_;
  const double allowed = 1.5 * static_cast<double>(model_) + static_cast<double>(two_largest_activations);
  return {{"model_bytes", model_},
          {"network_bytes", network_},
          {"run_bytes", run},
          {"two_largest_activations_bytes", two_largest_activations},
          {"share", static_cast<double>(network_ + run) / allowed},
          {"resident_bytes", resident_bytes() - resident_before_}};
}

std::string memory_line(const Json& memory) {
  const auto mib = [&memory](const char* key) { return memory.at(key).get<double>() / (1 << 20); };
  char text[300];
  std::snprintf(text, sizeof text,
                "memory: network %.2f MiB (file %.2f MiB), running it %.2f MiB (two largest activations %.2f MiB); "
                "%.2f MiB more resident",
                mib("network_bytes"), mib("model_bytes"), mib("run_bytes"), mib("two_largest_activations_bytes"),
                mib("resident_bytes"));
  return text;
}

}  // namespace nibble
