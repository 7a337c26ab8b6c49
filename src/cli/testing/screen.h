// A small terminal: what is seen after a program wrote its bytes. Knows the control sequences that
// this room writes.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "cli/width.h"
#include "core/text.h"

namespace corral::cli::testing {

class Screen {
 public:
  explicit Screen(int columns) : columns_(columns), rows_(1) {}

  void Write(std::string_view bytes) {
    while (!bytes.empty()) {
      if (bytes[0] == '\x1b' && bytes.size() > 1 && bytes[1] == '[') {
        std::size_t end = 2;
        while (end < bytes.size() && std::isalpha(static_cast<unsigned char>(bytes[end])) == 0)
          ++end;
        Obey(bytes[end], bytes.substr(2, end - 2));
        bytes.remove_prefix(end + 1);
        continue;
      }
      const Rune rune = DecodeRune(bytes);
      Put(bytes.substr(0, rune.size), rune.value);
      bytes.remove_prefix(rune.size);
    }
  }

  // As after a terminal driver that makes "\r\n" of every line break.
  void WriteCooked(std::string bytes) {
    for (std::size_t at = 0; (at = bytes.find('\n', at)) != std::string::npos; at += 2)
      bytes.insert(at, "\r");
    Write(bytes);
  }

  // Rows without blanks at their ends; a wide character takes two cells and is seen once.
  std::vector<std::string> Rows() const {
    std::vector<std::string> texts;
    for (const auto& row : rows_) {
      std::string text;
      for (const std::string& cell : row) text += cell;
      while (text.ends_with(' ')) text.pop_back();
      texts.push_back(std::move(text));
    }
    while (texts.size() > 1 && texts.back().empty()) texts.pop_back();
    return texts;
  }
  std::size_t row() const { return row_; }
  int column() const { return std::min(column_, columns_ - 1); }

 private:
  void Put(std::string_view bytes, char32_t rune) {
    if (rune == '\n') return Down();
    if (rune == '\r') {
      column_ = 0;
      return;
    }
    const int width = RuneWidth(rune);
    if (width == 0) {
      if (column_ > 0) Cell(column_ - 1) += bytes;
      return;
    }
    if (column_ + width > columns_) {  // at the edge the cursor waits on the last cell
      column_ = 0;
      Down();
    }
    Cell(column_) = bytes;
    if (width == 2) Cell(column_ + 1) = "";
    column_ += width;
  }
  void Down() {
    ++row_;
    if (row_ == rows_.size()) rows_.emplace_back();
  }
  void Obey(char letter, std::string_view parameter) {
    const int n = parameter.empty() ? 1 : std::atoi(std::string(parameter).c_str());
    auto& row = rows_[row_];
    const auto at = static_cast<std::size_t>(column());
    switch (letter) {
      case 'A':
        row_ -= std::min(row_, static_cast<std::size_t>(n));
        break;
      case 'C':
        column_ = std::min(column() + n, columns_ - 1);
        break;
      case 'D':
        column_ = std::max(column() - n, 0);
        break;
      case 'G':
        column_ = n - 1;
        break;
      case 'H':
        row_ = 0, column_ = 0;
        break;
      case 'J':
        if (parameter == "2") rows_.assign(1, {}), row_ = 0;
        rows_.resize(row_ + 1);
        [[fallthrough]];
      case 'K':
        if (parameter == "2") rows_[row_].clear();
        if (rows_[row_].size() > at) rows_[row_].resize(at);
        break;
      default:
        break;  // colours, modes
    }
    static_cast<void>(row);
  }
  std::string& Cell(int column) {
    auto& row = rows_[row_];
    if (row.size() <= static_cast<std::size_t>(column))
      row.resize(static_cast<std::size_t>(column) + 1, " ");
    return row[static_cast<std::size_t>(column)];
  }

  int columns_;
  std::vector<std::vector<std::string>> rows_;
  std::size_t row_ = 0;
  int column_ = 0;
};

}  // namespace corral::cli::testing
