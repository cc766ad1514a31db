#include "apps/evidence/study.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace nibble {

namespace {

/// Numbers to four significant digits, strings as they are, null as a dash.
std::string cell_text(const Json& cell) {
  if (cell.is_null()) return "–";
  if (cell.is_string()) return cell.get<std::string>();
  if (!cell.is_number_float()) return cell.dump();
  const auto value = cell.get<double>();
  if (!std::isfinite(value)) return "–";
  char text[40];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string row_text(const Json& row) {
  std::string text = "|";
  for (const Json& cell : row) text += " " + cell_text(cell) + " |";
  return text + "\n";
}

}  // namespace

const std::vector<Study>& studies() {
  static const std::vector<Study> table = {lsq_ratio_study(), qem_study(), affine_delay_study()};
  return table;
}

std::string study_markdown(const Json& result) {
  const auto text = [&](const char* key) { return result[key].get<std::string>(); };
  std::string page = "## " + text("study") + "\n" + text("claim") + "\n\n" + text("setup") + "\n\n";
  for (const Json& table : result["tables"]) {
    page += table["title"].get<std::string>() + ":\n\n" + row_text(table["columns"]) + "|";
    for (size_t i = 0; i < table["columns"].size(); ++i) page += i == 0 ? "---|" : "---:|";
    page += "\n";
    for (const Json& row : table["rows"]) page += row_text(row);
    page += "\n";
  }
  page += std::string(result["holds"].get<bool>() ? "**It shows.** " : "**It does not show.** ") + text("finding");
  return page + "\n\n`" + text("command") + "`, " + cell_text(result["seconds"]) + " s on " + text("machine_line") +
         ".\n";
}

std::vector<double> curve_means(const std::vector<double>& curve, size_t parts) {
  NIBBLE_CHECK(!curve.empty(), "curve_means: the curve is empty");
  std::vector<double> means;
  for (size_t p = 0; p < parts; ++p) {
    const size_t begin = p * curve.size() / parts, end = (p + 1) * curve.size() / parts;
    const auto at = [&](size_t i) { return curve.begin() + static_cast<std::ptrdiff_t>(i); };
    if (begin == end) {
      means.push_back(means.empty() ? curve.front() : means.back());
    } else {
      means.push_back(std::accumulate(at(begin), at(end), 0.0) / static_cast<double>(end - begin));
    }
  }
  return means;
}

}  // namespace nibble
