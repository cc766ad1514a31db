#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace nibble {

/// A JSON value and where it came from, so that whoever reads it can say so in an error.
struct Config {
  Json json = Json::object();
  std::string file;     ///< "" if it was built in memory
  std::string pointer;  ///< JSON pointer inside the file, "" for the root

  Config() = default;
  Config(Json value, std::string from = {}, std::string at = {})
      : json(std::move(value)), file(std::move(from)), pointer(std::move(at)) {}

  bool contains(std::string_view key) const { return json.is_object() && json.contains(std::string(key)); }
  /// The value under a key, with its pointer; throws if this is no object or lacks the key.
  Config at(std::string_view key) const;
  Config at(size_t index) const;
  /// The string under "type"; throws if there is none.
  std::string type() const;
  /// Throws UsageError: "FILE: at POINTER: what".
  [[noreturn]] void fail(std::string_view what) const;
  /// "configs/a.json: at /model/depth", for messages.
  std::string where() const;
};

/// Parses a JSON text (comments allowed); throws UsageError with line and column.
Config parse_config(std::string_view text, const std::string& file);
/// Reads a config file and merges it over the file named by its "extends" (relative to it), recursively: objects merge
/// key by key unless their "type" differs, everything else replaces.
Config load_config(const std::string& path);
/// Applies "/json/pointer=value" (value is JSON, or else a plain string); creates missing object keys.
void set_option(Config& config, std::string_view assignment);
/// "the string \"abc\"": a value as an error message shows it, shortened.
std::string kind_of(const Json& value);
/// The element of `known` with the smallest edit distance, if it is close enough to be a likely misspelling.
std::optional<std::string> closest(std::string_view word, const std::vector<std::string>& known);

/// What the reference page says about one key.
struct FieldDoc {
  std::string key, type, fallback, accepts, doc;
  bool required = false;
};

struct Range {
  double lo = -std::numeric_limits<double>::infinity();
  double hi = std::numeric_limits<double>::infinity();
  bool open_lo = false;  ///< lo itself is not accepted
};
inline constexpr Range kPositive{0, std::numeric_limits<double>::infinity(), true};
inline constexpr Range kNonNegative{0, std::numeric_limits<double>::infinity(), false};
inline constexpr Range kFraction{0, 1, false};

/// Visits the options of a class, which are declared once, in a member function of its options struct:
///
///     struct Options {
///       int bits = 8;
///       void fields(Fields& f) { f("bits", bits, "code width", {2, 8}); }
///     };
///
/// The same declaration reads and checks a config (unknown keys, types, ranges), writes it back with defaults filled
/// in, and lists itself for the reference page.
class Fields {
 public:
  static Fields reader(const Config& from) { return Fields(Mode::read, &from); }
  static Fields writer() { return Fields(Mode::write, nullptr); }
  static Fields lister() { return Fields(Mode::list, nullptr); }

  Fields& operator()(std::string_view key, bool& value, std::string_view doc);
  Fields& operator()(std::string_view key, int& value, std::string_view doc, Range range = {});
  Fields& operator()(std::string_view key, int64_t& value, std::string_view doc, Range range = {});
  Fields& operator()(std::string_view key, uint64_t& value, std::string_view doc);
  Fields& operator()(std::string_view key, float& value, std::string_view doc, Range range = {});
  Fields& operator()(std::string_view key, double& value, std::string_view doc, Range range = {});
  Fields& operator()(std::string_view key, std::string& value, std::string_view doc);
  Fields& operator()(std::string_view key, std::vector<int>& value, std::string_view doc, Range range = {});
  Fields& operator()(std::string_view key, std::vector<double>& value, std::string_view doc, Range range = {});
  Fields& operator()(std::string_view key, std::vector<std::string>& value, std::string_view doc);
  /// A string out of a fixed set.
  Fields& choice(std::string_view key, std::string& value, const std::vector<std::string>& accepted,
                 std::string_view doc);
  /// Any JSON value, kept with its pointer for whoever reads it; `what` says in the reference page what it is
  /// ("an optimizer", "a list of layers"). A null config is written as null and read as absent.
  Fields& raw(std::string_view key, Config& value, std::string_view what, std::string_view doc);
  /// An object with its own fields(), written out in place.
  template <class Options>
  Fields& nested(std::string_view key, Options& value, std::string_view doc) {
    begin_nested(key, doc, [&value](Fields& inner) { value.fields(inner); });
    return *this;
  }
  /// The next key declared must be present.
  Fields& required() {
    next_required_ = true;
    return *this;
  }

  /// Reader: throws on keys that no call has declared. `also` are accepted without having been declared ("type").
  void finish(const std::vector<std::string>& also = {});
  const Json& json() const { return out_; }
  const std::vector<FieldDoc>& docs() const { return docs_; }

 private:
  enum class Mode { read, write, list };
  Fields(Mode mode, const Config* from);
  void begin_nested(std::string_view key, std::string_view doc, const std::function<void(Fields&)>& inner);
  [[noreturn]] void fail_missing(std::string_view key) const;
  template <class T, class Read>
  Fields& field(std::string_view key, T& value, std::string_view doc, std::string type, std::string accepts,
                Read&& read);

  Mode mode_;
  const Config* from_;
  Json out_ = Json::object();
  std::vector<FieldDoc> docs_;
  std::vector<std::string> known_;
  bool next_required_ = false;
};

/// Reads Options from a config; `also` are further accepted keys. Throws UsageError naming the pointer.
template <class Options>
Options read_options(const Config& config, const std::vector<std::string>& also = {"type"}) {
  Options options;
  Fields reader = Fields::reader(config);
  options.fields(reader);
  reader.finish(also);
  return options;
}

/// The options as JSON, defaults included: read_options(write_options(o)) == o.
template <class Options>
Json write_options(const Options& options) {
  Options copy = options;
  Fields writer = Fields::writer();
  copy.fields(writer);
  return writer.json();
}

template <class Options>
std::vector<FieldDoc> list_options() {
  Options options;
  Fields lister = Fields::lister();
  options.fields(lister);
  return lister.docs();
}

}  // namespace nibble
