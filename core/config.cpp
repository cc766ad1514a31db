#include "core/config.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/file.h"

namespace nibble {

namespace {

constexpr int kMaxDepth = 100;  ///< of nested brackets; what reads or frees the value recurses as deep

std::string pointer_token(std::string_view key) {
  std::string token = "/";
  for (const char c : key) token += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return token;
}

/// A value as an error message shows it.
std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

std::string kind(const Json& value) {
  if (value.is_number_integer()) return "the integer " + shown(value);
  if (value.is_number()) return "the number " + shown(value);
  if (value.is_string()) return "the string " + shown(value);
  if (value.is_boolean()) return "the boolean " + shown(value);
  if (value.is_null()) return "null";
  return (value.is_array() ? "the list " : "the object ") + shown(value);
}

void check_depth(std::string_view text, const std::string& file) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) throw UsageError(file + ": nested deeper than " + std::to_string(kMaxDepth) + " levels");
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

/// Refuses duplicate keys, which the parser would resolve silently in favour of one of them.
class DuplicateCheck {
 public:
  explicit DuplicateCheck(const std::string& file) : file_(file) {}
  bool operator()(int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == Json::parse_event_t::key) {
      auto& keys = keys_.back();
      const auto key = parsed.get<std::string>();
      if (std::ranges::find(keys, key) != keys.end())
        throw UsageError(file_ + ": the key '" + key + "' stands twice in one object");
      keys.push_back(key);
    }
    return true;
  }

 private:
  const std::string& file_;
  std::vector<std::vector<std::string>> keys_;
};

/// `over` wins; objects of one "type" merge key by key.
Json merged(const Json& base, const Json& over) {
  if (!base.is_object() || !over.is_object()) return over;
  if (over.contains("type") && base.contains("type") && base["type"] != over["type"]) return over;
  Json result = base;
  for (const auto& [key, value] : over.items()) result[key] = result.contains(key) ? merged(result[key], value) : value;
  return result;
}

Config load_extended(const std::string& path, std::vector<std::string> chain) {
  const std::string canonical = std::filesystem::weakly_canonical(path).string();
  if (std::ranges::find(chain, canonical) != chain.end()) throw UsageError(path + ": extends itself");
  chain.push_back(canonical);
  std::string text;
  try {
    text = read_text_file(path);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
  Config config = parse_config(text, path);
  if (!config.json.is_object()) config.fail("expected an object, found " + kind(config.json));
  if (!config.json.contains("extends")) return config;
  const Config extends = config.at("extends");
  if (!extends.json.is_string()) extends.fail("expected the path of a config, found " + kind(extends.json));
  const auto base_path = std::filesystem::path(path).parent_path() / extends.json.get<std::string>();
  const Config base = load_extended(base_path.string(), chain);
  config.json.erase("extends");
  config.json = merged(base.json, config.json);
  return config;
}

std::string describe_range(const Range& range) {
  const bool low = std::isfinite(range.lo), high = std::isfinite(range.hi);
  if (low && high) return concat_text(range.open_lo ? "above " : "", range.lo, " to ", range.hi);
  if (low) return concat_text(range.open_lo ? "above " : "at least ", range.lo);
  if (high) return concat_text("at most ", range.hi);
  return "";
}

void check_range(const Config& at, double value, const Range& range) {
  const bool fits = std::isfinite(value) && value <= range.hi && (range.open_lo ? value > range.lo : value >= range.lo);
  if (!fits) {
    const std::string accepts = describe_range(range);
    at.fail(concat_text("expected ", accepts.empty() ? "a finite number" : accepts, ", found ", shown(at.json)));
  }
}

int64_t read_integer(const Config& at, const Range& range, int64_t lowest, int64_t highest) {
  const Json& json = at.json;
  if (!json.is_number_integer()) at.fail("expected an integer, found " + kind(json));
  const bool too_big = json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(highest);
  if (too_big || json.get<int64_t>() < lowest || json.get<int64_t>() > highest) at.fail("out of range: " + shown(json));
  check_range(at, static_cast<double>(json.get<int64_t>()), range);
  return json.get<int64_t>();
}

double read_number(const Config& at, const Range& range) {
  if (!at.json.is_number()) at.fail("expected a number, found " + kind(at.json));
  check_range(at, at.json.get<double>(), range);
  return at.json.get<double>();
}

std::string read_string(const Config& at) {
  if (!at.json.is_string()) at.fail("expected a string, found " + kind(at.json));
  return at.json.get<std::string>();
}

template <class T, class ReadOne>
std::vector<T> read_list(const Config& at, ReadOne&& read_one) {
  if (!at.json.is_array()) at.fail("expected a list, found " + kind(at.json));
  std::vector<T> values;
  for (size_t i = 0; i < at.json.size(); ++i) values.push_back(read_one(at.at(i)));
  return values;
}

/// The shortest decimal that reads back as the same float; the double nearest to 0.1f would print as 0.10000000149.
Json float_json(float value) {
  for (int digits = 6; digits <= 9; ++digits) {
    char text[40];
    std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
    if (std::strtof(text, nullptr) == value) return Json(std::strtod(text, nullptr));
  }
  return Json(static_cast<double>(value));
}

template <class T>
Json to_json_value(const T& value) {
  return Json(value);
}
Json to_json_value(const float& value) { return float_json(value); }

}  // namespace

std::string kind_of(const Json& value) { return kind(value); }

std::string Config::where() const {
  const std::string origin = file.empty() ? "config" : file;
  return origin + ": at " + (pointer.empty() ? "/" : pointer);
}

void Config::fail(std::string_view what) const { throw UsageError(where() + ": " + std::string(what)); }

Config Config::at(std::string_view key) const {
  if (!json.is_object()) fail("expected an object, found " + kind(json));
  const auto found = json.find(std::string(key));
  if (found == json.end()) fail("the key '" + std::string(key) + "' is missing");
  return {*found, file, pointer + pointer_token(key)};
}

Config Config::at(size_t index) const {
  if (!json.is_array()) fail("expected a list, found " + kind(json));
  if (index >= json.size()) fail(concat_text("the list has ", json.size(), " entries, entry ", index, " is missing"));
  return {json[index], file, pointer + "/" + std::to_string(index)};
}

std::string Config::type() const {
  if (!json.is_object()) fail("expected an object with a \"type\", found " + kind(json));
  return read_string(at("type"));
}

Config parse_config(std::string_view text, const std::string& file) {
  check_depth(text, file);
  DuplicateCheck check(file);
  try {
    return {Json::parse(text, std::ref(check), true, true), file, ""};
  } catch (const Json::parse_error& error) {
    const size_t end = std::min(error.byte > 0 ? error.byte - 1 : 0, text.size());
    const auto before = text.substr(0, end);
    const auto line = 1 + std::ranges::count(before, '\n');
    const auto last = before.rfind('\n');
    const size_t column = 1 + before.size() - (last == std::string_view::npos ? 0 : last + 1);
    std::string reason = error.what();
    if (const auto dash = reason.find(" - "); dash != std::string::npos)
      reason = reason.substr(dash + 3);
    else if (const auto colon = reason.rfind(": "); colon != std::string::npos)
      reason = reason.substr(colon + 2);
    throw UsageError(concat_text(file, ":", line, ":", column, ": this is no JSON: ", reason));
  } catch (const Json::exception& error) {
    throw UsageError(file + ": this is no JSON: " + error.what());
  }
}

Config load_config(const std::string& path) { return load_extended(path, {}); }

void set_option(Config& config, std::string_view assignment) {
  const auto equals = assignment.find('=');
  if (assignment.empty() || assignment[0] != '/' || equals == std::string_view::npos) {
    throw UsageError("--set: expected /json/pointer=value, found '" + std::string(assignment) + "'");
  }
  const std::string pointer(assignment.substr(0, equals)), text(assignment.substr(equals + 1));
  check_depth(text, "--set");
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) value = text;
  try {
    const Json::json_pointer target(pointer);
    // Indexing a list behind its end would grow it to whatever number stands in the pointer.
    const Json parent =
        config.json.contains(target.parent_pointer()) ? config.json.at(target.parent_pointer()) : Json();
    if (parent.is_array() && !config.json.contains(target)) throw UsageError("");
    config.json[target] = value;
  } catch (const std::exception&) {
    throw UsageError("--set: the pointer '" + pointer + "' does not fit the config");
  }
}

std::optional<std::string> closest(std::string_view word, const std::vector<std::string>& known) {
  std::optional<std::string> best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t longer = std::max(word.size(), candidate.size()), shorter = std::min(word.size(), candidate.size());
    if (longer - shorter >= best_distance) continue;
    // Insertions, deletions, replacements and swaps of neighbours count one each.
    const size_t columns = candidate.size() + 1;
    std::vector<size_t> table((word.size() + 1) * columns);
    const auto at = [&](size_t i, size_t j) -> size_t& { return table[i * columns + j]; };
    for (size_t i = 0; i <= word.size(); ++i) {
      for (size_t j = 0; j < columns; ++j) {
        if (i == 0 || j == 0) {
          at(i, j) = i + j;
          continue;
        }
        const bool same = word[i - 1] == candidate[j - 1];
        at(i, j) = std::min({at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + (same ? 0 : 1)});
        if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] && word[i - 2] == candidate[j - 1])
          at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
      }
    }
    if (table.back() < best_distance) {
      best_distance = table.back();
      best = candidate;
    }
  }
  return best;
}

Fields::Fields(Mode mode, const Config* from) : mode_(mode), from_(from) {
  if (from_ != nullptr && !from_->json.is_object()) from_->fail("expected an object, found " + kind(from_->json));
}

void Fields::fail_missing(std::string_view key) const {
  std::vector<std::string> present;
  for (const auto& [name, value] : from_->json.items()) present.push_back(name);
  const auto guess = closest(key, present);
  from_->fail("the key '" + std::string(key) + "' is missing" +
              (guess ? "; is '" + *guess + "' a misspelling of it?" : ""));
}

template <class T, class Read>
Fields& Fields::field(std::string_view key, T& value, std::string_view doc, std::string type, std::string accepts,
                      Read&& read) {
  const bool required = std::exchange(next_required_, false);
  known_.emplace_back(key);
  switch (mode_) {
    case Mode::read:
      if (from_->contains(key))
        value = read(from_->at(key));
      else if (required)
        fail_missing(key);
      break;
    case Mode::write:
      out_[std::string(key)] = to_json_value(value);
      break;
    case Mode::list:
      docs_.push_back({std::string(key), std::move(type), required ? "" : to_json_value(value).dump(),
                       std::move(accepts), std::string(doc), required});
      break;
  }
  return *this;
}

Fields& Fields::operator()(std::string_view key, bool& value, std::string_view doc) {
  return field(key, value, doc, "boolean", "", [](const Config& at) {
    if (!at.json.is_boolean()) at.fail("expected true or false, found " + kind(at.json));
    return at.json.get<bool>();
  });
}

Fields& Fields::operator()(std::string_view key, int& value, std::string_view doc, Range range) {
  return field(key, value, doc, "integer", describe_range(range), [&](const Config& at) {
    return static_cast<int>(read_integer(at, range, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()));
  });
}

Fields& Fields::operator()(std::string_view key, int64_t& value, std::string_view doc, Range range) {
  return field(key, value, doc, "integer", describe_range(range), [&](const Config& at) {
    return read_integer(at, range, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  });
}

Fields& Fields::operator()(std::string_view key, uint64_t& value, std::string_view doc) {
  return field(key, value, doc, "integer", "at least 0", [](const Config& at) {
    if (!at.json.is_number_integer()) at.fail("expected an integer, found " + kind(at.json));
    if (!at.json.is_number_unsigned() && at.json.get<int64_t>() < 0)
      at.fail("expected at least 0, found " + shown(at.json));
    return at.json.get<uint64_t>();
  });
}

Fields& Fields::operator()(std::string_view key, float& value, std::string_view doc, Range range) {
  return field(key, value, doc, "number", describe_range(range),
               [&](const Config& at) { return static_cast<float>(read_number(at, range)); });
}

Fields& Fields::operator()(std::string_view key, double& value, std::string_view doc, Range range) {
  return field(key, value, doc, "number", describe_range(range),
               [&](const Config& at) { return read_number(at, range); });
}

Fields& Fields::operator()(std::string_view key, std::string& value, std::string_view doc) {
  return field(key, value, doc, "string", "", read_string);
}

Fields& Fields::operator()(std::string_view key, std::vector<int>& value, std::string_view doc, Range range) {
  return field(key, value, doc, "list of integers", describe_range(range), [&](const Config& at) {
    return read_list<int>(at, [&](const Config& one) {
      return static_cast<int>(
          read_integer(one, range, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()));
    });
  });
}

Fields& Fields::operator()(std::string_view key, std::vector<double>& value, std::string_view doc, Range range) {
  return field(key, value, doc, "list of numbers", describe_range(range), [&](const Config& at) {
    return read_list<double>(at, [&](const Config& one) { return read_number(one, range); });
  });
}

Fields& Fields::operator()(std::string_view key, std::vector<std::string>& value, std::string_view doc) {
  return field(key, value, doc, "list of strings", "",
               [](const Config& at) { return read_list<std::string>(at, read_string); });
}

Fields& Fields::choice(std::string_view key, std::string& value, const std::vector<std::string>& accepted,
                       std::string_view doc) {
  std::string list;
  for (const std::string& one : accepted) list += (list.empty() ? "\"" : ", \"") + one + "\"";
  return field(key, value, doc, "string", list, [&](const Config& at) {
    std::string text = read_string(at);
    if (std::ranges::find(accepted, text) == accepted.end()) {
      const auto guess = closest(text, accepted);
      at.fail("expected one of " + list + ", found \"" + text + "\"" +
              (guess ? ", did you mean \"" + *guess + "\"?" : ""));
    }
    return text;
  });
}

Fields& Fields::raw(std::string_view key, Config& value, std::string_view what, std::string_view doc) {
  const bool required = std::exchange(next_required_, false);
  known_.emplace_back(key);
  const bool absent = value.json.is_null() || (value.json.is_object() && value.json.empty());
  switch (mode_) {
    case Mode::read:
      if (from_->contains(key))
        value = from_->at(key);
      else if (required)
        fail_missing(key);
      break;
    case Mode::write:
      out_[std::string(key)] = absent ? Json() : value.json;
      break;
    case Mode::list:
      docs_.push_back({std::string(key), std::string(what),
                       required ? ""
                       : absent ? "none"
                                : value.json.dump(),
                       "", std::string(doc), required});
      break;
  }
  return *this;
}

void Fields::begin_nested(std::string_view key, std::string_view doc, const std::function<void(Fields&)>& inner) {
  next_required_ = false;
  known_.emplace_back(key);
  if (mode_ == Mode::read) {
    if (!from_->contains(key)) return;
    const Config at = from_->at(key);
    Fields fields = reader(at);
    inner(fields);
    fields.finish();
  } else if (mode_ == Mode::write) {
    Fields fields = writer();
    inner(fields);
    out_[std::string(key)] = fields.json();
  } else {
    Fields fields = lister();
    inner(fields);
    docs_.push_back({std::string(key), "object", "", "", std::string(doc), false});
    for (FieldDoc nested : fields.docs()) {
      nested.key = std::string(key) + "." + nested.key;
      docs_.push_back(std::move(nested));
    }
  }
}

void Fields::finish(const std::vector<std::string>& also) {
  if (mode_ != Mode::read) return;
  std::vector<std::string> accepted = known_;
  accepted.insert(accepted.end(), also.begin(), also.end());
  for (const auto& [key, value] : from_->json.items()) {
    if (std::ranges::find(accepted, key) != accepted.end()) continue;
    std::string list;
    for (const std::string& one : accepted) list += (list.empty() ? "" : ", ") + one;
    const auto guess = closest(key, accepted);
    Config at = *from_;
    at.pointer += pointer_token(key);
    at.fail("unknown key '" + key + "'" + (guess ? ", did you mean '" + *guess + "'?" : "") + " (accepted: " + list +
            ")");
  }
}

}  // namespace nibble
