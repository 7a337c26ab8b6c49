#include "templates/internal/functions.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <ctime>
#include <optional>

#include "templates/internal/failure.h"
#include "templates/internal/format.h"
#include "templates/internal/text.h"

namespace corral::templates::internal {
namespace {

using Args = std::vector<Value>;

[[noreturn]] void Refuse(std::string message) { throw CallError{std::move(message)}; }

std::string TypeOf(const Value& value) { return std::string(value.TypeName()); }

std::string TextOf(const Value& value) {
  std::string out;
  AppendText(out, value);
  return out;
}

Value Never(const Args& /*args*/, Arena& /*arena*/) { return {}; }

Value Not(const Args& args, Arena& /*arena*/) { return !args[0].IsTrue(); }

// --- comparison
// --------------------------------------------------------------------------------------------------------

enum class BasicKind : std::uint8_t { kInvalid, kBool, kInt, kFloat, kString };

BasicKind KindOf(const Value& value) {
  if (value.AsBool() != nullptr) return BasicKind::kBool;
  if (value.AsInt() != nullptr) return BasicKind::kInt;
  if (value.AsFloat() != nullptr) return BasicKind::kFloat;
  if (value.AsString() != nullptr) return BasicKind::kString;
  return BasicKind::kInvalid;
}

bool IsNilLike(const Value& value) {
  return value.is_nil() || (value.AsList() != nullptr && value.AsList()->is_nil);
}

// A property's type is a list in Ollama, but templates were written when it was a word: a list of
// one word compares as it.
Value PropertyWord(const Value& value) {
  const List* list = value.AsList();
  return list != nullptr && list->type == ListType::kPropertyType && list->size == 1
             ? list->items[0]
             : value;
}

bool IsEqual(const Value& left, const Value& right) {
  const BasicKind kind = KindOf(left);
  if (kind != KindOf(right)) {
    if (left.is_nil() || right.is_nil()) return false;
    Refuse("incompatible types for comparison: " + TypeOf(left) + " and " + TypeOf(right));
  }
  switch (kind) {
    case BasicKind::kBool:
      return *left.AsBool() == *right.AsBool();
    case BasicKind::kInt:
      return *left.AsInt() == *right.AsInt();
    case BasicKind::kFloat:
      return *left.AsFloat() == *right.AsFloat();
    case BasicKind::kString:
      return *left.AsString() == *right.AsString();
    case BasicKind::kInvalid:
      break;
  }
  if (IsNilLike(left) || IsNilLike(right)) return IsNilLike(left) == IsNilLike(right);
  if (left.Is(ObjectType::kMessage) && right.Is(ObjectType::kMessage))
    return left.AsObject() == right.AsObject();
  Refuse("non-comparable type " + ShortText(right) + ": " + TypeOf(right));
}

bool Eq(const Args& args) {
  if (args.size() < 2) Refuse("missing argument for comparison");
  const Value left = PropertyWord(args[0]);
  for (std::size_t i = 1; i < args.size(); ++i) {
    if (IsEqual(left, PropertyWord(args[i]))) return true;
  }
  return false;
}

bool Less(const Args& args) {
  const BasicKind left = KindOf(args[0]);
  const BasicKind right = KindOf(args[1]);
  if (left == BasicKind::kInvalid || right == BasicKind::kInvalid)
    Refuse("invalid type for comparison");
  if (left != right)
    Refuse("incompatible types for comparison: " + TypeOf(args[0]) + " and " + TypeOf(args[1]));
  switch (left) {
    case BasicKind::kInt:
      return *args[0].AsInt() < *args[1].AsInt();
    case BasicKind::kFloat:
      return *args[0].AsFloat() < *args[1].AsFloat();
    case BasicKind::kString:
      return *args[0].AsString() < *args[1].AsString();
    default:
      Refuse("invalid type for comparison");
  }
}

// --- lists, maps, text
// -------------------------------------------------------------------------------------------------

Value Length(const Args& args, Arena& /*arena*/) {
  const Value& value = args[0];
  if (const auto* text = value.AsString()) return static_cast<std::int64_t>(text->size());
  if (const auto* list = value.AsList()) return static_cast<std::int64_t>(list->size);
  if (const auto* map = value.AsMap()) return static_cast<std::int64_t>(map->entries.size());
  if (value.is_nil()) Refuse("len of nil pointer");
  Refuse("len of type " + TypeOf(value));
}

std::size_t IndexOf(const Value& index, std::size_t limit) {
  if (index.is_nil()) Refuse("cannot index slice/array with nil");
  const std::int64_t* number = index.AsInt();
  if (number == nullptr) Refuse("cannot index slice/array with type " + TypeOf(index));
  if (*number < 0 || static_cast<std::uint64_t>(*number) > limit) {
    Refuse("index out of range: " + std::to_string(*number));
  }
  return static_cast<std::size_t>(*number);
}

Value IndexOnce(const Value& item, const Value& index) {
  if (const auto* list = item.AsList()) {
    const std::size_t at = IndexOf(index, list->size);
    if (at == list->size) Refuse("reflect: slice index out of range");
    return list->items[at];
  }
  if (const auto* text = item.AsString()) {
    const std::size_t at = IndexOf(index, text->size());
    if (at == text->size()) Refuse("reflect: string index out of range");
    return static_cast<std::int64_t>(static_cast<unsigned char>((*text)[at]));
  }
  if (const auto* map = item.AsMap()) {
    if (index.is_nil()) Refuse("value is nil; should be of type string");
    if (index.AsString() == nullptr)
      Refuse("value has type " + TypeOf(index) + "; should be string");
    const Value* found = map->Find(*index.AsString());
    return found == nullptr ? Value() : *found;
  }
  if (item.is_nil()) Refuse("index of nil pointer");
  Refuse("can't index item of type " + TypeOf(item));
}

Value Index(const Args& args, Arena& /*arena*/) {
  if (args[0].is_nil()) Refuse("index of untyped nil");
  Value item = args[0];
  for (std::size_t i = 1; i < args.size(); ++i) item = IndexOnce(item, args[i]);
  return item;
}

Value Slice(const Args& args, Arena& /*arena*/) {
  const Value& item = args[0];
  if (item.is_nil()) Refuse("slice of untyped nil");
  const std::size_t n_indexes = args.size() - 1;
  if (n_indexes > 3) Refuse("too many slice indexes: " + std::to_string(n_indexes));
  const auto* text = item.AsString();
  const auto* list = item.AsList();
  if (text != nullptr && n_indexes == 3) Refuse("cannot 3-index slice a string");
  if (text == nullptr && list == nullptr) Refuse("can't slice item of type " + TypeOf(item));
  const std::size_t size = text != nullptr ? text->size() : list->size;
  std::array<std::size_t, 3> at = {0, size, size};
  for (std::size_t i = 0; i < n_indexes; ++i) at[i] = IndexOf(args[i + 1], size);
  for (std::size_t i = 0; i + 1 < std::max<std::size_t>(n_indexes, 2); ++i) {
    if (at[i] > at[i + 1]) {
      Refuse("invalid slice index: " + std::to_string(at[i]) + " > " + std::to_string(at[i + 1]));
    }
  }
  if (text != nullptr) return text->substr(at[0], at[1] - at[0]);
  List part = *list;
  part.items += at[0];
  part.size = at[1] - at[0];
  return part;
}

Value CallFunction(const Args& args, Arena& /*arena*/) {
  if (args[0].is_nil()) Refuse("call of nil");
  Refuse("non-function of type " + TypeOf(args[0]));
}

// --- text
// --------------------------------------------------------------------------------------------------------------

Value PrintFunction(const Args& args, Arena& arena) { return arena.Text(Print(args)); }
Value PrintLineFunction(const Args& args, Arena& arena) { return arena.Text(PrintLine(args)); }
Value PrintFormatFunction(const Args& args, Arena& arena) {
  return arena.Text(PrintFormat(*args[0].AsString(), Args(args.begin() + 1, args.end())));
}

// What html, js and urlquery work on: all arguments printed, a nil as an action prints it.
std::string Joined(Args args) {
  for (Value& value : args) {
    if (value.is_nil()) value = std::string_view("<no value>");
  }
  return Print(args);
}

Value Html(const Args& args, Arena& arena) {
  std::string out;
  for (const char c : Joined(args)) {
    switch (c) {
      case '\0':
        out += "\uFFFD";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return arena.Text(std::move(out));
}

void AppendUpperHex(std::string& out, std::uint32_t value, int digits) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4)
    out += kHex[(value >> static_cast<unsigned>(shift)) & 15U];
}

Value JavaScript(const Args& args, Arena& arena) {
  const std::string text = Joined(args);
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    const Rune rune = DecodeRune(rest);
    if (rune.value < 0x80) {
      const char c = rest.front();
      if (c == '\\' || c == '\'' || c == '"') {
        out += '\\';
        out += c;
      } else if (rune.value < 0x20 || c == '<' || c == '>' || c == '&' || c == '=') {
        out += "\\u";
        AppendUpperHex(out, static_cast<std::uint32_t>(rune.value), 4);
      } else {
        out += c;
      }
    } else if (IsPrintable(rune.value)) {
      out += rest.substr(0, rune.size);
    } else {
      out += "\\u";
      AppendUpperHex(out, static_cast<std::uint32_t>(rune.value), 4);
    }
    rest.remove_prefix(rune.size);
  }
  return arena.Text(std::move(out));
}

Value UrlQuery(const Args& args, Arena& arena) {
  std::string out;
  for (const char c : Joined(args)) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x80 && IsAlphaNumeric(byte)) || c == '-' || c == '.' || c == '~') {
      out += c;
    } else if (c == ' ') {
      out += '+';
    } else {
      out += '%';
      AppendUpperHex(out, byte, 2);
    }
  }
  return arena.Text(std::move(out));
}

Value JsonFunction(const Args& args, Arena& arena) {
  std::string out;
  AppendJson(out, args[0]);
  return arena.Text(std::move(out));
}

std::string LocalDate(int days_ahead) {
  const std::time_t now = std::time(nullptr);
  std::tm date{};
  localtime_r(&now, &date);
  date.tm_mday += days_ahead;
  date.tm_hour = 12;  // noon: a change of the clocks does not move it to another day
  date.tm_isdst = -1;
  std::mktime(&date);
  std::array<char, 32> text{};
  return std::string(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d", &date));
}

Value CurrentDate(const Args& /*args*/, Arena& arena) { return arena.Text(LocalDate(0)); }
Value YesterdayDate(const Args& /*args*/, Arena& arena) { return arena.Text(LocalDate(-1)); }

std::string_view TypeScriptWord(std::string_view json_type) {
  if (json_type == "string" || json_type == "boolean" || json_type == "null") return json_type;
  if (json_type == "number" || json_type == "integer") return "number";
  if (json_type == "array") return "any[]";
  if (json_type == "object") return "Record<string, any>";
  return "any";
}

std::string TypeScript(const Value& property) {
  if (!property.Is(ObjectType::kProperty)) return "any";
  const Object& object = *property.AsObject();
  const List* any_of = object.Find("AnyOf")->AsList();
  const List* types = any_of->size > 0 ? any_of : object.Find("Type")->AsList();
  std::string out;
  for (std::size_t i = 0; i < types->size; ++i) {
    if (i > 0) out += " | ";
    const Value& type = types->items[i];
    out += type.AsString() != nullptr ? std::string(TypeScriptWord(*type.AsString()))
                                      : TypeScript(type);
  }
  return out.empty() ? "any" : out;
}

Value ToTypeScriptType(const Args& args, Arena& arena) { return arena.Text(TypeScript(args[0])); }

constexpr std::array<Function, 23> kFunctions = {{
    {"and", 1, true, false, Never},
    {"or", 1, true, false, Never},
    {"not", 1, false, false, Not},
    {"eq", 1, true, false, [](const Args& args, Arena&) -> Value { return Eq(args); }},
    {"ne", 2, false, false, [](const Args& args, Arena&) -> Value { return !Eq(args); }},
    {"lt", 2, false, false, [](const Args& args, Arena&) -> Value { return Less(args); }},
    {"le", 2, false, false,
     [](const Args& args, Arena&) -> Value { return Less(args) || Eq(args); }},
    {"gt", 2, false, false,
     [](const Args& args, Arena&) -> Value { return !(Less(args) || Eq(args)); }},
    {"ge", 2, false, false, [](const Args& args, Arena&) -> Value { return !Less(args); }},
    {"len", 1, false, false, Length},
    {"index", 1, true, false, Index},
    {"slice", 1, true, false, Slice},
    {"call", 1, true, false, CallFunction},
    {"print", 0, true, false, PrintFunction},
    {"println", 0, true, false, PrintLineFunction},
    {"printf", 1, true, true, PrintFormatFunction},
    {"html", 0, true, false, Html},
    {"js", 0, true, false, JavaScript},
    {"urlquery", 0, true, false, UrlQuery},
    {"json", 1, false, false, JsonFunction},
    {"currentDate", 0, true, false, CurrentDate},
    {"yesterdayDate", 0, true, false, YesterdayDate},
    {"toTypeScriptType", 1, false, false, ToTypeScriptType},
}};

}  // namespace

const Function* FindFunction(std::string_view name) {
  for (const Function& function : kFunctions) {
    if (function.name == name) return &function;
  }
  return nullptr;
}

std::size_t Cost(const Value& value) {
  const auto* text = value.AsString();
  return text == nullptr ? 1 : 1 + text->size() / 1024;
}

bool FindMethod(const Value& receiver, std::string_view name, Arena& arena, Value& result) {
  if (name == "ToTypeScriptType" && receiver.Is(ObjectType::kProperty)) {
    result = arena.Text(TypeScript(receiver));
    return true;
  }
  if (name != "String") return false;
  const auto* list = receiver.AsList();
  const auto* map = receiver.AsMap();
  const bool has_method = (list != nullptr && (list->type == ListType::kTools ||
                                               list->type == ListType::kPropertyType)) ||
                          (map != nullptr && map->type != MapType::kAny) ||
                          receiver.Is(ObjectType::kTool) || receiver.Is(ObjectType::kToolFunction);
  if (has_method) result = arena.Text(TextOf(receiver));
  return has_method;
}

}  // namespace corral::templates::internal
