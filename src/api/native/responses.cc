#include "api/native/responses.h"

#include "api/json_writer.h"

namespace corral::api {
namespace {

void WriteHead(std::string_view model, Timestamp now, JsonWriter* w) {
  w->BeginObject().Field("model", model);
  w->Field("created_at", FormatRfc3339(now, TimeZone::kUtc));
}

void WriteTimings(const RecordEnd& end, JsonWriter* w) {
  w->FieldUnlessZero("total_duration", end.total_time.count());
  w->FieldUnlessZero("load_duration", end.load_time.count());
  if (end.finish == nullptr) return;
  w->FieldUnlessZero("prompt_eval_count", end.finish->prompt_tokens);
  w->FieldUnlessZero("prompt_eval_duration", end.finish->prompt_eval_time.count());
  w->FieldUnlessZero("eval_count", end.finish->eval_tokens);
  w->FieldUnlessZero("eval_duration", end.finish->eval_time.count());
}

void WriteToolCalls(const std::vector<ToolCall>& calls, JsonWriter* w) {
  if (calls.empty()) return;
  w->Key("tool_calls").BeginArray();
  for (const ToolCall& call : calls) {
    w->BeginObject().FieldUnlessEmpty("id", call.id).Key("function").BeginObject();
    w->Field("index", call.index).Field("name", call.name);
    w->Key("arguments").Raw(call.arguments_json.empty() ? "{}" : call.arguments_json);
    w->EndObject().EndObject();
  }
  w->EndArray();
}

void WriteTokenLogprob(const TokenLogprob& token, JsonWriter* w) {
  w->Field("token", token.token).Field("logprob", static_cast<double>(token.logprob));
  if (token.token.empty()) return;
  w->Key("bytes").BeginArray();
  for (const char c : token.token) w->Value(static_cast<int>(static_cast<unsigned char>(c)));
  w->EndArray();
}

void WriteLogprobs(const std::vector<TokenLogprob>& logprobs, JsonWriter* w) {
  if (logprobs.empty()) return;
  w->Key("logprobs").BeginArray();
  for (const TokenLogprob& token : logprobs) {
    w->BeginObject();
    WriteTokenLogprob(token, w);
    if (!token.top.empty()) {
      w->Key("top_logprobs").BeginArray();
      for (const TokenLogprob& other : token.top) {
        w->BeginObject();
        WriteTokenLogprob(other, w);
        w->EndObject();
      }
      w->EndArray();
    }
    w->EndObject();
  }
  w->EndArray();
}

void WriteDone(const RecordEnd* end, JsonWriter* w) {
  w->Field("done", end != nullptr);
  if (end != nullptr) w->FieldUnlessEmpty("done_reason", end->done_reason);
}

void WriteDebug(std::string_view rendered, int n_images, JsonWriter* w) {
  w->Key("_debug_info").BeginObject().Field("rendered_template", rendered);
  w->FieldUnlessZero("image_count", n_images).EndObject();
}

void WriteAssistant(const Piece& piece, JsonWriter* w) {
  w->Key("message").BeginObject().Field("role", "assistant").Field("content", piece.text);
  w->FieldUnlessEmpty("thinking", piece.thinking);
  WriteToolCalls(piece.tool_calls, w);
  w->EndObject();
}

}  // namespace

std::string GenerateRecord(std::string_view model, Timestamp now, const Piece& piece,
                           const RecordEnd* end) {
  JsonWriter w;
  WriteHead(model, now, &w);
  w.Field("response", piece.text).FieldUnlessEmpty("thinking", piece.thinking);
  WriteDone(end, &w);
  if (end != nullptr) {
    if (end->finish != nullptr && !end->finish->context.empty()) {
      w.Key("context").BeginArray();
      for (const Token token : end->finish->context) w.Value(token);
      w.EndArray();
    }
    WriteTimings(*end, &w);
  }
  WriteToolCalls(piece.tool_calls, &w);
  WriteLogprobs(piece.logprobs, &w);
  w.EndObject();
  return w.Take();
}

std::string ChatRecord(std::string_view model, Timestamp now, const Piece& piece,
                       const RecordEnd* end) {
  JsonWriter w;
  WriteHead(model, now, &w);
  WriteAssistant(piece, &w);
  WriteDone(end, &w);
  WriteLogprobs(piece.logprobs, &w);
  if (end != nullptr) WriteTimings(*end, &w);
  w.EndObject();
  return w.Take();
}

std::string GenerateDebugRecord(std::string_view model, Timestamp now, std::string_view rendered,
                                int n_images) {
  JsonWriter w;
  WriteHead(model, now, &w);
  w.Field("response", "").Field("done", false);
  WriteDebug(rendered, n_images, &w);
  w.EndObject();
  return w.Take();
}

std::string ChatDebugRecord(std::string_view model, Timestamp now, std::string_view rendered,
                            int n_images) {
  JsonWriter w;
  WriteHead(model, now, &w);
  WriteAssistant(Piece{}, &w);
  w.Field("done", false);
  WriteDebug(rendered, n_images, &w);
  w.EndObject();
  return w.Take();
}

std::string EmbedAnswer(std::string_view model, const Vectors& vectors,
                        std::chrono::nanoseconds total_time, std::chrono::nanoseconds load_time,
                        std::int64_t prompt_tokens) {
  JsonWriter w;
  w.BeginObject().Field("model", model).Key("embeddings").BeginArray();
  for (const auto& vector : vectors) {
    w.BeginArray();
    for (const float value : vector) w.Value(value);
    w.EndArray();
  }
  w.EndArray();
  w.FieldUnlessZero("total_duration", total_time.count());
  w.FieldUnlessZero("load_duration", load_time.count());
  w.FieldUnlessZero("prompt_eval_count", prompt_tokens).EndObject();
  return w.Take();
}

std::string EmbeddingsAnswer(const std::vector<float>& vector) {
  JsonWriter w;
  w.BeginObject().Key("embedding").BeginArray();
  for (const float value : vector) w.Value(static_cast<double>(value));
  w.EndArray().EndObject();
  return w.Take();
}

namespace {

void WriteResults(const std::vector<RankedDocument>& ranked,
                  const std::vector<std::string>& documents, JsonWriter* w) {
  w->Key("results").BeginArray();
  for (const RankedDocument& document : ranked) {
    w->BeginObject().Field("index", document.index).Field("relevance_score", document.score);
    if (document.index < documents.size()) {
      w->Key("document").BeginObject().Field("text", documents[document.index]).EndObject();
    }
    w->EndObject();
  }
  w->EndArray();
}

void WriteTimes(std::chrono::nanoseconds total_time, std::chrono::nanoseconds load_time,
                JsonWriter* w) {
  w->FieldUnlessZero("total_duration", total_time.count());
  w->FieldUnlessZero("load_duration", load_time.count());
}

}  // namespace

std::string RerankAnswer(std::string_view model, const std::vector<RankedDocument>& ranked,
                         const std::vector<std::string>& documents, std::int64_t prompt_tokens) {
  JsonWriter w;
  w.BeginObject().Field("model", model).Field("object", "list").Key("usage").BeginObject();
  w.Field("prompt_tokens", prompt_tokens).Field("total_tokens", prompt_tokens).EndObject();
  WriteResults(ranked, documents, &w);
  w.EndObject();
  return w.Take();
}

std::string NativeRerankAnswer(std::string_view model, const std::vector<RankedDocument>& ranked,
                               const std::vector<std::string>& documents,
                               std::chrono::nanoseconds total_time,
                               std::chrono::nanoseconds load_time, std::int64_t prompt_tokens) {
  JsonWriter w;
  w.BeginObject().Field("model", model);
  WriteResults(ranked, documents, &w);
  WriteTimes(total_time, load_time, &w);
  w.FieldUnlessZero("prompt_eval_count", prompt_tokens).EndObject();
  return w.Take();
}

std::string TokenizeAnswer(std::string_view model, const std::vector<Token>& tokens,
                           std::chrono::nanoseconds total_time,
                           std::chrono::nanoseconds load_time) {
  JsonWriter w;
  w.BeginObject().Field("model", model).Key("tokens").BeginArray();
  for (const Token token : tokens) w.Value(token);
  w.EndArray();
  WriteTimes(total_time, load_time, &w);
  w.EndObject();
  return w.Take();
}

std::string DetokenizeAnswer(std::string_view model, std::string_view content,
                             std::chrono::nanoseconds total_time,
                             std::chrono::nanoseconds load_time) {
  JsonWriter w;
  w.BeginObject().Field("model", model).Field("content", content);
  WriteTimes(total_time, load_time, &w);
  w.EndObject();
  return w.Take();
}

}  // namespace corral::api
