#pragma once

#include "third_party/json.h"

namespace nibble {

/// JSON with keys in the order they were written.
using Json = nlohmann::ordered_json;

}  // namespace nibble
