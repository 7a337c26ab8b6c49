#include "templates/internal/json.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "templates/internal/failure.h"
#include "templates/internal/format.h"
#include "templates/internal/number.h"
#include "templates/internal/text.h"

namespace corral::templates::internal {
namespace {

// Sorted: templates see the members in the order of their names anyway, and an ordered_json looks
// each name up in linear time.
using Json = nlohmann::json;

Json ParseJson(std::string_view text, const char* what) {
  struct TooDeep {};
  try {
    return Json::parse(text, [](int depth, Json::parse_event_t, Json&) {
      if (depth > kMaxJsonDepth) throw TooDeep{};
      return true;
    });
  } catch (const TooDeep&) {
    Throw(Code::kInvalidArgument, std::string(what) + ": nested too deeply");
  } catch (const Json::exception&) {
    Throw(Code::kInvalidArgument, std::string(what) + ": not valid JSON");
  }
}

class Reader {
 public:
  explicit Reader(Arena& arena) : arena_(arena) {}

  Value Any(const Json& json) {
    switch (json.type()) {
      case Json::value_t::boolean:
        return json.get<bool>();
      case Json::value_t::number_integer:
      case Json::value_t::number_unsigned:
      case Json::value_t::number_float:
        return json.get<double>();
      case Json::value_t::string:
        return String(json);
      case Json::value_t::array:
        return Value(AnyList(json));
      case Json::value_t::object:
        return Value(AnyMap(json, MapType::kAny));
      default:
        return {};
    }
  }

  const Map* AnyMap(const Json& json, MapType type) {
    Map map{type, {}};
    for (const auto& [key, value] : json.items())
      map.entries.emplace_back(arena_.Text(key), Any(value));
    return arena_.Make(std::move(map));
  }

  const Object* Tool(const Json& json) {
    return arena_.Make(
        Object{ObjectType::kTool,
               {StringAt(json, "type"), AnyAt(json, "items"), Function(At(json, "function"))}});
  }

 private:
  static const Json& At(const Json& json, const char* key) {
    static const Json kNull;
    if (!json.is_object()) return kNull;
    const auto found = json.find(key);
    return found == json.end() ? kNull : *found;
  }

  Value String(const Json& json) {
    return arena_.Text(json.is_string() ? json.get<std::string>() : std::string());
  }
  Value StringAt(const Json& json, const char* key) { return String(At(json, key)); }
  Value AnyAt(const Json& json, const char* key) { return Any(At(json, key)); }

  List AnyList(const Json& json) {
    std::vector<Value> items;
    for (const Json& item : json) items.push_back(Any(item));
    return arena_.Make(ListType::kAny, std::move(items));
  }

  List Strings(const Json& json, ListType type) {
    std::vector<Value> items;
    if (json.is_string()) items.push_back(String(json));
    if (json.is_array()) {
      for (const Json& item : json) {
        if (item.is_string()) items.push_back(String(item));
      }
    }
    return arena_.Make(type, std::move(items));
  }

  Value Function(const Json& json) {
    const Json& parameters = At(json, "parameters");
    const Object* schema = arena_.Make(
        Object{ObjectType::kParameters,
               {StringAt(parameters, "type"), AnyAt(parameters, "$defs"),
                AnyAt(parameters, "items"), Strings(At(parameters, "required"), ListType::kStrings),
                Properties(At(parameters, "properties"))}});
    return arena_.Make(
        Object{ObjectType::kToolFunction,
               {StringAt(json, "name"), StringAt(json, "description"), Value(schema)}});
  }

  Value Properties(const Json& json) {
    Map map{MapType::kProperties, {}};
    if (json.is_object()) {
      for (const auto& [key, value] : json.items())
        map.entries.emplace_back(arena_.Text(key), Property(value));
    }
    return arena_.Make(std::move(map));
  }

  Value Property(const Json& json) {
    std::vector<Value> any_of;
    if (const Json& options = At(json, "anyOf"); options.is_array()) {
      for (const Json& option : options) any_of.push_back(Property(option));
    }
    const Json& values = At(json, "enum");
    const Json& properties = At(json, "properties");
    return arena_.Make(
        Object{ObjectType::kProperty,
               {arena_.Make(ListType::kProperties, std::move(any_of)),
                Strings(At(json, "type"), ListType::kPropertyType), AnyAt(json, "items"),
                StringAt(json, "description"),
                values.is_array() ? AnyList(values) : arena_.Make(ListType::kAny, {}),
                properties.is_object() ? Properties(properties) : Value(),
                Strings(At(json, "required"), ListType::kStrings)}});
  }

  Arena& arena_;
};

void AppendJsonString(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    const char32_t code = rune.value;
    constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
    constexpr std::string_view kShortNames = "\"\\bfnrt";
    const std::size_t index =
        code < 0x80 ? kShort.find(static_cast<char>(code)) : std::string_view::npos;
    if (!rune.is_valid) {
      out += "\\ufffd";
    } else if (index != std::string_view::npos) {
      out += '\\';
      out += kShortNames[index];
    } else if (code < 0x20 || code == '<' || code == '>' || code == '&' || code == 0x2028 ||
               code == 0x2029) {
      out += "\\u";
      for (int shift = 12; shift >= 0; shift -= 4)
        out += kHex[(code >> static_cast<unsigned>(shift)) & 15U];
    } else {
      out += text.substr(0, rune.size);
    }
    text.remove_prefix(rune.size);
  }
  out += '"';
}

// The names of an object's members as encoding/json has them; a leading '?' leaves empty ones out.
std::vector<std::string_view> JsonNames(ObjectType type) {
  switch (type) {
    case ObjectType::kTool:
      return {"type", "?items", "function"};
    case ObjectType::kToolFunction:
      return {"name", "description", "parameters"};
    case ObjectType::kParameters:
      return {"type", "?$defs", "?items", "?required", "properties"};
    case ObjectType::kProperty:
      return {"?anyOf", "?type", "?items", "?description", "?enum", "?properties", "?required"};
    default:
      return FieldNames(type);
  }
}

bool IsEmptyForJson(const Value& value) {
  if (const auto* list = value.AsList()) return list->size == 0;
  if (const auto* text = value.AsString()) return text->empty();
  return value.is_nil();
}

void AppendJsonList(std::string& out, const List& list) {
  if (list.is_nil) {
    out += "null";
  } else if (list.type == ListType::kPropertyType && list.size == 1) {
    AppendJson(out, list.items[0]);
  } else {
    out += '[';
    for (std::size_t i = 0; i < list.size; ++i) {
      if (i > 0) out += ',';
      AppendJson(out, list.items[i]);
    }
    out += ']';
  }
}

}  // namespace

List ReadTools(std::string_view json, Arena& arena) {
  const Json parsed = ParseJson(json, "tools");
  if (!parsed.is_array()) Throw(Code::kInvalidArgument, "tools: not an array");
  std::vector<Value> tools;
  Reader reader(arena);
  for (const Json& tool : parsed) tools.emplace_back(reader.Tool(tool));
  return arena.Make(ListType::kTools, std::move(tools));
}

const Map* ReadArguments(std::string_view json, Arena& arena) {
  const Json parsed = ParseJson(json.empty() ? "{}" : json, "arguments of a tool call");
  if (parsed.is_null()) return arena.Make(Map{MapType::kArguments, {}});
  if (!parsed.is_object()) Throw(Code::kInvalidArgument, "arguments of a tool call: not an object");
  return Reader(arena).AnyMap(parsed, MapType::kArguments);
}

void AppendJson(std::string& out, const Value& value) {
  CheckSize(out);
  if (const auto* is = value.AsBool()) {
    out += *is ? "true" : "false";
  } else if (const auto* number = value.AsInt()) {
    out += std::to_string(*number);
  } else if (const auto* real = value.AsFloat()) {
    out += FormatJsonFloat(*real);
  } else if (const auto* text = value.AsString()) {
    AppendJsonString(out, *text);
  } else if (const auto* list = value.AsList()) {
    AppendJsonList(out, *list);
  } else if (const auto* map = value.AsMap()) {
    out += '{';
    for (const auto& [key, part] : map->entries) {
      if (out.back() != '{') out += ',';
      AppendJsonString(out, key);
      out += ':';
      AppendJson(out, part);
    }
    out += '}';
  } else if (const auto* object = value.AsObject()) {
    const auto names = JsonNames(object->type);
    out += '{';
    for (std::size_t i = 0; i < names.size(); ++i) {
      const bool may_omit = names[i].starts_with('?');
      if (may_omit && IsEmptyForJson(object->fields[i])) continue;
      if (out.back() != '{') out += ',';
      AppendJsonString(out, names[i].substr(may_omit ? 1 : 0));
      out += ':';
      AppendJson(out, object->fields[i]);
    }
    out += '}';
  } else {
    out += "null";
  }
}

}  // namespace corral::templates::internal
