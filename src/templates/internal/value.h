// What a template computes with: a small variant in the place of Go's reflect.Value.
//
// Values are cheap to copy and own nothing: text, lists, maps and objects live in an Arena, in the
// RenderInput or in the template, all of which outlive the rendering. Types carry the names that
// Ollama's Go types have, because error texts show them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace corral::templates::internal {

class Value;

enum class ListType : std::uint8_t {
  kAny,           // []interface {}: an array of JSON
  kMessages,      // []*template.templateMessage
  kImages,        // []api.ImageData
  kToolCalls,     // []template.templateToolCall
  kTools,         // template.templateTools: prints as JSON
  kStrings,       // []string
  kPropertyType,  // api.PropertyType: prints as its only word
  kProperties,    // []api.ToolProperty
};

enum class MapType : std::uint8_t {
  kAny,         // map[string]interface {}: the root data, an object of JSON
  kArguments,   // template.templateArgs: prints as JSON
  kProperties,  // template.templateProperties: prints as JSON
};

// Structs, with the names of their fields in order (FieldNames).
enum class ObjectType : std::uint8_t {
  kMessage,       // *template.templateMessage
  kImage,         // api.ImageData; its bytes stay out of templates
  kToolCall,      // template.templateToolCall
  kCallFunction,  // template.templateToolCallFunction
  kTool,          // template.templateTool: prints as JSON, as the next three
  kToolFunction,  // template.templateToolFunction
  kParameters,    // template.templateToolFunctionParameters
  kProperty,      // api.ToolProperty
};

struct List {
  const Value* items = nullptr;
  std::size_t size = 0;
  ListType type = ListType::kAny;
  bool is_nil = false;
};

struct Map {
  MapType type = MapType::kAny;
  std::vector<std::pair<std::string_view, Value>> entries;  // sorted by key, bytewise

  const Value* Find(std::string_view key) const;
};

struct Object {
  ObjectType type = ObjectType::kMessage;
  std::vector<Value> fields;  // as FieldNames(type)

  const Value* Find(std::string_view name) const;
};

class Value {
 public:
  Value() = default;  // nil
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string_view value) : data_(value) {}
  Value(List value) : data_(value) {}
  Value(const Map* value) : data_(value) {}
  Value(const Object* value) : data_(value) {}
  template <class T>
  Value(T) = delete;  // no silent conversions

  bool is_nil() const { return std::holds_alternative<std::monostate>(data_); }
  // Null unless the value is of that kind.
  const bool* AsBool() const { return std::get_if<bool>(&data_); }
  const std::int64_t* AsInt() const { return std::get_if<std::int64_t>(&data_); }
  const double* AsFloat() const { return std::get_if<double>(&data_); }
  const std::string_view* AsString() const { return std::get_if<std::string_view>(&data_); }
  const List* AsList() const { return std::get_if<List>(&data_); }
  const Map* AsMap() const { return Get<const Map*>(); }
  const Object* AsObject() const { return Get<const Object*>(); }
  bool Is(ObjectType type) const { return AsObject() != nullptr && AsObject()->type == type; }
  std::size_t kind() const { return data_.index(); }

  // Go's truth: false, 0, nil, "" and empty lists and maps are false; an object is true.
  bool IsTrue() const;
  // As %T prints it.
  std::string_view TypeName() const;

 private:
  template <class Pointer>
  Pointer Get() const {
    const Pointer* found = std::get_if<Pointer>(&data_);
    return found == nullptr ? nullptr : *found;
  }

  std::variant<std::monostate, bool, std::int64_t, double, std::string_view, List, const Map*,
               const Object*>
      data_;
};

const std::vector<std::string_view>& FieldNames(ObjectType type);

// Owns what a rendering makes. Throws Failure (kTooLarge) once its text grows past the limit.
class Arena {
 public:
  explicit Arena(std::size_t max_text_bytes) : text_left_(max_text_bytes) {}

  std::string_view Text(std::string text);
  const Map* Make(Map map);
  const Object* Make(Object object);
  List Make(ListType type, std::vector<Value> items);

 private:
  std::size_t text_left_;
  std::deque<std::string> texts_;
  std::deque<Map> maps_;
  std::deque<Object> objects_;
  std::deque<std::vector<Value>> lists_;
};

}  // namespace corral::templates::internal
