#include <algorithm>
#include <string_view>

#include "layers/checkpoint.h"
#include "layers/foreign_weights.h"
#include "layers/state_match.h"

namespace nibble {
namespace {

using Synonyms = std::vector<std::string>;

/// Parts of names that projects call differently; each may stand for any other in its row.
const std::vector<Synonyms>& synonyms() {
  static const std::vector<Synonyms> rows{{"linear", "fc", "classifier"}, {"shortcut", "downsample"}};
  return rows;
}

std::vector<ForeignWeights>& registered() {
  static std::vector<ForeignWeights> all;
  return all;
}

std::vector<std::string> split_at_dots(const std::string& name) {
  std::vector<std::string> parts(1);
  for (const char c : name) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

std::string join(const std::vector<std::string>& parts) {
  std::string name = parts.front();
  for (size_t i = 1; i < parts.size(); ++i) name += "." + parts[i];
  return name;
}

/// The name in the graph of a tensor whose node another project calls differently; empty if there is none.
std::string by_node(const std::string& name, const StateMatch& match) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return "";
  for (const ForeignWeights& project : foreign_weights()) {
    for (const auto& [theirs, ours] : project.nodes) {
      if (name.compare(0, dot, theirs) != 0) continue;
      if (std::string candidate = ours + name.substr(dot); match.wants(candidate)) return candidate;
    }
  }
  return "";
}

/// The name in the graph that a file's name stands for; the name itself if there is none.
std::string translate(const std::string& name, const StateMatch& match) {
  if (match.wants(name)) return name;
  if (std::string candidate = by_node(name, match); !candidate.empty()) return candidate;
  const std::vector<std::string> parts = split_at_dots(name);
  for (size_t i = 0; i < parts.size(); ++i) {
    for (const Synonyms& row : synonyms()) {
      if (std::find(row.begin(), row.end(), parts[i]) == row.end()) continue;
      for (const std::string& word : row) {
        std::vector<std::string> other = parts;
        other[i] = word;
        if (const std::string candidate = join(other); match.wants(candidate)) return candidate;
      }
    }
  }
  return name;
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// What is known about tensors that found no place, for behind the error.
std::string hints_about(const std::vector<std::string>& strangers) {
  std::string text;
  for (const ForeignWeights& project : foreign_weights())
    for (const auto& [tensor, hint] : project.hints)
      if (std::find(strangers.begin(), strangers.end(), tensor) != strangers.end()) text += ". " + hint;
  return text;
}

}  // namespace

const std::vector<ForeignWeights>& foreign_weights() { return registered(); }

ForeignWeightsRegistrar::ForeignWeightsRegistrar(ForeignWeights weights) { registered().push_back(std::move(weights)); }

void import_state(const Graph& graph, const TensorFile& file, const std::string& origin) {
  StateMatch match(graph, origin);
  std::vector<std::string> strangers;
  for (const auto& [source, tensor] : file.tensors) {
    if (ends_with(source, "num_batches_tracked")) continue;
    std::string name = source;
    // Wrappers for several devices prefix every name.
    while (name.compare(0, 7, "module.") == 0 && !match.wants(name)) name.erase(0, 7);
    name = translate(name, match);
    if (!match.wants(name)) strangers.push_back(name);
    match.offer(name, source, tensor);
  }
  try {
    match.commit();
  } catch (const Error& error) {
    throw Error(error.what() + hints_about(strangers));
  }
}

}  // namespace nibble
