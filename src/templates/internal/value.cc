#include "templates/internal/value.h"

#include <algorithm>

#include "templates/internal/failure.h"

namespace corral::templates::internal {

const Value* Map::Find(std::string_view key) const {
  const auto found =
      std::lower_bound(entries.begin(), entries.end(), key,
                       [](const auto& entry, std::string_view name) { return entry.first < name; });
  return found != entries.end() && found->first == key ? &found->second : nullptr;
}

const Value* Object::Find(std::string_view name) const {
  const auto& names = FieldNames(type);
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? nullptr : &fields[static_cast<std::size_t>(found - names.begin())];
}

bool Value::IsTrue() const {
  if (const auto* value = AsBool()) return *value;
  if (const auto* value = AsInt()) return *value != 0;
  if (const auto* value = AsFloat()) return *value != 0;
  if (const auto* value = AsString()) return !value->empty();
  if (const auto* value = AsList()) return value->size > 0;
  if (const auto* value = AsMap()) return !value->entries.empty();
  return AsObject() != nullptr;
}

std::string_view Value::TypeName() const {
  if (AsBool() != nullptr) return "bool";
  if (AsInt() != nullptr) return "int";
  if (AsFloat() != nullptr) return "float64";
  if (AsString() != nullptr) return "string";
  if (const auto* list = AsList()) {
    switch (list->type) {
      case ListType::kAny:
        return "[]interface {}";
      case ListType::kMessages:
        return "[]*template.templateMessage";
      case ListType::kImages:
        return "[]api.ImageData";
      case ListType::kToolCalls:
        return "[]template.templateToolCall";
      case ListType::kTools:
        return "template.templateTools";
      case ListType::kStrings:
        return "[]string";
      case ListType::kPropertyType:
        return "api.PropertyType";
      case ListType::kProperties:
        return "[]api.ToolProperty";
    }
  }
  if (const auto* map = AsMap()) {
    switch (map->type) {
      case MapType::kAny:
        return "map[string]interface {}";
      case MapType::kArguments:
        return "template.templateArgs";
      case MapType::kProperties:
        return "template.templateProperties";
    }
  }
  if (const auto* object = AsObject()) {
    switch (object->type) {
      case ObjectType::kMessage:
        return "*template.templateMessage";
      case ObjectType::kImage:
        return "api.ImageData";
      case ObjectType::kToolCall:
        return "template.templateToolCall";
      case ObjectType::kCallFunction:
        return "template.templateToolCallFunction";
      case ObjectType::kTool:
        return "template.templateTool";
      case ObjectType::kToolFunction:
        return "template.templateToolFunction";
      case ObjectType::kParameters:
        return "template.templateToolFunctionParameters";
      case ObjectType::kProperty:
        return "api.ToolProperty";
    }
  }
  return "<nil>";
}

const std::vector<std::string_view>& FieldNames(ObjectType type) {
  using Names = std::vector<std::string_view>;
  static const Names kMessage = {"Role",      "Content",  "Thinking",  "Images",
                                 "ToolCalls", "ToolName", "ToolCallID"};
  static const Names kImage;
  static const Names kToolCall = {"ID", "Function"};
  static const Names kCallFunction = {"Index", "Name", "Arguments"};
  static const Names kTool = {"Type", "Items", "Function"};
  static const Names kToolFunction = {"Name", "Description", "Parameters"};
  static const Names kParameters = {"Type", "Defs", "Items", "Required", "Properties"};
  static const Names kProperty = {"AnyOf", "Type",       "Items",   "Description",
                                  "Enum",  "Properties", "Required"};
  switch (type) {
    case ObjectType::kMessage:
      return kMessage;
    case ObjectType::kImage:
      return kImage;
    case ObjectType::kToolCall:
      return kToolCall;
    case ObjectType::kCallFunction:
      return kCallFunction;
    case ObjectType::kTool:
      return kTool;
    case ObjectType::kToolFunction:
      return kToolFunction;
    case ObjectType::kParameters:
      return kParameters;
    case ObjectType::kProperty:
      return kProperty;
  }
  return kImage;
}

std::string_view Arena::Text(std::string text) {
  if (text.size() > text_left_) Throw(Code::kTooLarge, "the template makes too much text");
  text_left_ -= text.size();
  return texts_.emplace_back(std::move(text));
}

const Map* Arena::Make(Map map) {
  std::stable_sort(map.entries.begin(), map.entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return &maps_.emplace_back(std::move(map));
}

const Object* Arena::Make(Object object) { return &objects_.emplace_back(std::move(object)); }

List Arena::Make(ListType type, std::vector<Value> items) {
  const auto& kept = lists_.emplace_back(std::move(items));
  return List{kept.data(), kept.size(), type, false};
}

}  // namespace corral::templates::internal
