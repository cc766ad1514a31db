#include "apps/step_profile.h"

#include <algorithm>
#include <cstdio>
#include <ostream>

#include "apps/median.h"
#include "apps/table.h"

namespace nibble {
namespace {

constexpr double kSmallShare = 1e-3;

Json trace_event(const profile::Event& event, int64_t offset, int64_t step) {
  const std::string pass(profile::name_of(event.stage));
  Json args = {{"op", event.op}, {"step", step}};
  if (!event.work.shapes.empty()) args["shapes"] = event.work.shapes;
  if (!event.work.kernel.empty()) args["kernel"] = event.work.kernel;
  if (event.work.flop > 0) args["flop"] = event.work.flop;
  if (event.work.bytes > 0) args["bytes"] = event.work.bytes;
  return {{"name", (event.layer.empty() ? event.op : event.layer) + " " + pass},
          {"cat", pass},
          {"ph", "X"},
          {"ts", 1e-3 * static_cast<double>(offset + event.begin)},
          {"dur", 1e-3 * static_cast<double>(event.end - event.begin)},
          {"pid", 1},
          {"tid", 1},
          {"args", std::move(args)}};
}

std::string number(const char* format, double value) {
  char text[400];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string percent(double share) { return number("%.1f %%", 100 * share); }

std::string text_of(const Json& row, const char* key) { return row[key].get<std::string>(); }

/// "" where there are none, as for an op that does not say.
std::string rate(double flop, double seconds) {
  return flop > 0 && seconds > 0 ? number("%.1f", 1e-9 * flop / seconds) : "";
}

std::string layer_of(const Json& row) {
  const std::string layer = text_of(row, "layer");
  return layer.empty() ? "-" : layer;
}

}  // namespace

void StepProfile::add(const std::vector<profile::Event>& events) {
  std::vector<const profile::Event*> begun;
  for (const profile::Event& event : events) begun.push_back(&event);
  std::stable_sort(begun.begin(), begun.end(), [](const profile::Event* a, const profile::Event* b) {
    return std::pair(a->begin, a->depth) < std::pair(b->begin, b->depth);
  });
  int64_t end = 0;
  for (const profile::Event* event : begun) {
    if (std::ranges::find(layers_, event->layer) == layers_.end()) layers_.push_back(event->layer);
    const auto [at, added] =
        index_.try_emplace({event->layer, event->stage, event->op, event->work.kernel}, rows_.size());
    if (added) rows_.push_back({event->layer, event->op, event->work.kernel, event->stage, {}, 0, 0, 0});
    Row& row = rows_[at->second];
    row.seconds.resize(static_cast<size_t>(steps_) + 1, 0.0);
    row.seconds.back() += 1e-9 * static_cast<double>(event->own);
    ++row.calls;
    row.flop += event->work.flop;
    row.bytes += event->work.bytes;
    trace_.push_back(trace_event(*event, end_, steps_));
    end = std::max(end, event->end);
  }
  end_ += end;
  ++steps_;
}

double StepProfile::seconds_of(const Row& row) const {
  std::vector<double> seconds = row.seconds;
  seconds.resize(static_cast<size_t>(steps_), 0.0);
  return median(seconds);
}

std::vector<const StepProfile::Row*> StepProfile::in_order() const {
  std::vector<const Row*> rows;
  for (const Row& row : rows_) rows.push_back(&row);
  const auto place = [this](const Row* row) {
    return std::tuple(row->layer.empty(), std::find(layers_.begin(), layers_.end(), row->layer) - layers_.begin(),
                      row->stage);
  };
  std::stable_sort(rows.begin(), rows.end(), [&](const Row* a, const Row* b) { return place(a) < place(b); });
  return rows;
}

Json StepProfile::json() const {
  const std::vector<const Row*> rows = in_order();
  const auto steps = static_cast<double>(std::max<int64_t>(1, steps_));
  double total = 0;
  for (const Row* row : rows) total += seconds_of(*row);
  const auto share = [total](double seconds) { return total > 0 ? seconds / total : 0; };
  Json list = Json::array(), ops = Json::array();
  std::map<std::pair<std::string, profile::Stage>, std::pair<double, double>> sums;  // seconds and FLOP of an op
  for (const Row* row : rows) {
    const double seconds = seconds_of(*row), flop = row->flop / steps;
    list.push_back({{"layer", row->layer},
                    {"pass", profile::name_of(row->stage)},
                    {"op", row->op},
                    {"kernel", row->kernel},
                    {"calls", static_cast<double>(row->calls) / steps},
                    {"seconds", seconds},
                    {"fastest", *std::min_element(row->seconds.begin(), row->seconds.end())},
                    {"share", share(seconds)},
                    {"flop", flop},
                    {"bytes", row->bytes / steps}});
    auto& sum = sums[{row->op, row->stage}];
    sum.first += seconds;
    sum.second += flop;
  }
  for (const auto& [key, sum] : sums)
    ops.push_back({{"op", key.first},
                   {"pass", profile::name_of(key.second)},
                   {"seconds", sum.first},
                   {"share", share(sum.first)},
                   {"flop", sum.second}});
  std::stable_sort(ops.begin(), ops.end(), [](const Json& a, const Json& b) { return a["seconds"] > b["seconds"]; });
  return {{"rows", std::move(list)}, {"ops", std::move(ops)}, {"rows_seconds", total}};
}

Json StepProfile::trace() const { return trace_; }

void print_profile(const Json& json, std::ostream& out) {
  Table rows({"layer", "pass", "ms", "share", "MB", "GFLOP/s", "op", "kernel"}, {2, 3, 4, 5});
  int64_t small = 0;
  double rest = 0;
  for (const Json& row : json["rows"]) {
    const double seconds = row["seconds"].get<double>(), share = row["share"].get<double>();
    if (share < kSmallShare) {
      ++small;
      rest += share;
      continue;
    }
    rows.add({layer_of(row), text_of(row, "pass"), number("%.3f", 1e3 * seconds), percent(share),
              number("%.2f", 1e-6 * row["bytes"].get<double>()), rate(row["flop"].get<double>(), seconds),
              text_of(row, "op"), text_of(row, "kernel")});
  }
  rows.print(out);
  out << "and " << small << " rows of less than " << percent(kSmallShare) << " each, " << percent(rest)
      << " together\n\n";
  Table ops({"op", "pass", "ms", "share", "GFLOP/s"}, {2, 3, 4});
  for (const Json& op : json["ops"]) {
    const double seconds = op["seconds"].get<double>();
    if (op["share"].get<double>() >= kSmallShare)
      ops.add({text_of(op, "op"), text_of(op, "pass"), number("%.3f", 1e3 * seconds),
               percent(op["share"].get<double>()), rate(op["flop"].get<double>(), seconds)});
  }
  ops.print(out);
}

void print_kernels_of_profile(const Json& json, std::ostream& out) {
  const double peak = json["peak_flops"].get<double>();
  Table table({"layer", "pass", "ms", "fastest", "GFLOP/s", "of peak", "kernel"}, {2, 3, 4, 5});
  const auto add = [&](const std::string& layer, const std::string& pass, double flop, double seconds, double fastest,
                       const std::string& kernel) {
    table.add({layer, pass, number("%.3f", 1e3 * seconds), number("%.3f", 1e3 * fastest), rate(flop, fastest),
               fastest > 0 ? percent(flop / fastest / peak) : "", kernel});
  };
  double all_flop = 0, all_seconds = 0, all_fastest = 0;
  for (const Json& row : json["rows"]) {
    const double flop = row["flop"].get<double>(), seconds = row["seconds"].get<double>();
    if (flop == 0) continue;
    const double fastest = row["fastest"].get<double>();
    add(layer_of(row), text_of(row, "pass"), flop, seconds, fastest, text_of(row, "kernel"));
    all_flop += flop, all_seconds += seconds, all_fastest += fastest;
  }
  add("together", "", all_flop, all_seconds, all_fastest, "");
  table.print(out);
  out << "GFLOP/s are those of the fastest step, with the multiply-adds of the direct way whatever the kernel does; "
      << number("peak %.0f GFLOP/s, measured; ", 1e-9 * peak)
      << number("all else takes %.1f ms of a step\n", 1e3 * (json["rows_seconds"].get<double>() - all_seconds));
}

}  // namespace nibble
