#include "tests/quant/quantizer_subjects.h"

#include <algorithm>

#include "quant/backward_rule.h"
#include "tests/layers/support.h"

namespace nibble::test {

namespace {

using Entry = Registry<Layer>::Entry;

bool has_option(const Entry& entry, const std::string& key) {
  return std::ranges::any_of(entry.fields, [&](const FieldDoc& field) { return field.key == key; });
}

/// The options that a policy fills in for a tensor of this shape.
Json placed(const std::string& type, const Entry& entry, Json options, bool weight, const Shape& shape) {
  const int64_t channels = shape[0], window = shape.rank() == 4 ? shape[2] * shape[3] : 1;
  const std::pair<const char*, Json> known[] = {{"role", weight ? "weight" : "act"}, {"signed", weight}};
  const std::pair<const char*, Json> of_weights[] = {
      {"channels", channels}, {"fan_in", shape.numel() / channels}, {"fan_out", window * channels}};
  for (const auto& [key, value] : known)
    if (has_option(entry, key) && !options.contains(key)) options[key] = value;
  for (const auto& [key, value] : of_weights)
    if (weight && has_option(entry, key)) options[key] = value;
  options["type"] = type;
  return options;
}

/// Null if the options cannot be or it is no quantizer.
std::shared_ptr<Quantizer> try_make(const Json& options) {
  try {
    return std::dynamic_pointer_cast<Quantizer>(make_layer(options));
  } catch (const UsageError&) {
    return nullptr;
  }
}

/// The default options, every width from 1 to 8, and every other value of a choice or a switch, one at a time.
std::vector<Json> variants(const Entry& entry) {
  std::vector<Json> list{Json::object()};
  for (const FieldDoc& field : entry.fields) {
    if (field.key == "role") continue;
    if (field.key == "bits")
      for (int bits = 1; bits <= 8; ++bits) list.push_back({{"bits", bits}});
    if (field.type == "boolean" && field.key != "signed")
      for (const bool value : {false, true}) list.push_back({{field.key, value}});
    if (field.type == "string" && !field.accepts.empty())
      for (const Json& value : Json::parse("[" + field.accepts + "]")) list.push_back({{field.key, value}});
  }
  return list;
}

/// Every registered quantizer in every place that takes it, with every one of the options that `list` gives for it.
std::vector<NamedSubject> collect(const std::function<std::vector<Json>(const Entry&)>& list) {
  std::vector<NamedSubject> found;
  for (const auto& [name, entry] : Registry<Layer>::get().entries()) {
    const std::string& type = name;
    // fixed_grid holds what another quantizer ended with, and refuses to be trained (see pack_test).
    if (type.starts_with("test_") || type == "fixed_grid") continue;
    for (const bool weight : {true, false}) {
      for (const Json& options : list(entry)) {
        Subject subject;
        subject.weight = weight;
        subject.make = [type = type, entry = entry, options, weight](const Shape& shape) {
          return try_make(placed(type, entry, options, weight, shape));
        };
        const std::shared_ptr<Quantizer> q = subject.make(subject.shape());
        if (q == nullptr) continue;
        if (q->config().contains("bits")) subject.bits = q->config()["bits"].get<int>();
        subject.may_be_real = !options.empty() && !options.contains("bits");
        found.push_back({type, concat_text(type, weight ? " weight " : " act ", options.dump()), options, subject});
      }
    }
  }
  return found;
}

}  // namespace

std::vector<NamedSubject> registered_quantizers() {
  std::vector<NamedSubject> found = collect(variants);
  for (const auto& pair : Registry<Layer>::get().entries()) {
    const std::string& type = pair.first;
    CAPTURE(type);
    const auto is_this = [&](const NamedSubject& subject) { return subject.type == type; };
    if (has_option(pair.second, "role") && !type.starts_with("test_")) CHECK(std::ranges::any_of(found, is_this));
  }
  return found;
}

std::vector<NamedSubject> quantizers_with_every_rule() {
  return collect([](const Entry& entry) {
    std::vector<Json> list;
    for (const auto& rule : Registry<BackwardRule>::get().entries())
      if (has_option(entry, "backward")) list.push_back({{"backward", rule.first}});
    return list;
  });
}

}  // namespace nibble::test
