// A model's configuration (config.json) with the names that its family may use, checked as it is
// read: everything is a number in range, or an error that names the key.
//
// Source: llama.cpp v0.5.0, conversion/base.py (TextModel). One thread at a time.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "convert/inputs.h"
#include "gguf/header.h"

namespace corral::convert {

class Parameters {
 public:
  // `config` is an object; what its text_config says goes before it, and `defaults` (those of the
  // family in Hugging Face's library, for keys that a configuration leaves out) after it.
  Parameters(Json config, const Json& defaults);

  using Keys = std::initializer_list<std::string_view>;
  // The first of `keys` that is there and not null. Errors: kInvalidArgument (no such number).
  Result<std::optional<std::uint32_t>> Uint(Keys keys) const;
  Result<std::optional<double>> Number(Keys keys) const;
  // Errors: also if it is not there.
  Result<std::uint32_t> NeedUint(Keys keys) const;
  Result<double> NeedNumber(Keys keys) const;
  std::optional<bool> Flag(std::string_view key) const;
  // Null if there is none.
  const Json* Find(std::string_view key) const;

  // rope_parameters or rope_scaling with what the configuration says beside them; for the layers
  // with full attention.
  const Json& rope() const { return rope_; }
  // The base of the layers with a sliding window, if it is another.
  std::optional<double> local_rope_theta() const { return local_rope_theta_; }

 private:
  void ReadRope();

  Json config_;
  Json rope_;
  std::optional<double> local_rope_theta_;
};

// What all families share, as keys of `architecture`; in llama.cpp's order. Errors:
// kInvalidArgument.
Status SetCommonKeys(const Parameters& parameters, std::string_view architecture,
                     gguf::Header* header);

// One number of an object like rope(). nullopt: not there, or no number.
std::optional<double> NumberOf(const Json& object, std::string_view key);
std::string TextOf(const Json& object, std::string_view key);  // "": not there, or no text

}  // namespace corral::convert
