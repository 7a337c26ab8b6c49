// What list, ps and show print. Pure: replies in, text out.
//
// The layout is that of Go's tablewriter with Ollama's settings: left aligned, no borders, four
// spaces after every cell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/client.h"
#include "core/timestamp.h"

namespace corral::cli {

using TableRow = std::vector<std::string>;

// A header row, each title padded to its column, the last by one space; then the rows. Cells wrap
// at blanks after 30 columns.
std::string HeadedTable(const TableRow& header, const std::vector<TableRow>& rows);
// Two spaces and `title`, the rows, an empty line. Cells wrap after `cell_width` columns.
std::string Section(std::string_view title, const std::vector<TableRow>& rows, int cell_width = 30);

// `prefix` filters by the beginning of the name, without regard to case; "": all.
std::string ListTable(const std::vector<ListedModel>& models, std::string_view prefix,
                      Timestamp now);
// `prefix` filters by the beginning of the name.
std::string PsTable(const std::vector<RunningModel>& models, std::string_view prefix,
                    Timestamp now);
// "48%/52% CPU/GPU", "100% GPU", "Unknown".
std::string ProcessorText(const RunningModel& model);
// The sections of `show`. Verbose: also all metadata and all tensors.
std::string ShowText(const ShowReply& reply, bool is_verbose);
// A number as Go's %v prints it: 0.7, 4096, 1e+06.
std::string NumberText(double number);
// The lines of --verbose; those that are zero are left out.
std::string TimingsText(const Timings& timings);

}  // namespace corral::cli
