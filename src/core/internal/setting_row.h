// The inside of the settings table: a row and how its value gets into a Settings.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/settings.h"

namespace corral::internal {

// One variable that is set: its cleaned text, and where it goes.
class SettingInput {
 public:
  SettingInput(const SettingInfo& info, std::string value, Settings& out,
               std::vector<std::string>* warnings)
      : settings(out), info_(info), value_(std::move(value)), warnings_(warnings) {}

  const std::string& value() const { return value_; }

  // Each stores the value, or warns and leaves the target as it is.
  void Bool(bool& target);
  void OptionalBool(std::optional<bool>& target);
  void Uint(std::uint64_t& target);
  void Port(std::uint16_t& target);
  void Size(std::uint64_t& target);
  // A Go duration or whole seconds. True if it was one.
  bool Duration(std::chrono::nanoseconds& target);
  void List(std::vector<std::string>& target);  // split at commas, trimmed, no empty parts
  // One of `allowed`, in any case, stored in lower case.
  void Choice(std::string& target, std::span<const std::string_view> allowed);

  // "invalid environment variable, using default: NAME="value" (why), default X".
  void WarnInvalid(std::string_view why);
  // "NAME="value" what".
  void Warn(std::string_view what);

  Settings& settings;

 private:
  const SettingInfo& info_;
  std::string value_;
  std::vector<std::string>* warnings_;
};

struct SettingRow {
  SettingInfo info;
  // Null: no effect, or read by name in ReadSettings (the addresses, which depend on each other).
  void (*apply)(SettingInput& input) = nullptr;
};
std::span<const SettingRow> SettingRows();

}  // namespace corral::internal
