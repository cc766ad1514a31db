#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// True if the whole text matches: '*' is any run of characters (dots too), '?' any one, '|' separates alternatives.
/// Time is at most the product of the lengths.
bool glob_match(std::string_view pattern, std::string_view text);

/// "conv0|fc" -> {"conv0", "fc"}: what glob_match tries one after the other. An empty alternative matches only "".
std::vector<std::string> glob_alternatives(std::string_view pattern);

}  // namespace nibble
