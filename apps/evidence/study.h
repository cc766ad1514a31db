#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/progress.h"
#include "core/config.h"

namespace nibble {

/// What the command line asks of a study.
struct StudyRequest {
  std::string init;       ///< checkpoint to start from; "" for a random start, where the study allows it
  Json model;             ///< what a random start builds; null for ResNet-20
  std::string data_text;  ///< --data: other images than the checkpoint's or CIFAR-10
  int64_t steps = 0;
  int bits = 0;
  uint64_t seed = 1;
};

/// A small experiment on real training steps that shows what a paper claims.
struct Study {
  enum class Start { checkpoint, random, either };
  std::string name;
  std::string claim;  ///< what the paper says, with its section
  std::string setup;  ///< what is run, and about how long it takes
  int64_t steps = 0;  ///< unless the request says otherwise
  int bits = 0, least_bits = 1;
  Start start = Start::either;  ///< what it must or may begin with
  /// {"holds": whether the claim showed, "finding": one sentence, "tables": [{"title", "columns": [...], "rows":
  /// [[...], ...]}]} and any further keys that a program may want.
  Json (*run)(const StudyRequest&, Progress&) = nullptr;
};

/// All of them.
const std::vector<Study>& studies();

Study lsq_ratio_study();
Study qem_study();
Study affine_delay_study();

/// The result of a study as a section of Markdown.
std::string study_markdown(const Json& result);

/// The mean of each of `parts` stretches of a curve, which is not empty; parts that are empty repeat the one before.
std::vector<double> curve_means(const std::vector<double>& curve, size_t parts);

}  // namespace nibble
