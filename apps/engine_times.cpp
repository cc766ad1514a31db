#include "apps/engine_times.h"

#include <cstdlib>
#include <filesystem>

#include "apps/console.h"
#include "apps/machine.h"
#include "core/cpu.h"
#include "core/file.h"
#include "core/json.h"
#include "core/parallel.h"

namespace nibble {

namespace {

/// Empty if the environment names no place.
std::string default_path() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
  };
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache + "/nibble/engines.json";
  if (const std::string home = variable("HOME"); !home.empty()) return home + "/.cache/nibble/engines.json";
  return "";
}

/// Everything but the layer that a time depends on.
std::string context() {
  const Json info = machine_info();
  return concat_text(info.value("processor", ""), ", ", cpu::describe(cpu::features()), ", ", threads(),
                     " threads, nibble ", info.value("version", ""), " ", info.value("commit", ""));
}

}  // namespace

CachedClock::CachedClock() : CachedClock(default_path()) {}

CachedClock::CachedClock(std::string path) : path_(std::move(path)), context_(context()) {
  if (path_.empty() || !std::filesystem::is_regular_file(path_)) return;
  const Json json = Json::parse(read_text_file(path_), nullptr, false);
  if (!json.is_object()) return;
  for (const auto& item : json.items())
    if (item.value().is_number()) times_[item.key()] = item.value().get<double>();
}

double CachedClock::seconds(LoweredLayer& layer, const Shape& input) {
  const std::string key = concat_text(context_, ": ", layer.signature(), ", input ", input);
  const auto found = times_.find(key);
  if (found != times_.end()) return found->second;
  changed_ = true;
  return times_[key] = clock_.seconds(layer, input);
}

std::string CachedClock::save() const {
  if (!changed_ || path_.empty()) return {};
  try {
    make_directories(std::filesystem::path(path_).parent_path().string());
    write_file_atomically(path_, json_text(Json(times_)));
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace nibble
