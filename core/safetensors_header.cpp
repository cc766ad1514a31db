#include "core/safetensors_header.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/json.h"
#include "core/shape.h"

namespace nibble {
namespace {

constexpr std::array<SafetensorsType, 10> kTypes{{{"F32", DType::f32, 4, false},
                                                  {"I32", DType::i32, 4, false},
                                                  {"I64", DType::i64, 8, false},
                                                  {"U8", DType::u8, 1, false},
                                                  {"I8", DType::i8, 1, false},
                                                  {"U32", DType::u32, 4, false},
                                                  {"U64", DType::u64, 8, false},
                                                  {"F16", DType::f32, 2, true},
                                                  {"BF16", DType::f32, 2, true},
                                                  {"F64", DType::f32, 8, true}}};

/// Takes the header apart while it is parsed: memory stays proportional to the entries, whatever the text nests, and
/// duplicate keys are seen. Its methods are the parser's events; throwing stops the parser.
class HeaderParser final : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderParser(const std::string& file) : file_(file) {}
  SafetensorsHeader header;

  bool start_object(std::size_t) override {
    if (depth_ == 0 && !in_list_) return depth_ = 1, true;
    if (depth_ == 1 && (in_metadata_ || current_)) return depth_ = 2, true;
    unexpected("an object");
  }
  bool key(string_t& key) override {
    if (depth_ == 2) {
      field_ = key;
      return true;
    }
    in_metadata_ = key == kSafetensorsMetadataKey;
    current_ = nullptr;
    if (in_metadata_) {
      if (seen_metadata_) fail("has '__metadata__' twice");
      seen_metadata_ = true;
    } else {
      current_ = &header.entries.emplace_back();
      current_->name = key;
    }
    return true;
  }
  bool end_object() override {
    if (depth_ == 2 && current_) finish_entry();
    --depth_;
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ == 2 && in_metadata_) {
      if (!header.metadata.emplace(field_, text).second) fail("has the metadata '", field_, "' twice");
      return true;
    }
    if (depth_ != 2 || in_list_ || field_ != "dtype") unexpected("a string");
    if (current_->type) entry_fail("has 'dtype' twice");
    const auto found =
        std::find_if(kTypes.begin(), kTypes.end(), [&](const SafetensorsType& t) { return t.name == text; });
    if (found == kTypes.end()) {
      std::string known;
      for (const SafetensorsType& t : kTypes) known += (known.empty() ? "" : ", ") + std::string(t.name);
      entry_fail("has the unknown dtype '", text.substr(0, 40), "' (known: ", known, ")");
    }
    current_->type = &*found;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || in_list_) unexpected("a list");
    if (field_ != "shape" && field_ != "data_offsets") unexpected("a list");
    auto& list = field_ == "shape" ? current_->shape : current_->offsets;
    if (list) entry_fail("has '", field_, "' twice");
    list.emplace();
    in_list_ = true;
    return true;
  }
  bool end_array() override {
    in_list_ = false;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_list_) unexpected("a number");
    auto& list = field_ == "shape" ? *current_->shape : *current_->offsets;
    if (list.size() >= Shape::kMaxRank) entry_fail("has more than ", Shape::kMaxRank, " numbers in '", field_, "'");
    list.push_back(value);
    return true;
  }
  bool number_integer(number_integer_t value) override {
    if (!in_list_) unexpected("a number");
    entry_fail("has the negative number ", value, " in '", field_, "'");
  }
  bool number_float(number_float_t, const string_t& text) override {
    if (!in_list_) unexpected("a number");
    entry_fail("has ", text.substr(0, 40), " in '", field_, "', which is no integer below 2^64");
  }
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail("is no JSON: error at byte ", position);
  }

  /// Throws if two tensors share a name.
  void check_names() const {
    std::vector<const std::string*> names;
    for (const SafetensorsEntry& entry : header.entries) names.push_back(&entry.name);
    std::sort(names.begin(), names.end(), [](const std::string* a, const std::string* b) { return *a < *b; });
    const auto twice = std::adjacent_find(names.begin(), names.end(),
                                          [](const std::string* a, const std::string* b) { return *a == *b; });
    if (twice != names.end()) fail("has two tensors named '", **twice, "'");
  }

 private:
  void finish_entry() {
    if (!current_->type) entry_fail("has no 'dtype'");
    if (!current_->shape) entry_fail("has no 'shape'");
    if (!current_->offsets) entry_fail("has no 'data_offsets'");
    if (current_->offsets->size() != 2) entry_fail("needs two data_offsets, got ", current_->offsets->size());
  }
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw Error(concat_text("'", file_, "': the safetensors header ", parts...));
  }
  template <class... Parts>
  [[noreturn]] void entry_fail(const Parts&... parts) const {
    fail("is damaged: tensor '", current_->name, "' ", parts...);
  }
  [[noreturn]] void unexpected(const char* what) const {
    if (depth_ == 0) fail("must be an object, got ", what);
    if (in_metadata_) fail("is damaged: __metadata__ must hold strings only, got ", what);
    if (depth_ == 1) entry_fail("must be an object, got ", what);
    entry_fail("has ", what, " in '", field_, "', where none belongs");
  }

  const std::string& file_;
  int depth_ = 0;
  bool in_list_ = false, in_metadata_ = false, seen_metadata_ = false;
  SafetensorsEntry* current_ = nullptr;
  std::string field_;
};

}  // namespace

const SafetensorsType& safetensors_type(DType type) {
  return *std::find_if(kTypes.begin(), kTypes.end(),
                       [&](const SafetensorsType& t) { return t.type == type && !t.converted; });
}

SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file) {
  HeaderParser parser(file);
  Json::sax_parse(text, &parser);
  parser.check_names();
  return std::move(parser.header);
}

}  // namespace nibble
