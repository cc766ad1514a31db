#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/mapped_file.h"
#include "layers/graph.h"

namespace nibble {

/// Collects what does not fit between a graph's state and a file, copies only if everything does.
class StateMatch {
 public:
  /// `origin` is named in the error.
  StateMatch(const Graph& graph, std::string origin);

  bool wants(const std::string& name) const { return targets_.count(name) > 0; }
  /// The tensor `name`, called `source` in the file, is for the state of that name. A name that the graph lacks is
  /// noted as extra.
  void offer(const std::string& name, const std::string& source, const Tensor& tensor);
  /// Throws Error naming everything missing, extra or misshapen (of each up to a few), else copies. With `share`,
  /// buffers of bytes that view a mapped file become the graph's own instead.
  void commit(const MappedFile* share = nullptr);

 private:
  struct Target {
    Tensor tensor;
    Tensor value;        ///< undefined until offered
    std::string source;  ///< the name in the file
    bool is_param = false;
  };
  const Graph& graph_;
  std::string origin_;
  std::vector<std::string> order_;
  std::unordered_map<std::string, Target> targets_;
  std::vector<std::string> extra_, wrong_;
};

}  // namespace nibble
