#pragma once

#include <string>

#include "layers/checkpoint.h"

namespace nibble {

/// A network to be used, not trained on: a checkpoint whose moving averages, if it has any, have taken the place of
/// the parameters.
struct TrainedModel {
  Graph graph;
  Config config;  ///< with "model", "data" and "class_names"
  std::string path;
  bool averaged = false;
};

/// `live` asks for the parameters as they were trained. Throws Error naming the file.
TrainedModel load_trained(const std::string& path, bool live = false);

/// The data section that a command uses: the checkpoint's, or what `--data` says instead of it or of parts of it: a
/// folder (the new "root"), a JSON object or a config file (with a "data" section, or one itself). Objects without a
/// "type", or with the same, change single options.
Config choose_data(const Config& checkpoint, const std::string& override_text);

}  // namespace nibble
