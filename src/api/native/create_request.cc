// The body of /api/create.
#include <algorithm>
#include <utility>

#include "api/native/requests.h"

namespace corral::api {
namespace {

void ReadFiles(Decoder& d, CreateRequest::Files* out) {
  out->clear();
  d.ReadMap("map[string]string", [out](std::string path, Decoder& at) {
    std::string digest;
    at.Read(&digest);
    out->emplace_back(std::move(path), std::move(digest));
  });
  // The last of equal paths counts.
  std::stable_sort(out->begin(), out->end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  CreateRequest::Files unique;
  for (auto& file : *out) {
    if (!unique.empty() && unique.back().first == file.first) {
      unique.back() = std::move(file);
    } else {
      unique.push_back(std::move(file));
    }
  }
  *out = std::move(unique);
}

// An `any`: a text or a list of texts; anything else is no licence.
void ReadLicense(Decoder& d, std::vector<std::string>* out) {
  out->clear();
  if (d.kind() == JsonKind::kString) {
    out->push_back(d.TakeString());
  } else if (d.kind() == JsonKind::kArray) {
    d.ReadArray("[]interface {}", [out](Decoder& element) {
      if (element.kind() == JsonKind::kString) {
        out->push_back(element.TakeString());
      } else {
        element.ReadRaw();
      }
    });
  } else {
    d.ReadRaw();
  }
}

}  // namespace

Result<CreateRequest> ReadCreateRequest(std::string_view body) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  CreateRequest request;
  std::string name, quantization;
  std::vector<ChatMessage> messages;
  const auto into = [](std::string_view field, std::string* out) {
    return JsonField{field, [out](Decoder& d) { d.Read(out); }};
  };
  const auto files = [](std::string_view field, CreateRequest::Files* out) {
    return JsonField{field, [out](Decoder& d) { ReadFiles(d, out); }};
  };
  const std::vector<JsonField> fields = {
      into("model", &request.model),
      into("name", &name),
      {"stream",
       [&](Decoder& d) {
         std::optional<bool> is_streamed;
         d.Read(&is_streamed);
         request.is_streamed = is_streamed.value_or(true);
       }},
      into("from", &request.from),
      into("remote_host", &request.remote_host),
      {"files",
       [&](Decoder& d) {
         const bool is_given = d.kind() == JsonKind::kObject;
         CreateRequest::Files read;
         ReadFiles(d, &read);
         request.files.reset();
         if (is_given) request.files = std::move(read);
       }},
      files("adapters", &request.adapters),
      files("draft_files", &request.draft_files),
      into("quantize", &request.quantize),
      into("quantization", &quantization),
      into("draft_quantize", &request.draft_quantize),
      into("template", &request.template_text),
      into("system", &request.system),
      into("renderer", &request.renderer),
      into("parser", &request.parser),
      into("requires", &request.requires_version),
      {"license", [&](Decoder& d) { ReadLicense(d, &request.licenses); }},
      {"parameters", [&](Decoder& d) { ReadOptions(d, &request.parameters); }},
      {"messages",
       [&](Decoder& d) {
         messages.clear();
         d.ReadArray("[]api.Message", [&](Decoder& message) { ReadMessage(message, &messages); });
       }},
      {"info", [&](Decoder& d) { ReadOptions(d, &request.info); }}};
  Decoder decoder(value);
  decoder.ReadStruct("api.CreateRequest", fields);
  CORRAL_TRY_STATUS(decoder.status());
  if (request.model.empty()) request.model = std::move(name);
  if (request.quantize.empty()) request.quantize = std::move(quantization);
  request.messages.reserve(messages.size());
  for (ChatMessage& message : messages) {
    request.messages.push_back({std::move(message.role), std::move(message.content)});
  }
  return request;
}

}  // namespace corral::api
