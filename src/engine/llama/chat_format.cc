#include "engine/llama/chat_format.h"

#include <chat.h>

#include <algorithm>
#include <new>
#include <utility>

#include "engine/llama/grammar.h"

namespace corral::engine {
namespace {

// Parsed templates that are kept: a model has one or two.
constexpr std::size_t kMostTemplates = 4;
constexpr std::size_t kMostAnalyses = 8;  // of different tools, schemas and ways to think

common_chat_msg ToCommon(const ChatMessage& message) {
  common_chat_msg out;
  out.role = message.role;
  out.content = message.content;
  out.reasoning_content = message.thinking;
  out.tool_name = message.tool_name;
  out.tool_call_id = message.tool_call_id;
  for (const ToolCall& call : message.tool_calls)
    out.tool_calls.push_back({call.name, call.arguments_json, call.id});
  return out;
}

// `type` is not looked at, as Ollama does not.
std::vector<common_chat_tool> ParseTools(const std::string& tools_json) {
  std::vector<common_chat_tool> tools;
  if (tools_json.empty()) return tools;
  const common_json parsed = common_json::parse(tools_json);
  for (const common_json& tool : parsed) {
    if (!tool.contains("function") || !tool.at("function").is_object()) continue;
    const common_json& function = tool.at("function");
    common_chat_tool out;
    out.name = function.value("name", std::string());
    out.description = function.value("description", std::string());
    out.parameters = common_chat_tool_parameters(function).dump();
    if (!out.name.empty()) tools.push_back(std::move(out));
  }
  return tools;
}

std::string Quoted(std::string_view text) { return common_json(std::string(text)).dump(); }

// An assistant's message at the end is the beginning of the answer.
bool IsContinuation(const std::vector<ChatMessage>& messages) {
  return !messages.empty() && messages.back().role == "assistant" &&
         messages.back().tool_calls.empty();
}

common_chat_templates_inputs ToInputs(const FormatRequest& request) {
  common_chat_templates_inputs inputs;
  for (const ChatMessage& message : request.messages) inputs.messages.push_back(ToCommon(message));
  inputs.tools = ParseTools(request.tools_json);
  inputs.parallel_tool_calls = !inputs.tools.empty();
  inputs.enable_thinking = request.think && request.think->is_on;
  if (request.think) {
    // Some templates ask for this name, and know nothing of enable_thinking.
    inputs.chat_template_kwargs["thinking"] = request.think->is_on ? "true" : "false";
    if (request.think->is_on && !request.think->level.empty())
      inputs.chat_template_kwargs["reasoning_effort"] = Quoted(request.think->level);
  }
  inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
  if (IsContinuation(request.messages)) {
    inputs.continue_final_message = COMMON_CHAT_CONTINUATION_AUTO;
    inputs.add_generation_prompt = false;
  }
  return inputs;
}

bool HasRule(const std::string& grammar, const std::string& name) {
  return grammar.starts_with(name + " ::=") ||
         grammar.find("\n" + name + " ::=") != std::string::npos;
}

// The rules of a call, and the one it begins with; empty: no calls.
struct CallGrammar {
  std::string rules, start;
};

std::string FirstClose(const common_chat_params& params) {
  return params.thinking_end_tags.empty() ? std::string() : params.thinking_end_tags[0];
}

// Whether a prompt that ends with `end` leaves thinking open, or has no place for it any more.
bool IsThinkingOpen(std::string_view end, std::string_view open, std::string_view close) {
  const std::size_t at = open.empty() ? std::string_view::npos : end.rfind(open);
  return at != std::string_view::npos &&
         end.find(close.empty() ? open : close, at + open.size()) == std::string_view::npos;
}
bool IsThinkingOver(std::string_view end, std::string_view open, std::string_view close) {
  return !close.empty() && !IsThinkingOpen(end, open, close) && end.find(close) != end.npos;
}

// The schema's grammar or a call, each after thinking. `answer` and `calls` are the same template
// applied with the schema and with the tools; llama.cpp itself drops the tools when both are given.
std::string AnswerOrCall(const common_chat_params& answer, const CallGrammar& calls) {
  std::string grammar = WithPrefix(answer.grammar, "answer-") + "\n";
  if (calls.start.empty()) return grammar + "root ::= answer-root\n";
  grammar += WithPrefix(calls.rules, "calls-") + "\n";

  const std::string& open = answer.thinking_start_tag;
  const std::string close = FirstClose(answer);
  // The thinking that the prompt opens already is no part of what every answer begins with.
  const std::string_view begin = answer.generation_prompt;
  const bool is_opened = IsThinkingOpen(begin, open, close);
  std::string head;
  if (!begin.empty()) head = GrammarLiteral(begin) + " ";
  if (answer.supports_thinking && !close.empty() && !open.empty()) {
    grammar += UntilGrammar("thinking", close);
    // Harmony begins every message anew.
    const std::string again =
        answer.generation_prompt == "<|start|>assistant" ? " " + head : std::string();
    head +=
        is_opened ? "thinking " + again : "(" + GrammarLiteral(open) + " thinking" + again + ")? ";
  }
  grammar += "blank ::= [ \\t\\n]{0,20}\n";
  return grammar + "root ::= answer-root | " + head + "blank calls-" + calls.start + "\n";
}

// What stands around an answer where llama.cpp's parser knows no schemas (its common/parsers): of
// families whose messages are more than thinking in tags and then the answer. Calls bring their own
// marks.
struct Frame {
  std::string_view prompt_end;          // the family is known by it
  std::string_view open, close, after;  // thinking, and what follows it in any case
  bool is_thinking_open = false;        // by the prompt
  std::string_view answer_open;
  std::string_view answer_close;  // if the model writes it
  std::string_view call_open;     // if the model writes it
};
constexpr Frame kFrames[] = {
    // Muse Glimmer
    {"<|start|>assistant", " to=self<|message|>", "<|eom|>", "<|start|>assistant", false,
     " to=user<|message|>", "", ""},
    // Kimi K3, thinking and not
    {"<|open|>think<|sep|>", "", "<|close|>think<|sep|>", "", true, "<|open|>response<|sep|>",
     "<|close|>response<|sep|>", "<|open|>response<|sep|><|close|>response<|sep|>"},
    {"<|open|>response<|sep|>", "", "", "", false, "", "<|close|>response<|sep|>",
     "<|close|>response<|sep|>"},
    // Functionary 3.2
    {">>>", "", "", "", false, "all\n", "", ""},
};

// The schema's grammar or a call, each after thinking, for text that follows the prompt.
std::string FramedAnswerOrCall(const std::string& schema, const common_chat_params& like,
                               const CallGrammar& calls) {
  const std::string_view end = like.generation_prompt;
  const std::string close = FirstClose(like);
  Frame frame{"", like.thinking_start_tag, close, "", false, "", "", ""};
  frame.is_thinking_open = IsThinkingOpen(end, frame.open, close);
  if (IsThinkingOver(end, frame.open, close)) frame.open = frame.close = "";
  for (const Frame& known : kFrames) {
    if (!end.ends_with(known.prompt_end)) continue;
    frame = known;
    break;
  }
  const auto literal = [](std::string_view text) {
    return text.empty() ? std::string() : GrammarLiteral(text) + " ";
  };
  const auto optional = [](std::string_view text) {
    return text.empty() ? std::string() : GrammarLiteral(text) + "? ";
  };
  std::string grammar = WithPrefix(schema, "answer-") + "\n";
  std::string head;
  if (!frame.close.empty() && (frame.is_thinking_open || !frame.open.empty())) {
    grammar += UntilGrammar("thinking", frame.close) + "blank ::= [ \\t\\n]{0,20}\n";
    head = frame.is_thinking_open
               ? "thinking " + literal(frame.after)
               : "(" + literal(frame.open) + "thinking " + literal(frame.after) + ")? ";
    if (frame.answer_open.empty()) head += "blank ";
  }
  grammar += "root ::= " + head + "(" + literal(frame.answer_open) + "answer-root " +
             optional(frame.answer_close);
  if (!calls.start.empty()) {
    grammar += "| " + optional(frame.call_open) + "calls-" + calls.start;
    return grammar + ")\n" + WithPrefix(calls.rules, "calls-") + "\n";
  }
  return grammar + ")\n";
}

// What calls begin with in templates that tell the model how to write them, in words, and do not
// write any themselves: nothing that llama.cpp could compare. Granite 3 is one.
constexpr std::string_view kMarksInWords[] = {"<|tool_call|>", "<tool_call>", "[TOOL_CALLS]"};

std::string_view MarkInWords(std::string_view jinja) {
  for (const std::string_view mark : kMarksInWords) {
    if (jinja.find(mark) != std::string_view::npos) return mark;
  }
  return {};
}

// Such templates drop the calls of earlier turns: they become text, as the model wrote them.
void WriteCalls(std::string_view mark, std::vector<common_chat_msg>* messages) {
  for (common_chat_msg& message : *messages) {
    if (message.tool_calls.empty()) continue;
    std::string list;
    for (const common_chat_tool_call& call : message.tool_calls) {
      list += list.empty() ? "[" : ", ";
      list += R"({"name": )" + Quoted(call.name) + R"(, "arguments": )" + call.arguments + "}";
    }
    message.content += std::string(mark) + list + "]";
    message.tool_calls.clear();
  }
}

// A call as Ollama's generic parser finds it, behind its mark; empty: there are no tools.
Result<CallGrammar> MarkedCalls(const FormatRequest& request, const std::string& tool_mark) {
  common_json names = common_json::array();
  for (const common_chat_tool& tool : ParseTools(request.tools_json)) names.push_back(tool.name);
  if (names.empty()) return CallGrammar();
  const std::string name = R"({"enum":)" + names.dump() + "}";
  const auto call = [&name](std::string_view key) {
    return R"({"type":"object","properties":{"name":)" + name + ",\"" + std::string(key) +
           R"(":{"type":"object"}},"required":["name",")" + std::string(key) + "\"]}";
  };
  CORRAL_TRY(const std::string rules,
             SchemaGrammar(R"({"anyOf":[)" + call("arguments") + "," + call("parameters") + "]}"));
  // A tag may stand in front of one call or of a list of them; a bare mark is part of the JSON.
  std::string mark = GrammarLiteral(tool_mark) + " blank ";
  if (tool_mark == "{") {
    mark.clear();
  } else if (tool_mark != "[") {
    mark += "\"[\"? blank ";
  }
  return CallGrammar{WithPrefix(rules, "call-") +
                         "\nblank ::= [ \\t\\n]{0,20}\nany ::= [^\\x00]*\nmarked ::= " + mark +
                         "call-root any\n",
                     "marked"};
}

Result<FormatReply> FormatSchema(const FormatRequest& request) {
  FormatReply reply;
  CORRAL_TRY(std::string grammar, SchemaGrammar(request.schema));
  if (!request.tool_mark.empty()) {
    CORRAL_TRY(const CallGrammar calls, MarkedCalls(request, request.tool_mark));
    if (!calls.start.empty())
      grammar = WithPrefix(grammar, "schema-") + "\n" + calls.rules + "root ::= schema-root | " +
                calls.start + "\n";
  }
  reply.grammar =
      AfterThinking(grammar, request.think_open, request.think_close, request.is_thinking);
  CORRAL_TRY_STATUS(CheckGrammar(reply.grammar, "format"));
  return reply;
}

// Whether the parameters of each tool compile: a template's parser does the same with them.
Status CheckParameters(const FormatRequest& request) {
  for (const common_chat_tool& tool : ParseTools(request.tools_json)) {
    const auto grammar = SchemaGrammar(tool.parameters, "of the tool " + Quoted(tool.name));
    if (!grammar) return Fail(grammar.error());
  }
  return {};
}

}  // namespace

std::string NormalSchema(std::string_view format_json) {
  if (format_json == "\"json\"" || format_json == "{}") return R"({"type":"object"})";
  return std::string(format_json);
}

struct Formatter::Templates {
  struct Known {
    std::string jinja, bos, eos;
    common_chat_templates_ptr parsed;
  };
  struct Analysis {
    std::string key;
    common_chat_params params;
  };
  std::vector<Known> known;
  std::vector<Analysis> analyses;

  const common_chat_templates* Find(const std::string& jinja, const std::string& bos,
                                    const std::string& eos) {
    for (const Known& one : known) {
      if (one.jinja == jinja && one.bos == bos && one.eos == eos) return one.parsed.get();
    }
    common_chat_templates_ptr parsed = common_chat_templates_init(nullptr, jinja, bos, eos);
    if (known.size() >= kMostTemplates) known.erase(known.begin());
    known.push_back({jinja, bos, eos, std::move(parsed)});
    return known.back().parsed.get();
  }

  // Grammar and parser of a template: they depend on all but the messages, so they are kept.
  // llama.cpp finds them by rendering and comparing, and is surest (it is what its own tests do)
  // without the texts of BOS and EOS: with them it misreads the calls of Mistral Small 3.2, for
  // one. nullptr: another case than the conversation in hand, whose prompt ends with
  // `generation_prompt`.
  const common_chat_params* Analyse(const FormatRequest& request,
                                    const common_chat_templates_inputs& inputs,
                                    const std::string& generation_prompt) {
    if (inputs.continue_final_message != COMMON_CHAT_CONTINUATION_NONE) return nullptr;
    std::string key = request.jinja;
    for (const auto& [name, value] : inputs.chat_template_kwargs) {
      key += '\0';
      key += name;
      key += value;
    }
    key += '\0' + (inputs.tools.empty() ? std::string() : request.tools_json) + '\0' +
           inputs.json_schema + '\0' + std::to_string(static_cast<int>(inputs.tool_choice));
    auto found = std::find_if(analyses.begin(), analyses.end(),
                              [&key](const Analysis& one) { return one.key == key; });
    if (found == analyses.end()) {
      common_chat_templates_inputs alike;
      common_chat_msg question;
      question.role = "user";
      question.content = "Hello";
      alike.messages = {question};
      alike.tools = inputs.tools;
      alike.tool_choice = inputs.tool_choice;
      alike.parallel_tool_calls = inputs.parallel_tool_calls;
      alike.json_schema = inputs.json_schema;
      alike.enable_thinking = inputs.enable_thinking;
      alike.reasoning_format = inputs.reasoning_format;
      alike.chat_template_kwargs = inputs.chat_template_kwargs;
      Analysis fresh{std::move(key), {}};
      try {
        fresh.params = common_chat_templates_apply(Find(request.jinja, "", ""), alike);
      } catch (const std::exception&) {
        return nullptr;  // a template that wants more than a question
      }
      if (analyses.size() >= kMostAnalyses) analyses.erase(analyses.begin());
      found = analyses.insert(analyses.end(), std::move(fresh));
    }
    return found->params.generation_prompt == generation_prompt ? &found->params : nullptr;
  }

  common_chat_params Apply(const FormatRequest& request,
                           const common_chat_templates_inputs& inputs) {
    return common_chat_templates_apply(Find(request.jinja, request.bos, request.eos), inputs);
  }

  // Whether llama.cpp can see in the template how calls are written.
  bool KnowsCalls(const FormatRequest& request) {
    const auto caps = common_chat_templates_get_caps(Find(request.jinja, request.bos, request.eos));
    const auto found = caps.find("supports_tool_calls");
    return found == caps.end() || found->second;
  }

  // Where no schema is asked for: free text, or calls.
  void AddParser(const common_chat_params& like, bool has_tools, FormatReply* reply) {
    if (has_tools || like.supports_thinking || !like.preserved_tokens.empty())
      reply->parser = like.parser;
    reply->stops = like.additional_stops;
    reply->preserved = like.preserved_tokens;
    reply->parser_format = static_cast<int>(like.format);
    reply->supports_thinking = like.supports_thinking;
    reply->think_open = like.thinking_start_tag;
    reply->think_closes = like.thinking_end_tags;
    if (!has_tools) return;
    reply->grammar = like.grammar;
    reply->is_grammar_lazy = like.grammar_lazy;
    for (const common_grammar_trigger& trigger : like.grammar_triggers)
      reply->triggers.push_back({static_cast<int>(trigger.type), trigger.value});
  }

  // The rules of a call alone: nothing in front of it, and the rule that it begins with. Of the
  // grammar for what must hold a call: in the other one a call may be nothing.
  CallGrammar CallRules(const FormatRequest& request, common_chat_templates_inputs inputs,
                        const FormatReply& reply) {
    if (!reply.tool_mark.empty()) {
      auto marked = MarkedCalls(request, reply.tool_mark);
      if (!marked) throw std::invalid_argument(marked.error().message);
      return *std::move(marked);
    }
    inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED;
    const common_chat_params* like = Analyse(request, inputs, reply.generation_prompt);
    const std::string grammar = like ? like->grammar : Apply(request, inputs).grammar;
    for (const char* start : {"tool-calls", "tool-call-root", "tool-call", "kimi-k3-tool-call",
                              "ling3-tool-call", "tools"}) {
      if (HasRule(grammar, start)) return {grammar, start};
    }
    return {};
  }

  FormatReply FormatChat(const FormatRequest& request) {
    common_chat_templates_inputs inputs = ToInputs(request);
    const bool has_tools = !inputs.tools.empty();
    FormatReply reply;
    if (has_tools && !KnowsCalls(request)) reply.tool_mark = MarkInWords(request.jinja);
    if (!reply.tool_mark.empty()) WriteCalls(reply.tool_mark, &inputs.messages);
    common_chat_params applied = Apply(request, inputs);
    reply.prompt = std::move(applied.prompt);
    reply.generation_prompt = applied.generation_prompt;
    reply.is_continuation = inputs.continue_final_message != COMMON_CHAT_CONTINUATION_NONE;
    const common_chat_params* like = Analyse(request, inputs, reply.generation_prompt);
    AddParser(like ? *like : applied, has_tools, &reply);
    if (!reply.tool_mark.empty()) {
      reply.preserved.push_back(reply.tool_mark);
      for (const common_chat_tool& tool : inputs.tools) reply.tool_names.push_back(tool.name);
    }
    if (!request.schema.empty()) AddSchema(request, std::move(inputs), &reply);
    return reply;
  }

  void AddSchema(const FormatRequest& request, common_chat_templates_inputs inputs,
                 FormatReply* reply) {
    const bool has_tools = !inputs.tools.empty();
    const CallGrammar calls = has_tools ? CallRules(request, inputs, *reply) : CallGrammar();
    inputs.tools.clear();
    inputs.json_schema = request.schema;
    const common_chat_params* like = Analyse(request, inputs, reply->generation_prompt);
    const common_chat_params answer = like ? *like : Apply(request, inputs);
    reply->is_grammar_lazy = false;
    reply->triggers.clear();
    if (answer.grammar.empty()) {
      const auto schema = SchemaGrammar(request.schema);
      if (!schema) throw std::invalid_argument(schema.error().message);
      reply->grammar = FramedAnswerOrCall(*schema, answer, calls);
      return;
    }
    reply->begins_with_prompt = true;
    if (has_tools) {
      reply->grammar = AnswerOrCall(answer, calls);
      reply->answer_parser = answer.parser;
    } else {
      reply->grammar = answer.grammar;
      reply->parser = answer.parser;
    }
  }
};

Formatter::Formatter() : templates_(std::make_unique<Templates>()) {}
Formatter::~Formatter() = default;

Result<FormatReply> Formatter::Run(const FormatRequest& request) {
  try {
    switch (request.kind) {
      case FormatRequest::Kind::kSchema:
        return FormatSchema(request);
      case FormatRequest::Kind::kTools:
        CORRAL_TRY_STATUS(CheckParameters(request));
        return FormatReply();
      case FormatRequest::Kind::kTemplate:
        templates_->Find(request.jinja, request.bos, request.eos);
        return FormatReply();
      case FormatRequest::Kind::kChat: {
        FormatReply reply = templates_->FormatChat(request);
        if (!reply.grammar.empty()) {
          CORRAL_TRY_STATUS(
              CheckGrammar(reply.grammar, request.schema.empty() ? "the tools" : "format"));
        }
        return reply;
      }
    }
  } catch (const std::bad_alloc&) {
    return Fail(Code::kNoMemory, "out of memory");
  } catch (const std::exception& error) {
    return Fail(Code::kInternal, error.what());
  }
  return Fail(Code::kInternal, "unknown kind of request");
}

}  // namespace corral::engine
