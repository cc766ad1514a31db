#pragma once

#include <cstdint>
#include <string>

#include "core/json.h"

namespace nibble {

/// What a result depends on or is measured with: version, commit, compiler, processor, threads, matrix library and
/// the kernel variants chosen so far.
Json machine_info();

/// "Linux x86_64, AMD EPYC 9B45 (2 cores), 2 threads, OpenBLAS 0.3.21 (SkylakeX)", for a human.
std::string machine_line(const Json& info);

/// Largest resident set of this process so far.
int64_t peak_rss_bytes();

}  // namespace nibble
