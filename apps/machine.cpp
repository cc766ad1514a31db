#include "apps/machine.h"

#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "core/blas.h"
#include "core/cpu.h"
#include "core/parallel.h"
#include "core/version.h"

namespace nibble {
namespace {

std::string processor_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos && (line.rfind("model name", 0) == 0 || line.rfind("Model", 0) == 0))
      return line.substr(colon + 2);
  }
  return "unknown processor";
}

constexpr const char* kCompiler =
#if defined(__clang__)
    "Clang " __clang_version__;
#elif defined(__GNUC__)
    "GCC " __VERSION__;
#else
    "unknown";
#endif

}  // namespace

Json machine_info() {
  utsname system{};
  uname(&system);
  const BlasInfo blas = blas_info();
  Json kernels = Json::object();
  for (const cpu::Choice& choice : cpu::choices()) kernels[choice.contract] = choice.variant;
  Json info;
  info["version"] = version();
  info["commit"] = commit();
  info["compiler"] = kCompiler;
  info["system"] = std::string(system.sysname) + " " + system.machine;
  info["processor"] = processor_model();
  info["cores"] = std::thread::hardware_concurrency();
  info["threads"] = threads();
  info["features"] = cpu::describe(cpu::features());
  info["blas"] = {{"library", blas.library}, {"core", blas.core}, {"warning", blas.warning}};
  info["kernels"] = std::move(kernels);
  return info;
}

std::string machine_line(const Json& info) {
  const auto text = [&info](const char* key) { return info.at(key).get<std::string>(); };
  const std::string core = info.at("blas").at("core").get<std::string>();
  return text("system") + ", " + text("processor") + " (" + std::to_string(info.at("cores").get<int>()) + " cores), " +
         std::to_string(info.at("threads").get<int>()) + " threads, " +
         info.at("blas").at("library").get<std::string>() + (core.empty() ? "" : " (" + core + ")");
}

int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace nibble
