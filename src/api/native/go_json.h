// JSON requests read as Go's encoding/json reads them, with its error texts: clients match on
// these.
//
// Two steps, as in Go. FirstValue checks the syntax of the first value of a body; what follows it
// is ignored. A Decoder then walks the checked text straight into structs: no tree is built, so
// memory stays within a small factor of the body. Source: encoding/json's scanner.go and decode.go
// (Go 1.2x).
//
// Rules: field names match without regard to (ASCII) case, the last of several wins, null is as
// good as absent, unknown fields are skipped, broken UTF-8 becomes U+FFFD. A value of the wrong
// type is remembered and reading goes on (the first such error is reported at the end); an error of
// a field's own format (Abort) ends the reading.
//
// Not thread-safe. A Decoder reads a text that must outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace corral::api {

// Deepest nesting taken. Go stops at 10,000; ours is lower because parts of a request (tools,
// schemas) are read again by libraries that recurse.
inline constexpr int kMaxJsonDepth = 512;

// Most elements of one array. A request of two-byte elements would otherwise take many times its
// size in memory.
inline constexpr std::size_t kMaxJsonElements = 1U << 20U;

// The text of the first JSON value in `body`, a part of `body`.
// Errors: kInvalidArgument "missing request body" (nothing but blanks), "unexpected EOF" (cut
// short), "invalid character 'h' looking for beginning of value" and the like, "exceeded max
// depth".
Result<std::string_view> FirstValue(std::string_view body);

// A checked value without blanks, its strings made valid UTF-8; numbers and the order of keys stay.
std::string CompactJson(std::string_view checked);

enum class JsonKind : std::uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };

class Decoder;
// One field of a struct: its JSON name, and how to read its value. `read` must consume exactly one
// value.
struct JsonField {
  std::string_view name;
  std::function<void(Decoder&)> read;
};

class Decoder {
 public:
  // `checked` is what FirstValue gave.
  explicit Decoder(std::string_view checked) : text_(checked) {}

  // After reading: the error that ended it, else the first value of a wrong type, else ok.
  Status status() const;

  JsonKind kind() const;  // of the value at the cursor

  // Each reads the value at the cursor. null leaves `out` as it is; another kind is remembered as
  // an error, with `go_type`.
  void Read(std::string* out, std::string_view go_type = "string");
  void Read(bool* out);
  void Read(std::optional<bool>* out);
  void Read(std::int64_t* out, std::string_view go_type = "int");
  void Read(int* out);                // the nearest that fits
  void ReadInt32(std::int32_t* out);  // what does not fit is an error
  void Read(std::optional<std::int64_t>* out);
  void Read(float* out);  // what a float32 cannot hold is an error

  // The value's text as it stands; Peek leaves the cursor on it.
  std::string_view ReadRaw();
  std::string_view PeekRaw();
  // Only if kind() is kString, kNumber or kBool.
  std::string TakeString();
  std::string_view TakeNumber();
  bool TakeBool();

  // An object by its fields; null is an object without fields. `go_type` as in Go's texts:
  // "api.ChatRequest".
  void ReadStruct(std::string_view go_type, std::span<const JsonField> fields);
  // Calls `element` for each element with the cursor on it; null is an empty array. False if it was
  // no array.
  bool ReadArray(std::string_view go_type, const std::function<void(Decoder&)>& element);
  // Calls `member` for each key with the cursor on its value; null is an empty map. False if it was
  // no object.
  bool ReadMap(std::string_view go_type,
               const std::function<void(std::string key, Decoder&)>& member);

  // Remembers that the value at the cursor is not a `go_type`, and skips it.
  void SkipWrongType(std::string_view go_type);
  // Ends reading with this text.
  void Abort(std::string message);

 private:
  void SkipBlanks();
  std::string_view TakeToken();  // a string with its quotes, a number or a literal
  std::string WrongType(std::string_view value, std::string_view go_type) const;
  template <class T>
  void ReadInteger(T* out, std::string_view go_type);
  template <class F>
  void EachMember(F&& member);

  std::string_view text_;
  std::size_t at_ = 0;
  std::string_view root_;               // name of the outermost struct
  std::vector<std::string_view> path_;  // fields down to the cursor
  std::optional<std::string> aborted_;
  std::optional<std::string> remembered_;
};

// What a JSON string literal with its quotes stands for.
std::string UnquoteJson(std::string_view literal);

}  // namespace corral::api
