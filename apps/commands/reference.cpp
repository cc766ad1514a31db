#include "apps/reference.h"

#include <ostream>

#include "apps/commands/commands.h"

namespace nibble {

Command reference_command() {
  CommandSpec spec;
  spec.name = "reference";
  spec.doc =
      "print the reference of everything a config can say, in Markdown.\n"
      "The page is generated from the code that reads configs; apps/configs/REFERENCE.md is a copy.";
  return {spec, [](const Arguments&, Console& console) {
            console.out << reference_page();
            return 0;
          }};
}

}  // namespace nibble
