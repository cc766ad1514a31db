#pragma once

#include <string>

namespace nibble {

/// Everything a config can say, in Markdown: the sections of a run, then each registered type with its options. The
/// page is written from the declarations that read configs, so it cannot disagree with them.
std::string reference_page();

}  // namespace nibble
