#include "engine/llama/tool_finder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <utility>

#include "core/json_text.h"
#include "engine/think_splitter.h"

namespace corral::engine {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kBlanks = " \t\r\n";
constexpr int kDeepest = 64;  // of objects in each other that are searched for arguments

std::optional<Json> ParseJson(std::string_view text) {
  Json parsed = Json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return std::nullopt;
  return parsed;
}

struct Found {
  Json object;
  std::size_t end = 0;  // behind it
};

// The first whole object that ends behind `least`. Braces in strings do not count.
std::optional<Found> FindObject(std::string_view text, std::size_t least) {
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"' && depth > 0) {
      i = SkipJsonString(text, i);
      continue;
    }
    if (c == '{' && depth++ == 0) begin = i;
    if (c == '}' && depth > 0 && --depth == 0 && i >= least) {
      auto object = ParseJson(text.substr(begin, i + 1 - begin));
      if (object && object->is_object()) return Found{*std::move(object), i + 1};
    }
    ++i;
  }
  return std::nullopt;
}

// An object, or a text that holds one.
std::optional<Json> AsObject(const Json& value) {
  if (value.is_object()) return value;
  if (!value.is_string()) return std::nullopt;
  auto parsed = ParseJson(value.get_ref<const std::string&>());
  return parsed && parsed->is_object() ? parsed : std::nullopt;
}

// `arguments`, `parameters` or the tool's own name, here or deeper.
std::optional<Json> FindArguments(const Json& value, const std::string& name, int depth) {
  if (depth > kDeepest) return std::nullopt;
  if (value.is_object()) {
    for (const std::string& key : {std::string("arguments"), std::string("parameters"), name}) {
      const auto at = value.find(key);
      if (at == value.end()) continue;
      if (auto object = AsObject(*at)) return object;
    }
  }
  if (!value.is_object() && !value.is_array()) return std::nullopt;
  for (const Json& inner : value) {
    if (auto found = FindArguments(inner, name, depth + 1)) return found;
  }
  return std::nullopt;
}

}  // namespace

std::string MakeCallId() {
  static constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  static thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id = "call_";
  for (int i = 0; i < 8; ++i)
    id += kAlphabet[std::uniform_int_distribution<std::size_t>(0, kAlphabet.size() - 1)(random)];
  return id;
}

std::vector<std::string> ToolNames(const std::string& tools_json) {
  std::vector<std::string> names;
  const auto tools = ParseJson(tools_json);
  if (!tools || !tools->is_array()) return names;
  for (const Json& tool : *tools) {
    if (!tool.is_object() || !tool.contains("function")) continue;
    const Json& function = tool.at("function");
    if (!function.is_object() || !function.contains("name")) continue;
    if (const Json& name = function.at("name"); name.is_string() && name != "")
      names.push_back(name);
  }
  return names;
}

ToolFinder::ToolFinder(std::string mark, std::vector<std::string> names)
    : mark_(std::move(mark)), names_([&names] {
        std::stable_sort(names.begin(), names.end(),
                         [](const auto& a, const auto& b) { return a.size() > b.size(); });
        return std::move(names);
      }()) {}

bool ToolFinder::FindMark(Piece* piece) {
  if (IsBare()) {
    const std::size_t begin = buffer_.find_first_not_of(kBlanks);
    if (begin == std::string::npos) return false;
    is_plain_ = buffer_[begin] != mark_[0];
    if (is_plain_) piece->text += std::exchange(buffer_, {});
    return !is_plain_;
  }
  const std::size_t at = buffer_.find(mark_);
  if (at != std::string::npos) {
    piece->text += buffer_.substr(0, at);
    buffer_.erase(0, at);
    return true;
  }
  // White space in front of a mark that has begun waits with it.
  const std::size_t n_shown = buffer_.size() - BegunMark(buffer_, mark_);
  piece->text += buffer_.substr(0, n_shown);
  buffer_.erase(0, n_shown);
  return false;
}

bool ToolFinder::TakeCall(Piece* piece) {
  const std::string_view text = buffer_;
  const std::string* name = nullptr;
  std::size_t name_at = std::string_view::npos;
  for (const std::string& one : names_) {
    const std::size_t at = text.find(one);
    if (at >= name_at) continue;  // the earliest; of several there, the longest, which came first
    name = &one;
    name_at = at;
  }
  if (name == nullptr) return false;
  const auto found = FindObject(text, name_at);
  if (!found) return false;
  if (const auto said = found->object.find("name");
      said != found->object.end() && said->is_string()) {
    const auto known = std::find(names_.begin(), names_.end(), said->get<std::string>());
    if (known != names_.end()) name = &*known;
  }
  ToolCall call;
  call.id = MakeCallId();
  call.name = *name;
  call.index = n_calls_++;
  call.arguments_json = FindArguments(found->object, *name, 0)
                            .value_or(found->object)
                            .dump(-1, ' ', false, Json::error_handler_t::replace);
  piece->tool_calls.push_back(std::move(call));
  buffer_.erase(0, found->end);
  return true;
}

void ToolFinder::TakeRest(Piece* piece) {
  const std::size_t at = buffer_.find_first_not_of(" \t\r\n],;");
  if (at == std::string::npos || buffer_[at] == '{' || buffer_[at] == '[') return;
  is_plain_ = true;
  piece->text += buffer_.substr(at);
  buffer_.clear();
}

void ToolFinder::Add(std::string_view text, Piece* piece) {
  if (is_plain_) {
    piece->text += text;
    return;
  }
  buffer_ += text;
  if (!has_mark_) has_mark_ = FindMark(piece);
  if (!has_mark_) return;
  if (text.find('}') != std::string_view::npos) {
    while (TakeCall(piece)) {
    }
  }
  if (IsBare() && n_calls_ > 0) TakeRest(piece);
}

void ToolFinder::Finish(Piece* piece) {
  // What closes a call (`</tool_call>`, `]`) is no answer; the beginning of another one is.
  if (n_calls_ > 0) {
    const std::size_t half =
        std::min(IsBare() ? std::string::npos : buffer_.find(mark_), buffer_.find('{'));
    buffer_.erase(0, std::min(half, buffer_.size()));
  }
  piece->text += std::exchange(buffer_, {});
}

}  // namespace corral::engine
