#include "layers/state_match.h"

#include <algorithm>

namespace nibble {
namespace {

void append(std::string& text, const char* what, const std::vector<std::string>& items) {
  constexpr size_t kShown = 5;
  if (items.empty()) return;
  text += concat_text(text.empty() ? "" : "; ", items.size(), " ", what, ": ");
  for (size_t i = 0; i < std::min(items.size(), kShown); ++i) text += (i > 0 ? ", " : "") + items[i];
  if (items.size() > kShown) text += concat_text(" and ", items.size() - kShown, " more");
}

}  // namespace

StateMatch::StateMatch(const Graph& graph, std::string origin) : origin_(std::move(origin)) {
  for (const NamedTensor& entry : state_of(graph)) {
    order_.push_back(entry.name);
    targets_[entry.name].tensor = entry.tensor;
  }
}

void StateMatch::offer(const std::string& name, const std::string& source, const Tensor& tensor) {
  const auto found = targets_.find(name);
  if (found == targets_.end()) {
    extra_.push_back("'" + source + "'");
    return;
  }
  Target& target = found->second;
  if (target.value.defined()) {
    wrong_.push_back(concat_text("'", target.source, "' and '", source, "' are both '", name, "'"));
    return;
  }
  target.value = tensor;
  target.source = source;
  if (tensor.dtype() != target.tensor.dtype())
    wrong_.push_back(
        concat_text("'", source, "' is ", name_of(tensor.dtype()), ", expected ", name_of(target.tensor.dtype())));
  else if (tensor.shape() != target.tensor.shape())
    wrong_.push_back(concat_text("'", source, "' is ", tensor.shape(), ", expected ", target.tensor.shape()));
}

void StateMatch::commit() {
  std::vector<std::string> missing;
  for (const std::string& name : order_)
    if (!targets_[name].value.defined()) missing.push_back("'" + name + "'");
  std::string problems;
  append(problems, "missing", missing);
  append(problems, "that the network does not have", extra_);
  append(problems, "that do not fit", wrong_);
  NIBBLE_CHECK(problems.empty(), origin_, ": its tensors do not fit the network: ", problems);
  for (const std::string& name : order_) targets_[name].tensor.copy_from(targets_[name].value);
}

}  // namespace nibble
