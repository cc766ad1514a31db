#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "apps/run_config.h"
#include "data/dataset.h"
#include "layers/graph.h"
#include "optim/ema.h"
#include "optim/learning_rate.h"

namespace nibble {

/// What a config builds, without its images.
struct RunParts {
  Graph graph;
  std::shared_ptr<DataSource> source;
  std::shared_ptr<Optimizer> optimizer;  ///< not yet attached
  std::shared_ptr<LearningRate> rate;
  std::optional<Ema::Options> ema;
  std::optional<TeacherOptions> teacher;
};

/// Builds every part and sends one blank image through the network. Throws UsageError naming file and pointer, also
/// if the network's number of outputs is not the data's number of classes.
RunParts build_parts(const RunConfig& config);

/// Gives the optimizer the network's parameters. Throws UsageError naming the file if a pattern matches none of them.
void attach_optimizer(const RunParts& parts, const RunConfig& config);

/// Builds a "data" section.
std::shared_ptr<DataSource> build_source(const Config& section);

/// Shape of the network's output for one image; the error of a layer is the section's.
Shape output_shape(const Graph& graph, const Config& model);

/// Throws UsageError at `section` unless the network takes the source's images and tells its classes apart.
void check_fits(const Graph& graph, const DataSource& source, const Config& section);

/// The config with every default filled in: what a run's config.json and its checkpoints hold.
Json resolved_config(const RunConfig& config, const RunParts& parts);

/// A run's recorded config with the defaults of options that the program which recorded it did not know yet; as it is
/// if it cannot be built any more. `ours` tells where the images are now.
Json with_defaults(const Json& recorded, const Json& ours, const std::string& file);

/// JSON pointers of the values in which two resolved configs differ, those that cannot change a result (names, notes,
/// threads, workers, what is logged) left out.
std::vector<std::string> differing_options(const Json& ours, const Json& theirs);

}  // namespace nibble
