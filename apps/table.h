#pragma once

#include <iosfwd>
#include <set>
#include <string>
#include <vector>

namespace nibble {

/// Rows of text in columns as wide as their widest entry, two spaces apart.
class Table {
 public:
  /// `right`: the columns, from 0, whose entries end at the same place.
  explicit Table(std::vector<std::string> head, std::set<size_t> right = {})
      : rows_{std::move(head)}, right_(std::move(right)) {}
  /// As many entries as the head has.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::set<size_t> right_;
};

}  // namespace nibble
