// Writes JSON text in the order it is told, with Go's number forms, so that answers look like
// Ollama's field by field.
//
//   JsonWriter w;
//   w.BeginObject().Field("model", name).Field("done", true).EndObject();
//   w.Take();   // {"model":"x","done":true}
//
// Strings are made valid UTF-8 (U+FFFD for broken bytes). The caller keeps the nesting right. Not
// thread-safe.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace corral::api {

class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view key);

  JsonWriter& Value(std::string_view text);
  JsonWriter& Value(const char* text) { return Value(std::string_view(text)); }
  JsonWriter& Value(bool value);
  template <std::integral Integer>
  requires(!std::same_as<Integer, bool>) JsonWriter& Value(Integer value) {
    Comma();
    out_ += std::to_string(value);
    return *this;
  }
  // Shortest digits that give the same float (or double) again; exponents below 1e-6 and from 1e21,
  // as encoding/json. Not finite: null.
  JsonWriter& Value(float value);
  JsonWriter& Value(double value);
  JsonWriter& Null() { return Raw("null"); }
  // JSON text as it is.
  JsonWriter& Raw(std::string_view json);

  template <class T>
  JsonWriter& Field(std::string_view key, const T& value) {
    return Key(key).Value(value);
  }
  // Go's omitempty.
  JsonWriter& FieldUnlessEmpty(std::string_view key, std::string_view value) {
    return value.empty() ? *this : Field(key, value);
  }
  JsonWriter& FieldUnlessZero(std::string_view key, std::int64_t value) {
    return value == 0 ? *this : Field(key, value);
  }

  std::string Take() { return std::move(out_); }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void Comma();

  std::string out_;
  bool needs_comma_ = false;
};

// "text" with JSON's escapes, appended to `out`.
void AppendJsonString(std::string_view text, std::string* out);

}  // namespace corral::api
