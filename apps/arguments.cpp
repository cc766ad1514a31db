#include "apps/arguments.h"

#include <algorithm>
#include <charconv>

#include "core/config.h"
#include "core/error.h"

namespace nibble {
namespace {

const OptionSpec& find_option(const CommandSpec& spec, const std::string& name) {
  for (const OptionSpec& option : spec.options) {
    if (option.name == name || (!option.letter.empty() && option.letter == name)) return option;
  }
  std::vector<std::string> known = {"--help"};
  for (const OptionSpec& option : spec.options) known.push_back(option.name);
  const auto guess = closest(name, known);
  throw UsageError("nibble " + spec.name + ": unknown option '" + name + "'" +
                   (guess ? ", did you mean '" + *guess + "'?" : "") + " (see nibble " + spec.name + " --help)");
}

}  // namespace

Arguments::Arguments(const CommandSpec& spec, const std::vector<std::string>& args) : command_(spec.name) {
  const auto is_help = [](const std::string& arg) { return arg == "--help" || arg == "-h"; };
  help_ = std::any_of(args.begin(), std::find(args.begin(), args.end(), "--"), is_help);
  if (help_) return;
  bool only_positional = false;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (only_positional || arg.size() < 2 || arg[0] != '-') {
      positional_.push_back(arg);
      continue;
    }
    if (arg == "--") {
      only_positional = true;
      continue;
    }
    const size_t equals = arg.rfind("--", 0) == 0 ? arg.find('=') : std::string::npos;
    const OptionSpec& option = find_option(spec, arg.substr(0, equals));
    std::string value;
    if (option.value.empty()) {
      if (equals != std::string::npos)
        throw UsageError("nibble " + spec.name + ": option " + option.name + " takes no value");
    } else if (equals != std::string::npos) {
      value = arg.substr(equals + 1);
    } else {
      if (i + 1 == args.size())
        throw UsageError("nibble " + spec.name + ": option " + option.name + " needs a value: " + option.name + " " +
                         option.value);
      value = args[++i];
    }
    auto& values = values_[option.name];
    if (!values.empty() && !option.repeats)
      throw UsageError("nibble " + spec.name + ": option " + option.name + " was given twice");
    values.push_back(value);
  }
  if (positional_.size() < spec.min_arguments)
    throw UsageError("nibble " + spec.name + ": expected " + spec.arguments + ", got " +
                     (positional_.empty() ? std::string("nothing") : std::to_string(positional_.size())) +
                     " (see nibble " + spec.name + " --help)");
  if (positional_.size() > spec.max_arguments)
    throw UsageError("nibble " + spec.name + ": unexpected argument '" + positional_[spec.max_arguments] +
                     "' (see nibble " + spec.name + " --help)");
}

std::string Arguments::text(const std::string& name, const std::string& fallback) const {
  const auto found = values_.find(name);
  return found == values_.end() ? fallback : found->second.back();
}

std::vector<std::string> Arguments::all(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

int64_t Arguments::integer(const std::string& name, int64_t fallback, int64_t lo, int64_t hi) const {
  if (!has(name)) return fallback;
  const std::string value = text(name);
  int64_t number = 0;
  const auto end = value.data() + value.size();
  const auto result = std::from_chars(value.data(), end, number);
  if (result.ec != std::errc() || result.ptr != end || number < lo || number > hi)
    throw UsageError(concat_text("nibble ", command_, ": option ", name, " expects a whole number from ", lo, " to ",
                                 hi, ", got '", value, "'"));
  return number;
}

std::string help_text(const CommandSpec& spec) {
  std::string text = "usage: nibble " + spec.name;
  if (!spec.arguments.empty()) text += " " + spec.arguments;
  text += " [options]\n\n" + spec.doc + "\n\noptions:\n";
  const auto line = [&text](std::string head, const std::string& doc) {
    head.resize(std::max<size_t>(head.size() + 2, 28), ' ');
    text += "  " + head + doc + "\n";
  };
  for (const OptionSpec& option : spec.options) {
    std::string head = option.letter.empty() ? option.name : option.letter + ", " + option.name;
    if (!option.value.empty()) head += " " + option.value;
    line(head, option.doc + (option.repeats ? " (may be given several times)" : ""));
  }
  line("-h, --help", "this text");
  return text;
}

}  // namespace nibble
