#pragma once

#include "layers/graph.h"

namespace nibble {

/// Builds the network that a config names: {"type": "resnet20", "classes": 10}. "graph" is one written out layer by
/// layer. Networks register themselves with NIBBLE_REGISTER_MODEL. The result is not yet initialised.
Graph build_model(const Config& config);

/// Adapts a function Graph(const Options&) to Registry<Graph>.
template <class OptionsType, Graph (*Build)(const OptionsType&)>
struct ModelRegistrar {
  ModelRegistrar(const char* name, const char* doc) {
    Registry<Graph>::get().add(name, {doc,
                                      [](const Config& config) {
                                        const auto options = read_options<OptionsType>(config);
                                        try {
                                          return std::make_shared<Graph>(Build(options));
                                        } catch (const UsageError&) {
                                          throw;
                                        } catch (const Error& error) {
                                          config.fail(error.what());
                                        }
                                      },
                                      list_options<OptionsType>()});
  }
};

#define NIBBLE_REGISTER_MODEL(Options, build, name, doc) \
  static const ::nibble::ModelRegistrar<Options, build> NIBBLE_JOIN(model_registrar_, __LINE__)(name, doc)

}  // namespace nibble
