#include "engine/llama/format_wire.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace corral::engine {
namespace {

using Json = nlohmann::json;

Json ToJson(const ToolCall& call) {
  return {{"id", call.id}, {"name", call.name}, {"arguments", call.arguments_json}};
}
ToolCall ToolCallFrom(const Json& json) {
  ToolCall call;
  call.id = json.at("id");
  call.name = json.at("name");
  call.arguments_json = json.at("arguments");
  return call;
}

Json ToJson(const ChatMessage& message) {
  Json calls = Json::array();
  for (const ToolCall& call : message.tool_calls) calls.push_back(ToJson(call));
  return {{"role", message.role},           {"content", message.content},
          {"thinking", message.thinking},   {"tool_calls", std::move(calls)},
          {"tool_name", message.tool_name}, {"tool_call_id", message.tool_call_id}};
}
ChatMessage MessageFrom(const Json& json) {
  ChatMessage message;
  message.role = json.at("role");
  message.content = json.at("content");
  message.thinking = json.at("thinking");
  for (const Json& call : json.at("tool_calls")) message.tool_calls.push_back(ToolCallFrom(call));
  message.tool_name = json.at("tool_name");
  message.tool_call_id = json.at("tool_call_id");
  return message;
}

FormatRequest RequestFrom(const Json& json) {
  FormatRequest request;
  request.kind = json.at("kind").get<FormatRequest::Kind>();
  request.jinja = json.at("jinja");
  request.bos = json.at("bos");
  request.eos = json.at("eos");
  for (const Json& message : json.at("messages")) request.messages.push_back(MessageFrom(message));
  request.tools_json = json.at("tools");
  if (const Json& think = json.at("think"); !think.is_null())
    request.think = Think{think.at("is_on").get<bool>(), think.at("level").get<std::string>()};
  request.schema = json.at("schema");
  request.think_open = json.at("think_open");
  request.think_close = json.at("think_close");
  request.is_thinking = json.at("is_thinking");
  request.tool_mark = json.at("tool_mark");
  return request;
}

FormatReply ReplyFrom(const Json& json) {
  FormatReply reply;
  reply.prompt = json.at("prompt");
  reply.generation_prompt = json.at("generation_prompt");
  reply.stops = json.at("stops").get<std::vector<std::string>>();
  reply.grammar = json.at("grammar");
  reply.is_grammar_lazy = json.at("is_grammar_lazy");
  reply.begins_with_prompt = json.at("begins_with_prompt");
  for (const Json& trigger : json.at("triggers"))
    reply.triggers.push_back(
        {trigger.at("type").get<int>(), trigger.at("text").get<std::string>()});
  reply.preserved = json.at("preserved").get<std::vector<std::string>>();
  reply.parser_format = json.at("parser_format");
  reply.parser = json.at("parser");
  reply.answer_parser = json.at("answer_parser");
  reply.is_continuation = json.at("is_continuation");
  reply.supports_thinking = json.at("supports_thinking");
  reply.think_open = json.at("think_open");
  reply.think_closes = json.at("think_closes").get<std::vector<std::string>>();
  reply.tool_mark = json.at("tool_mark");
  reply.tool_names = json.at("tool_names").get<std::vector<std::string>>();
  return reply;
}

std::string Pack(const Json& json) {
  std::string bytes;
  Json::to_msgpack(json, bytes);
  return bytes;
}

}  // namespace

std::string EncodeRequest(const FormatRequest& request) {
  Json messages = Json::array();
  for (const ChatMessage& message : request.messages) messages.push_back(ToJson(message));
  Json think;
  if (request.think) think = {{"is_on", request.think->is_on}, {"level", request.think->level}};
  return Pack({{"kind", request.kind},
               {"jinja", request.jinja},
               {"bos", request.bos},
               {"eos", request.eos},
               {"messages", std::move(messages)},
               {"tools", request.tools_json},
               {"think", std::move(think)},
               {"schema", request.schema},
               {"think_open", request.think_open},
               {"think_close", request.think_close},
               {"is_thinking", request.is_thinking},
               {"tool_mark", request.tool_mark}});
}

std::string EncodeReply(const Result<FormatReply>& result) {
  if (!result) return Pack({{"code", result.error().code}, {"message", result.error().message}});
  const FormatReply& reply = *result;
  Json triggers = Json::array();
  for (const FormatReply::Trigger& trigger : reply.triggers)
    triggers.push_back({{"type", trigger.type}, {"text", trigger.text}});
  return Pack({{"prompt", reply.prompt},
               {"generation_prompt", reply.generation_prompt},
               {"stops", reply.stops},
               {"grammar", reply.grammar},
               {"is_grammar_lazy", reply.is_grammar_lazy},
               {"begins_with_prompt", reply.begins_with_prompt},
               {"triggers", std::move(triggers)},
               {"preserved", reply.preserved},
               {"parser_format", reply.parser_format},
               {"parser", reply.parser},
               {"answer_parser", reply.answer_parser},
               {"is_continuation", reply.is_continuation},
               {"supports_thinking", reply.supports_thinking},
               {"think_open", reply.think_open},
               {"think_closes", reply.think_closes},
               {"tool_mark", reply.tool_mark},
               {"tool_names", reply.tool_names}});
}

Result<FormatReply> DecodeReply(const std::string& bytes) {
  try {
    const Json json = Json::from_msgpack(bytes);
    if (json.contains("code"))
      return Fail(json.at("code").get<Code>(), json.at("message").get<std::string>());
    return ReplyFrom(json);
  } catch (const std::exception& error) {
    return Fail(Code::kInternal, std::string("a reply that is none: ") + error.what());
  }
}

Result<FormatReply> RunRequest(Formatter& formatter, const std::string& bytes) {
  FormatRequest request;
  try {
    request = RequestFrom(Json::from_msgpack(bytes));
  } catch (const std::bad_alloc&) {
    return Fail(Code::kNoMemory, "out of memory");
  } catch (const std::exception& error) {
    return Fail(Code::kInternal, std::string("a request that is none: ") + error.what());
  }
  return formatter.Run(request);
}

}  // namespace corral::engine
