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

bool lies_in(const MappedFile& file, const Tensor& tensor) {
  const std::byte* const begin = file.bytes().data();
  return tensor.raw() >= begin && tensor.raw() < begin + file.bytes().size();
}

/// Puts tensors in the place of a graph's buffers.
class BufferReplacer final : public StateVisitor {
 public:
  explicit BufferReplacer(std::unordered_map<std::string, Tensor> values) : values_(std::move(values)) {}

 private:
  void on_param(const std::string&, Tensor&, const ParamTraits&) override {}
  void on_buffer(const std::string& name, Tensor& tensor) override {
    const auto found = values_.find(name);
    if (found != values_.end()) tensor = found->second;
  }
  std::unordered_map<std::string, Tensor> values_;
};

}  // namespace

StateMatch::StateMatch(const Graph& graph, std::string origin) : graph_(graph), origin_(std::move(origin)) {
  for (const NamedTensor& entry : state_of(graph)) {
    order_.push_back(entry.name);
    Target& target = targets_[entry.name];
    target.tensor = entry.tensor;
    target.is_param = entry.is_param;
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

void StateMatch::commit(const MappedFile* share) {
  std::vector<std::string> missing;
  for (const std::string& name : order_)
    if (!targets_[name].value.defined()) missing.push_back("'" + name + "'");
  std::string problems;
  append(problems, "missing", missing);
  append(problems, "that the network does not have", extra_);
  append(problems, "that do not fit", wrong_);
  NIBBLE_CHECK(problems.empty(), origin_, ": its tensors do not fit the network: ", problems);
  std::unordered_map<std::string, Tensor> shared;
  for (const std::string& name : order_) {
    Target& target = targets_[name];
    // Other types may be computed on where they are, and that wants the alignment of storage of our own.
    if (share != nullptr && !target.is_param && target.value.dtype() == DType::u8 && lies_in(*share, target.value)) {
      shared.emplace(name, target.value);
      continue;
    }
    if (share != nullptr) share->file().check_length();
    target.tensor.copy_from(target.value);
  }
  if (shared.empty()) return;
  BufferReplacer replacer(std::move(shared));
  graph_.visit(replacer);
}

}  // namespace nibble
