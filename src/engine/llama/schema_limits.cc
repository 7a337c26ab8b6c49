#include "engine/llama/schema_limits.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace corral::engine {
namespace {

constexpr double kTwoTo63 = 9223372036854775808.0;
// Of an integer with one bound llama.cpp's grammar has 16 digits at most.
constexpr std::int64_t kMostOpenBound = 1'000'000'000'000'000;

// Where schemas are: in an array of tools they lie as function.parameters of each.
enum class Place { kFormat, kTools };
constexpr int kLevelsAroundParameters = 3;  // the array, the tool and its function

const char* NameOf(Place place) {
  return place == Place::kFormat ? "the JSON schema in format" : "the JSON schema of a tool";
}

Error TooMuch(Place place, const std::string& what, const std::string& most) {
  return {Code::kInvalidArgument,
          std::string(NameOf(place)) + " has " + what + " (at most " + most + ")"};
}

// Reads events, keeps no tree: a bomb is refused at the first value too many.
class Checker final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Checker(const SchemaLimits& limits, Place place) : limits_(limits), place_(place) {}

  const std::optional<Error>& error() const { return error_; }

  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t value) override {
    NoteBound(value, static_cast<double>(value));
    return Value() && Number(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    const auto number = static_cast<double>(value);
    NoteBound(value > INT64_MAX ? std::nullopt : std::optional(static_cast<std::int64_t>(value)),
              number);
    return Value() && Number(number);
  }
  bool number_float(number_float_t value, const string_t&) override {
    NoteBound(std::nullopt, value);
    return Value() && Number(value);
  }
  bool string(string_t& value) override {
    if (value == "integer" && !levels_.empty()) {
      if (key_ == "type") levels_.back().is_integer = true;
      if (levels_.back().is_types) levels_[levels_.size() - 2].is_integer = true;
    }
    if (key_ == "pattern") counts_.pattern_bytes += value.size();
    if (counts_.pattern_bytes > limits_.pattern_bytes) {
      return Refuse("too long patterns", std::to_string(limits_.pattern_bytes) + " bytes");
    }
    return Value();
  }
  bool binary(binary_t&) override { return Value(); }
  bool start_object(std::size_t) override { return Open(false); }
  bool start_array(std::size_t) override { return Open(true); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& value) override {
    key_ = value;
    if (++levels_.back().n_keys > limits_.properties) {
      return Refuse("an object with too many properties", std::to_string(limits_.properties));
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ =
        Error{Code::kInvalidArgument, std::string(NameOf(place_)) + " is not valid JSON (at byte " +
                                          std::to_string(position) + ")"};
    return false;
  }

 private:
  struct Level {
    bool is_choices = false;  // an array whose members are alternatives
    bool is_types = false;    // the array under "type"
    bool is_integer = false;  // an object whose type is or may be integer
    // Of such an object:
    std::int64_t low = INT64_MIN, high = INT64_MAX;
    std::string large_bound;  // the key of one that no int64 can be
    int n_keys = 0;
  };

  bool Refuse(const std::string& what, const std::string& most) {
    error_ = TooMuch(place_, what, most);
    return false;
  }
  bool Value() {
    if (!levels_.empty() && levels_.back().is_choices && ++counts_.n_choices > limits_.choices) {
      return Refuse("too many choices", std::to_string(limits_.choices));
    }
    if (++counts_.n_values > limits_.values)
      return Refuse("too many values", std::to_string(limits_.values));
    return true;
  }
  bool Number(double value) {
    if (key_ != "minLength" && key_ != "maxLength" && key_ != "minItems" && key_ != "maxItems")
      return true;
    counts_.repetitions += std::abs(value);
    if (counts_.repetitions <= limits_.repetitions) return true;  // false for NaN, too
    return Refuse("too high lengths",
                  std::to_string(static_cast<int>(limits_.repetitions)) + " together");
  }
  // As llama.cpp reads the bounds of an integer (common/json-schema.cpp). `whole`: the value, where
  // it is an int64.
  void NoteBound(std::optional<std::int64_t> whole, double value) {
    const bool is_low = key_ == "minimum" || key_ == "exclusiveMinimum";
    if (!is_low && key_ != "maximum" && key_ != "exclusiveMaximum") return;
    const bool is_exclusive = key_.starts_with("exclusive");
    Level& level = levels_.back();
    if (!whole && std::abs(value) < kTwoTo63)
      whole =
          static_cast<std::int64_t>(is_low == is_exclusive ? std::floor(value) : std::ceil(value));
    if (!whole || (is_exclusive && *whole == (is_low ? INT64_MAX : INT64_MIN))) {
      level.large_bound = key_;
    } else if (is_low) {
      level.low = std::max(level.low, *whole + (is_exclusive ? 1 : 0));
    } else {
      level.high = std::min(level.high, *whole - (is_exclusive ? 1 : 0));
    }
  }
  // Bounds of an integer from which llama.cpp makes no grammar, or one that nothing fits.
  bool CheckBounds(const Level& level) {
    std::string what;
    if (!level.large_bound.empty()) {
      what = "a " + level.large_bound +
             " that does not fit into 64 bits: leave it out, or make the type \"number\"";
    } else if (level.low > level.high) {
      what = "a minimum above its maximum";
    } else if (level.high == INT64_MAX &&
               (level.low >= kMostOpenBound || level.low == -INT64_MAX)) {
      what = "a minimum of more than 15 digits and no maximum: give both";
    } else if (level.low == INT64_MIN && level.high <= -kMostOpenBound) {
      what = "a maximum of more than 15 digits below 0 and no minimum: give both";
    }
    if (what.empty()) return true;
    error_ =
        Error{Code::kInvalidArgument, std::string(NameOf(place_)) + " has an integer with " + what};
    return false;
  }
  bool Open(bool is_array) {
    if (place_ == Place::kTools && levels_.size() == 1) {  // the next tool
      all_values_ += counts_.n_values;
      all_repetitions_ += counts_.repetitions;
      counts_ = {};
      if (all_values_ > limits_.tools * limits_.values)
        return Refuse("too many values before it", std::to_string(limits_.tools * limits_.values));
      if (all_repetitions_ > limits_.tools * limits_.repetitions)
        return Refuse("too high lengths before it",
                      std::to_string(static_cast<int>(limits_.tools * limits_.repetitions)));
    }
    if (!Value()) return false;
    const int n_around = place_ == Place::kTools ? kLevelsAroundParameters : 0;
    if (static_cast<int>(levels_.size()) - n_around >= limits_.depth) {
      return Refuse("too deep nesting", std::to_string(limits_.depth));
    }
    const bool is_choices =
        is_array && (key_ == "enum" || key_ == "anyOf" || key_ == "oneOf" || key_ == "allOf");
    Level level;
    level.is_choices = is_choices;
    level.is_types = is_array && key_ == "type";
    levels_.push_back(std::move(level));
    key_.clear();
    return true;
  }
  bool Close() {
    if (levels_.back().is_integer && !CheckBounds(levels_.back())) return false;
    levels_.pop_back();
    key_.clear();
    return true;
  }

  const SchemaLimits& limits_;
  const Place place_;
  std::optional<Error> error_;
  std::vector<Level> levels_;
  std::string key_;  // of the value that comes
  struct Counts {
    int n_values = 0;
    int n_choices = 0;
    double repetitions = 0;
    std::size_t pattern_bytes = 0;
  } counts_;
  int all_values_ = 0;  // of the tools before this one
  double all_repetitions_ = 0;
};

Status Check(std::string_view json, const SchemaLimits& limits, Place place) {
  Checker checker(limits, place);
  nlohmann::json::sax_parse(json, &checker);
  if (checker.error()) return Fail(*checker.error());
  return {};
}

}  // namespace

Status CheckSchema(std::string_view schema, const SchemaLimits& limits) {
  if (schema.size() > limits.bytes) {
    return Fail(TooMuch(Place::kFormat, std::to_string(schema.size()) + " bytes",
                        std::to_string(limits.bytes)));
  }
  return Check(schema, limits, Place::kFormat);
}

Status CheckTools(std::string_view tools_json, const SchemaLimits& limits) {
  return Check(tools_json, limits, Place::kTools);
}

}  // namespace corral::engine
