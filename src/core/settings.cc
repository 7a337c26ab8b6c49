#include "core/settings.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "core/internal/setting_row.h"
#include "core/text.h"

namespace corral {
namespace {

using internal::SettingInput;
using internal::SettingRow;
using internal::SettingRows;

constexpr std::uint16_t kDefaultPort = 11434;
constexpr std::string_view kPrefixes[] = {"OLLAMA_", "CORRAL_"};

// The part after OLLAMA_ or CORRAL_; nullopt for other names.
std::optional<std::string_view> AfterPrefix(std::string_view name) {
  for (const std::string_view prefix : kPrefixes) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return std::nullopt;
}

// Levenshtein's distance.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

const SettingRow* FindRow(std::string_view name) {
  for (const SettingRow& row : SettingRows()) {
    if (row.info.name == name) return &row;
  }
  return nullptr;
}

// The known name that `unknown` was probably meant to be; empty if none is near.
std::string_view NearestName(std::string_view unknown) {
  const auto wanted = AfterPrefix(unknown);
  constexpr std::size_t kLongestName = 64;  // a longer one is no slip of the finger
  if (!wanted || wanted->size() > kLongestName) return {};
  std::string_view nearest;
  std::size_t best = std::max<std::size_t>(2, wanted->size() / 3) + 1;
  for (const SettingRow& row : SettingRows()) {
    const auto known = AfterPrefix(row.info.name);
    if (!known || !row.info.is_used) continue;
    // Among equals the one with the same prefix wins.
    const bool has_same_prefix = row.info.name.substr(0, 7) == unknown.substr(0, 7);
    const std::size_t distance = EditDistance(*wanted, *known);
    if (distance < best || (distance == best && has_same_prefix && !nearest.empty())) {
      best = distance;
      nearest = row.info.name;
    }
  }
  return nearest;
}

// Kubernetes (and Docker's old links) put variables into a container for every service beside it.
// One named "ollama" gives OLLAMA_SERVICE_HOST, OLLAMA_PORT_11434_TCP and so on, and
// OLLAMA_PORT=tcp://10.0.0.1:11434: nobody's settings.
bool IsServiceLinkName(std::string_view after_prefix) {
  return after_prefix == "PORT" || after_prefix.starts_with("PORT_") ||
         after_prefix.starts_with("SERVICE_");
}
bool IsServiceLink(std::string_view value) { return value.find("://") != std::string_view::npos; }

void ReadAddresses(const Environment& environment, Settings& settings,
                   std::vector<std::string>* warnings) {
  const auto read = [&environment](std::string_view name) {
    return CleanValue(environment(name).value_or(""));
  };
  const auto parse = [warnings](std::string_view name, const std::string& value,
                                std::uint16_t default_port) {
    std::string warning;
    Host host = ParseHost(value, default_port, &warning);
    if (!warning.empty() && warnings != nullptr)
      warnings->push_back(std::string(name) + ": " + warning);
    return host;
  };
  std::uint16_t port = kDefaultPort;
  if (std::string value = read("OLLAMA_PORT"); !value.empty() && !IsServiceLink(value)) {
    SettingInput(FindRow("OLLAMA_PORT")->info, std::move(value), settings, warnings).Port(port);
  }
  const std::string host = read("OLLAMA_HOST");
  settings.host = parse("OLLAMA_HOST", host, port);
  settings.client_host = settings.host;
  if (const std::string url = read("OLLAMA_BASE_URL"); host.empty() && !url.empty()) {
    settings.client_host = parse("OLLAMA_BASE_URL", url, kDefaultPort);
  }
}

void WarnOfNames(std::span<const std::string> names, std::vector<std::string>& warnings) {
  for (const std::string& name : names) {
    const auto after_prefix = AfterPrefix(name);
    if (!after_prefix || IsServiceLinkName(*after_prefix)) continue;
    const SettingRow* row = FindRow(name);
    if (row == nullptr) {
      const std::string_view nearest = NearestName(name);
      warnings.push_back("unknown environment variable " + GoQuote(name) +
                         (nearest.empty() ? "" : ", did you mean " + std::string(nearest) + "?"));
    } else if (!row->info.is_used) {
      warnings.push_back("environment variable " + name + " has no effect in Corral");
    }
  }
}

}  // namespace

std::string CleanValue(std::string_view raw) {
  std::string_view value = TrimSpace(raw);
  const auto is_quote = [](char c) { return c == '"' || c == '\''; };
  while (!value.empty() && is_quote(value.front())) value.remove_prefix(1);
  while (!value.empty() && is_quote(value.back())) value.remove_suffix(1);
  return std::string(value);
}

bool ParseBool(std::string_view clean, bool fallback) {
  if (clean.empty()) return fallback;
  return clean != "0" && clean != "f" && clean != "F" && clean != "FALSE" && clean != "false" &&
         clean != "False";
}

Result<std::uint64_t> ParseSize(std::string_view text) {
  const auto invalid = [text] {
    return Fail(Code::kInvalidArgument, "invalid size " + GoQuote(text));
  };
  const std::string_view trimmed = TrimSpace(text);
  const std::size_t n_number = std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  const std::string_view number = trimmed.substr(0, n_number);
  std::string unit = ToLowerAscii(TrimSpace(trimmed.substr(n_number)));
  if (unit.ends_with("ib") && unit.size() == 3) unit.resize(1);
  if (unit.ends_with("b") && unit.size() <= 2) unit.pop_back();
  constexpr std::string_view kUnits = "kmgt";
  unsigned shift = 0;
  if (!unit.empty()) {
    const std::size_t index = unit.size() == 1 ? kUnits.find(unit[0]) : std::string_view::npos;
    if (index == std::string_view::npos) return invalid();
    shift = 10 * (static_cast<unsigned>(index) + 1);
  }
  const std::size_t point = number.find('.');
  const auto whole = ParseUint(number.substr(0, point));
  if (!whole || *whole > (UINT64_MAX >> shift)) return invalid();
  std::uint64_t bytes = *whole << shift;
  if (point != std::string_view::npos) {
    const std::string_view digits = number.substr(point + 1);
    const auto fraction = ParseUint(digits);
    if (!fraction || digits.size() > 9) return invalid();
    const double share =
        static_cast<double>(*fraction) / std::pow(10.0, static_cast<double>(digits.size()));
    const auto more = static_cast<std::uint64_t>(share * static_cast<double>(1ULL << shift));
    if (bytes > UINT64_MAX - more) return invalid();
    bytes += more;
  }
  return bytes;
}

std::span<const SettingInfo> SettingTable() {
  static const std::vector<SettingInfo> kTable = [] {
    std::vector<SettingInfo> infos;
    for (const SettingRow& row : SettingRows()) infos.push_back(row.info);
    return infos;
  }();
  return kTable;
}

Environment ProcessEnvironment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

std::vector<std::string> ProcessEnvironmentNames() {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    names.emplace_back(text.substr(0, text.find('=')));
  }
  return names;
}

Settings ReadSettings(const Environment& environment, std::span<const std::string> names,
                      std::vector<std::string>* warnings) {
  Settings settings;
  for (const SettingRow& row : SettingRows()) {
    if (row.apply == nullptr) continue;
    std::string value = CleanValue(environment(row.info.name).value_or(""));
    if (value.empty()) continue;  // as if it were not set
    SettingInput input(row.info, std::move(value), settings, warnings);
    row.apply(input);
  }
  ReadAddresses(environment, settings, warnings);
  if (settings.ca_file.empty())
    settings.ca_file = CleanValue(environment("SSL_CERT_FILE").value_or(""));
  const std::string home = environment("HOME").value_or("");
  if (!home.empty()) {
    settings.signing_key = home + "/.ollama/id_ed25519";
    if (settings.registry_auth.empty()) settings.registry_auth = home + "/.docker/config.json";
  }
  if (settings.models.empty()) {
    if (!home.empty()) {
      settings.models = home + "/.ollama/models";
    } else if (warnings != nullptr) {
      warnings->push_back("HOME is not set: set OLLAMA_MODELS to the folder of the models");
    }
  }
  if (warnings != nullptr) WarnOfNames(names, *warnings);
  return settings;
}

}  // namespace corral
