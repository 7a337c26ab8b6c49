#include "cli/tables.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

#include "cli/internal/json.h"
#include "cli/width.h"
#include "core/settings.h"
#include "core/text.h"

namespace corral::cli {
namespace {

constexpr std::string_view kPadding = "    ";
constexpr int kCellWidth = 30;       // tablewriter's MAX_ROW_WIDTH
constexpr int kTextCellWidth = 100;  // Ollama's, for Template, System and License
constexpr std::size_t kIdLength = 12;

std::string Padded(std::string text, int width) {
  const int gap = width - TextWidth(text);
  if (gap > 0) text.append(static_cast<std::size_t>(gap), ' ');
  return text;
}

// Breaks at blanks so that the squares of the free space at the line ends are least: tablewriter's
// WrapWords.
std::vector<std::string> Wrap(std::string_view text, int width) {
  const std::vector<std::string_view> words = Split(text, ' ');
  std::vector<int> widths;
  widths.reserve(words.size());
  for (const std::string_view word : words) widths.push_back(TextWidth(word));
  width = std::max(width, *std::max_element(widths.begin(), widths.end()));

  const std::size_t n = words.size();
  std::vector<std::int64_t> cost(n + 1, 0);  // of the lines from this word on
  std::vector<std::size_t> end(n, n);        // the word after the line that begins here
  for (std::size_t first = n; first-- > 0;) {
    cost[first] = std::numeric_limits<std::int64_t>::max();
    std::int64_t length = -1;
    for (std::size_t last = first; last < n; ++last) {
      length += 1 + widths[last];
      if (length > width) break;  // no word is wider, so a first line always fits
      const std::int64_t free = width - length;
      const std::int64_t lines = last + 1 == n ? 0 : free * free + cost[last + 1];
      if (lines < cost[first] || last + 1 == n) {
        cost[first] = lines;
        end[first] = last + 1;
      }
    }
  }
  std::vector<std::string> lines;
  for (std::size_t first = 0; first < n; first = end[first]) {
    std::string line(words[first]);
    for (std::size_t i = first + 1; i < end[first]; ++i) line += " " + std::string(words[i]);
    lines.push_back(std::move(line));
  }
  return lines;
}

// Rows of cells, wrapped and padded. Columns may differ from row to row.
class Grid {
 public:
  explicit Grid(int cell_width) : cell_width_(cell_width) {}

  void AddRow(const TableRow& row) {
    std::vector<std::vector<std::string>> cells;
    for (std::size_t column = 0; column < row.size(); ++column) {
      std::string flat = row[column];
      std::replace(flat.begin(), flat.end(), '\n', ' ');
      const int width = std::min(TextWidth(flat), cell_width_);
      Widen(column, width);  // also where every line turns out shorter
      cells.push_back(Wrap(flat, width));
      for (const std::string& line : cells.back()) Widen(column, TextWidth(line));
    }
    rows_.push_back(std::move(cells));
  }
  void Widen(std::size_t column, int width) {
    if (column >= widths_.size()) widths_.resize(column + 1, 0);
    widths_[column] = std::max(widths_[column], width);
  }
  int Width(std::size_t column) const { return widths_[column]; }

  std::string ToString() const {
    std::string out;
    for (const auto& cells : rows_) {
      std::size_t height = 1;
      for (const auto& cell : cells) height = std::max(height, cell.size());
      for (std::size_t line = 0; line < height; ++line) {
        for (std::size_t column = 0; column < cells.size(); ++column) {
          out += Padded(line < cells[column].size() ? cells[column][line] : "  ", widths_[column]);
          out += kPadding;
        }
        out += "\n";
      }
    }
    return out;
  }

 private:
  int cell_width_;
  std::vector<int> widths_;
  std::vector<std::vector<std::vector<std::string>>> rows_;
};

// Of whatever the server sends: today's digests have no "sha256:" in front.
std::string ShortId(const std::string& digest) { return digest.substr(0, kIdLength); }

// Go's strconv.FormatFloat(number, 'f', -1, 64).
std::string WholeNumber(double number) {
  std::array<char, 400> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::fixed);
  return std::string(buffer.data(), end.ptr);
}

const InfoValue* FindInfo(const InfoMap& info, const std::string& key) {
  const auto found = info.find(key);
  return found == info.end() ? nullptr : &found->second;
}

std::string InfoText(const InfoMap& info, const std::string& key) {
  const InfoValue* value = FindInfo(info, key);
  const auto* text = value == nullptr ? nullptr : std::get_if<std::string>(value);
  return text == nullptr ? "" : *text;
}

std::optional<double> InfoNumber(const InfoMap& info, const std::string& key) {
  const InfoValue* value = FindInfo(info, key);
  const auto* number = value == nullptr ? nullptr : std::get_if<double>(value);
  return number == nullptr ? std::nullopt : std::optional<double>(*number);
}

std::string ParameterCount(double count) {
  return count >= 0 && count < 1.8e19 ? HumanNumber(static_cast<std::uint64_t>(count)) : "";
}

std::vector<TableRow> ModelRows(const ShowReply& reply) {
  std::vector<TableRow> rows;
  const auto add = [&rows](std::string name, std::string value) {
    rows.push_back({"", std::move(name), std::move(value)});
  };
  if (!reply.remote_host.empty()) {
    add("Remote model", reply.remote_model);
    add("Remote URL", reply.remote_host);
  }
  if (reply.model_info) {
    const InfoMap& info = *reply.model_info;
    const std::string architecture = InfoText(info, "general.architecture");
    if (!architecture.empty()) add("architecture", architecture);
    std::string parameters = reply.parameter_size;
    const std::optional<double> count = InfoNumber(info, "general.parameter_count");
    if (parameters.empty() && count) parameters = ParameterCount(*count);
    if (!parameters.empty()) add("parameters", parameters);
    if (const auto length = InfoNumber(info, architecture + ".context_length"))
      add("context length", WholeNumber(*length));
    if (const auto length = InfoNumber(info, architecture + ".embedding_length"))
      add("embedding length", WholeNumber(*length));
  } else {
    add("architecture", reply.family);
    add("parameters", reply.parameter_size);
  }
  add("quantization", reply.quantization_level);
  if (!reply.requires_version.empty()) add("requires", reply.requires_version);
  return rows;
}

std::vector<TableRow> ProjectorRows(const InfoMap& info) {
  std::vector<TableRow> rows;
  const std::string architecture = InfoText(info, "general.architecture");
  if (!architecture.empty()) rows.push_back({"", "architecture", architecture});
  if (const auto count = InfoNumber(info, "general.parameter_count"))
    rows.push_back({"", "parameters", ParameterCount(*count)});
  const auto add = [&](const char* name, const char* key) {
    auto number = InfoNumber(info, architecture + ".vision." + key);
    if (!number) number = InfoNumber(info, architecture + ".audio." + key);
    if (number) rows.push_back({"", name, internal::GoNumber(*number)});
  };
  add("embedding length", "embedding_length");
  add("dimensions", "projection_dim");
  return rows;
}

std::vector<TableRow> ParameterRows(const std::string& parameters) {
  std::vector<TableRow> rows;
  for (const std::string_view line : Split(parameters, '\n')) {
    TableRow row = {""};
    for (const std::string_view word : Split(line, ' '))
      if (!TrimSpace(word).empty()) row.emplace_back(TrimSpace(word));
    if (row.size() > 1) rows.push_back(std::move(row));
  }
  return rows;
}

// As many items as fit into about ten columns.
std::string ArrayText(const InfoArray& array) {
  constexpr int kTargetWidth = 10;
  int width = 1;
  std::size_t n_shown = 0;
  std::string text = "[";
  for (const std::string& item : array.items) {
    const int item_width = TextWidth(item) + (n_shown > 0 ? 2 : 0);
    if (n_shown > 0 && width + item_width > kTargetWidth) break;
    width += item_width;
    text += (n_shown > 0 ? " " : "") + item;
    ++n_shown;
  }
  if (n_shown < array.items.size())
    text += " ...+" + std::to_string(array.items.size() - n_shown) + " more";
  return text + "]";
}

std::string ValueText(const InfoValue& value) {
  if (const auto* is_true = std::get_if<bool>(&value)) return *is_true ? "true" : "false";
  if (const auto* number = std::get_if<double>(&value)) return internal::GoNumber(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* array = std::get_if<InfoArray>(&value)) return ArrayText(*array);
  return "<nil>";
}

std::vector<TableRow> TensorRows(const std::vector<TensorRow>& tensors) {
  std::vector<TableRow> rows;
  for (const TensorRow& tensor : tensors) {
    std::string shape;
    for (const std::int64_t n : tensor.shape)
      shape += (shape.empty() ? "" : " ") + std::to_string(n);
    rows.push_back({"", tensor.name, tensor.type, "[" + shape + "]"});
  }
  return rows;
}

// The first two lines that are not blank.
std::vector<TableRow> HeadRows(const std::string& text) {
  constexpr std::size_t kMostLines = 2;
  std::vector<TableRow> rows;
  for (const std::string_view raw : Split(text, '\n')) {
    const std::string_view line = TrimSpace(raw);
    if (line.empty()) continue;
    if (rows.size() == kMostLines) {
      rows.push_back({"", "..."});
      break;
    }
    rows.push_back({"", std::string(line)});
  }
  return rows;
}

}  // namespace

std::string HeadedTable(const TableRow& header, const std::vector<TableRow>& rows) {
  Grid grid(kCellWidth);
  for (std::size_t column = 0; column < header.size(); ++column)
    grid.Widen(column, TextWidth(header[column]));
  for (const TableRow& row : rows) grid.AddRow(row);
  std::string out;
  for (std::size_t column = 0; column < header.size(); ++column) {
    out += Padded(header[column], grid.Width(column));
    out += column + 1 < header.size() ? kPadding : " ";
  }
  return out + "\n" + grid.ToString();
}

std::string Section(std::string_view title, const std::vector<TableRow>& rows, int cell_width) {
  Grid grid(cell_width);
  for (const TableRow& row : rows) grid.AddRow(row);
  return "  " + std::string(title) + "\n" + grid.ToString() + "\n";
}

std::string ListTable(const std::vector<ListedModel>& models, std::string_view prefix,
                      Timestamp now) {
  std::vector<TableRow> rows;
  const std::string wanted = ToLowerAscii(prefix);
  for (const ListedModel& model : models) {
    if (!ToLowerAscii(model.name).starts_with(wanted)) continue;
    rows.push_back({model.name, ShortId(model.digest),
                    model.is_remote ? "-" : HumanBytes(model.size_bytes),
                    HumanTime(model.modified_at, now, "Never")});
  }
  return HeadedTable({"NAME", "ID", "SIZE", "MODIFIED"}, rows);
}

std::string ProcessorText(const RunningModel& model) {
  if (model.vram_bytes == 0) return "100% CPU";
  if (model.vram_bytes == model.size_bytes) return "100% GPU";
  if (model.vram_bytes > model.size_bytes || model.size_bytes == 0) return "Unknown";
  const auto cpu_bytes = static_cast<double>(model.size_bytes - model.vram_bytes);
  const auto cpu_percent =
      static_cast<int>(std::round(cpu_bytes / static_cast<double>(model.size_bytes) * 100));
  return std::to_string(cpu_percent) + "%/" + std::to_string(100 - cpu_percent) + "% CPU/GPU";
}

std::string PsTable(const std::vector<RunningModel>& models, std::string_view prefix,
                    Timestamp now) {
  std::vector<TableRow> rows;
  for (const RunningModel& model : models) {
    if (!model.name.starts_with(prefix)) continue;
    const bool is_past = !model.expires_at.IsGoZero() && model.expires_at < now;
    rows.push_back({model.name, ShortId(model.digest), HumanBytes(model.size_bytes),
                    ProcessorText(model), std::to_string(model.context_length),
                    is_past ? "Stopping..." : HumanTime(model.expires_at, now, "Never")});
  }
  return HeadedTable({"NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"}, rows);
}

std::string ShowText(const ShowReply& reply, bool is_verbose) {
  std::string out = Section("Model", ModelRows(reply));
  if (!reply.capabilities.empty()) {
    std::vector<TableRow> rows;
    for (const std::string& capability : reply.capabilities) rows.push_back({"", capability});
    out += Section("Capabilities", rows);
  }
  if (reply.projector_info) out += Section("Projector", ProjectorRows(*reply.projector_info));
  if (!reply.parameters.empty()) out += Section("Parameters", ParameterRows(reply.parameters));
  if (is_verbose && reply.model_info) {
    std::vector<TableRow> rows;
    for (const auto& [key, value] : *reply.model_info) rows.push_back({"", key, ValueText(value)});
    out += Section("Metadata", rows);
  }
  if (is_verbose && !reply.tensors.empty()) out += Section("Tensors", TensorRows(reply.tensors));
  if (!reply.system.empty()) out += Section("System", HeadRows(reply.system), kTextCellWidth);
  if (!reply.license.empty()) out += Section("License", HeadRows(reply.license), kTextCellWidth);
  return out;
}

std::string NumberText(double number) { return internal::GoNumber(number); }

std::string TimingsText(const Timings& timings) {
  std::string out;
  const auto add = [&out](std::string_view name, const std::string& value) {
    constexpr std::size_t kNameWidth = 22;
    std::string line(name);
    line.resize(std::max(kNameWidth, line.size()), ' ');
    out += line + value + "\n";
  };
  const auto add_rate = [&add](std::string_view name, std::int64_t n_tokens,
                               std::chrono::nanoseconds time) {
    std::array<char, 64> text{};
    const double seconds = std::chrono::duration<double>(time).count();
    std::snprintf(text.data(), text.size(), "%.2f tokens/s",
                  static_cast<double>(n_tokens) / seconds);
    add(name, text.data());
  };
  constexpr std::chrono::nanoseconds kZero{0};
  if (timings.total > kZero) add("total duration:", FormatGoDuration(timings.total));
  if (timings.load > kZero) add("load duration:", FormatGoDuration(timings.load));
  if (timings.prompt_tokens > 0)
    add("prompt eval count:", std::to_string(timings.prompt_tokens) + " token(s)");
  if (timings.prompt_eval > kZero) {
    add("prompt eval duration:", FormatGoDuration(timings.prompt_eval));
    add_rate("prompt eval rate:", timings.prompt_tokens, timings.prompt_eval);
  }
  if (timings.eval_tokens > 0)
    add("eval count:", std::to_string(timings.eval_tokens) + " token(s)");
  if (timings.eval > kZero) {
    add("eval duration:", FormatGoDuration(timings.eval));
    add_rate("eval rate:", timings.eval_tokens, timings.eval);
  }
  return out;
}

}  // namespace corral::cli
