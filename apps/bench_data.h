#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "apps/progress.h"
#include "core/json.h"
#include "data/dataset.h"

namespace nibble {

/// The data section of a folder in ImageNet's form, which a folder without "train" is too, with the usual preparation:
/// random_resized_crop and flip, shorter side 256 and center_crop 224.
Json imagenet_section(const std::string& folder);

/// Times what becomes of an image on its way to the network, on one thread, for the preparation of training ("augment")
/// and that of evaluation ("transform"), each on the images of the training split in random order: {"open_seconds",
/// "samples", "images", "pixels" (mean of an image), "rows": [{"prepare", "read_seconds" (file and decoder),
/// "transform_seconds", "normalise_seconds" (all per image), "images_per_second"}], "loader": {"workers",
/// "images_per_second"}}. Each time is the median of 5 passes over the same `images` images, the first of which, unless
/// they are more than memory holds, has brought the files into memory.
Json bench_data(DataSource& source, int64_t images, Progress& progress);

/// As a table, for a human.
void print_data(const Json& json, std::ostream& out);

}  // namespace nibble
