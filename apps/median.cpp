#include "apps/median.h"

#include <algorithm>

#include "core/error.h"

namespace nibble {

double median(std::vector<double> values) {
  NIBBLE_CHECK(!values.empty(), "median: there are no values");
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace nibble
