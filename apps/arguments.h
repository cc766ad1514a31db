#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace nibble {

/// One option of a command, "--name" or "--name VALUE".
struct OptionSpec {
  std::string name;   ///< with its dashes: "--out"
  std::string value;  ///< what the help calls its value; "" for a flag
  std::string doc;
  std::string letter;    ///< short form, "-o", or ""
  bool repeats = false;  ///< may be given several times
};

/// What a command accepts and what its help says.
struct CommandSpec {
  std::string name;       ///< "train"
  std::string arguments;  ///< the positional arguments as the help shows them
  size_t min_arguments = 0, max_arguments = 0;
  std::string doc;
  std::vector<OptionSpec> options;
};

/// A parsed command line. Options may stand before, between and behind the positional arguments, values may follow
/// after a space or "=", and everything behind "--" is positional.
class Arguments {
 public:
  /// `args` without the program's and the command's name. Throws UsageError on anything the spec does not accept.
  Arguments(const CommandSpec& spec, const std::vector<std::string>& args);

  /// "--help" or "-h" was given; nothing else has been checked then.
  bool help() const { return help_; }
  bool has(const std::string& name) const { return values_.count(name) != 0; }
  std::string text(const std::string& name, const std::string& fallback = {}) const;
  /// Every value of an option that repeats, in order.
  std::vector<std::string> all(const std::string& name) const;
  /// Throws UsageError unless the value is a whole number in [lo, hi].
  int64_t integer(const std::string& name, int64_t fallback, int64_t lo, int64_t hi) const;
  const std::vector<std::string>& positional() const { return positional_; }

 private:
  std::string command_;
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> positional_;
  bool help_ = false;
};

/// "nibble train CONFIG [options]", the doc and a line per option.
std::string help_text(const CommandSpec& spec);

}  // namespace nibble
