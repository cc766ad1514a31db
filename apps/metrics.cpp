#include "apps/metrics.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "apps/console.h"
#include "core/error.h"
#include "core/file.h"

namespace nibble {

MetricsLog::MetricsLog(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "ab"), std::fclose) {
  NIBBLE_CHECK(file_ != nullptr, "metrics: cannot write ", path_, ": ", std::strerror(errno));
}

void MetricsLog::write(const Json& line) {
  const std::string text = json_line(line);
  const bool written =
      std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size() && std::fflush(file_.get()) == 0;
  NIBBLE_CHECK(written, "metrics: cannot write ", path_, ": ", std::strerror(errno));
}

void cut_metrics(const std::string& path, int64_t step, bool in_epoch) {
  if (!std::filesystem::exists(path)) return;
  std::istringstream in(read_text_file(path));
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) continue;
    const auto at = json["step"].get<int64_t>();
    const bool closes_epoch = json.contains("kind") && json["kind"] == "epoch";
    if (at < step || (at == step && !(closes_epoch && in_epoch))) kept += line + "\n";
  }
  write_file_atomically(path, kept);
}

}  // namespace nibble
