#include "engine/llama/schema_limits.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace corral::engine {
namespace {

Error TooMuch(const std::string& what, const std::string& most) {
  return {Code::kInvalidArgument,
          "the JSON schema in format has " + what + " (at most " + most + ")"};
}

// Reads events, keeps no tree: a bomb is refused at the first value too many.
class Checker final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Checker(const SchemaLimits& limits) : limits_(limits) {}

  const std::optional<Error>& error() const { return error_; }

  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t value) override {
    return Value() && Number(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return Value() && Number(static_cast<double>(value));
  }
  bool number_float(number_float_t value, const string_t&) override {
    return Value() && Number(value);
  }
  bool string(string_t& value) override {
    if (key_ == "pattern") pattern_bytes_ += value.size();
    if (pattern_bytes_ > limits_.pattern_bytes) {
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
    error_ = Error{Code::kInvalidArgument, "the JSON schema in format is not valid JSON (at byte " +
                                               std::to_string(position) + ")"};
    return false;
  }

 private:
  struct Level {
    bool is_choices = false;  // an array whose members are alternatives
    int n_keys = 0;
  };

  bool Refuse(const std::string& what, const std::string& most) {
    error_ = TooMuch(what, most);
    return false;
  }
  bool Value() {
    if (!levels_.empty() && levels_.back().is_choices && ++n_choices_ > limits_.choices) {
      return Refuse("too many choices", std::to_string(limits_.choices));
    }
    if (++n_values_ > limits_.values)
      return Refuse("too many values", std::to_string(limits_.values));
    return true;
  }
  bool Number(double value) {
    if (key_ != "minLength" && key_ != "maxLength" && key_ != "minItems" && key_ != "maxItems")
      return true;
    repetitions_ += std::abs(value);
    if (repetitions_ <= limits_.repetitions) return true;  // false for NaN, too
    return Refuse("too high lengths",
                  std::to_string(static_cast<int>(limits_.repetitions)) + " together");
  }
  bool Open(bool is_array) {
    if (!Value()) return false;
    if (static_cast<int>(levels_.size()) >= limits_.depth) {
      return Refuse("too deep nesting", std::to_string(limits_.depth));
    }
    const bool is_choices =
        is_array && (key_ == "enum" || key_ == "anyOf" || key_ == "oneOf" || key_ == "allOf");
    levels_.push_back({is_choices, 0});
    key_.clear();
    return true;
  }
  bool Close() {
    levels_.pop_back();
    key_.clear();
    return true;
  }

  const SchemaLimits& limits_;
  std::optional<Error> error_;
  std::vector<Level> levels_;
  std::string key_;  // of the value that comes
  int n_values_ = 0;
  int n_choices_ = 0;
  double repetitions_ = 0;
  std::size_t pattern_bytes_ = 0;
};

}  // namespace

Status CheckSchema(std::string_view schema, const SchemaLimits& limits) {
  if (schema.size() > limits.bytes) {
    return Fail(TooMuch(std::to_string(schema.size()) + " bytes", std::to_string(limits.bytes)));
  }
  Checker checker(limits);
  nlohmann::json::sax_parse(schema, &checker);
  if (checker.error()) return Fail(*checker.error());
  return {};
}

}  // namespace corral::engine
