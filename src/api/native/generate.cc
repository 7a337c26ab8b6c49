// POST /api/generate and /api/chat. The order of the checks is Ollama's (server/routes.go,
// GenerateHandler, ChatHandler).
#include <utility>

#include "api/native/adapters.h"
#include "api/native/handlers.h"
#include "api/native/serve.h"
#include "templates/template.h"

namespace corral::api {
namespace {

using std::chrono::nanoseconds;

struct Loaded {
  scheduler::Lease lease;
  ResolvedOptions options;
  nanoseconds load_time{0};
};

http::Task<Answer<Loaded>> Load(http::Exchange& exchange, const Services& services, ModelPtr model,
                                const ModelParts& request, ResolvedOptions options) {
  scheduler::ModelRequest asked =
      ToModelRequest(std::move(model), options, request.keep_alive, services.settings.go_template);
  Answer<scheduler::Lease> lease = co_await AcquireLease(exchange, services, std::move(asked));
  if (!lease) co_return Refuse(std::move(lease).error());
  Loaded loaded{*std::move(lease), std::move(options), Elapsed(exchange)};
  co_return loaded;
}

// How a dialect's records are written.
using WriteRecord = std::string (*)(std::string_view model, Timestamp now, const Piece& piece,
                                    const RecordEnd* end);
using WriteDebugRecord = std::string (*)(std::string_view model, Timestamp now,
                                         std::string_view rendered, int n_images);

Recorder MakeRecorder(std::string model, std::size_t n_images, WriteRecord write,
                      WriteDebugRecord write_debug) {
  Recorder recorder;
  recorder.record = [model, write](const Piece& piece, const RecordEnd* end) {
    return write(model, Timestamp::Now(), piece, end);
  };
  recorder.debug_record = [model = std::move(model), n_images, write_debug](std::string_view text) {
    return write_debug(model, Timestamp::Now(), text, static_cast<int>(n_images));
  };
  return recorder;
}

// The one record of a load or unload request: no times.
std::string ShortAnswer(const Recorder& recorder, std::string_view done_reason) {
  const RecordEnd end{.done_reason = done_reason};
  return recorder.record(Piece{}, &end);
}

std::size_t CountImages(const std::vector<ChatMessage>& messages) {
  std::size_t n_images = 0;
  for (const ChatMessage& message : messages) n_images += message.images.size();
  return n_images;
}

http::Task<Answer<void>> Generate(const Services& services, http::Exchange& exchange) {
  Answer<GenerateRequest> read =
      co_await ReadRequest<GenerateRequest>(exchange, &ReadGenerateRequest);
  if (!read) co_return Refuse(std::move(read).error());
  GenerateRequest& request = *read;
  const GoTemplateSetting setting = services.settings.go_template;

  if (auto checked = CheckTopLogprobs(request.top_logprobs); !checked) co_return checked;
  Answer<ModelPtr> model = co_await FindModel(exchange, services, Asker::kGenerate, request.model);
  if (!model) co_return Refuse(std::move(model).error());
  const Recorder recorder =
      MakeRecorder(request.model, request.images.size(), &GenerateRecord, &GenerateDebugRecord);
  const bool is_load = request.prompt.empty();
  if (is_load && AsksToUnload(request)) {
    services.scheduler.Unload((*model)->gguf);
    co_await SendJson(exchange, ShortAnswer(recorder, "unload"));
    co_return Answer<void>{};
  }
  if (auto checked = CheckGenerate(request, **model, setting); !checked) co_return checked;
  Result<ResolvedOptions> options = ResolveOptions((*model)->params, request.options);
  if (!options) co_return Refuse(Failure(std::move(options).error()));
  if (!is_load) {
    if (auto checked = CheckContent(request, request.images.size(), **model, setting); !checked)
      co_return checked;
    if (!request.template_text.empty()) {
      const auto parsed = templates::Template::Parse(request.template_text);
      if (!parsed) co_return Refuse(500, parsed.error().message);
    }
  }

  Answer<std::vector<AdapterUse>> adapters =
      co_await FindAdapters(exchange, services, request, *model);
  if (!adapters) co_return Refuse(std::move(adapters).error());
  Answer<Loaded> loaded = co_await Load(exchange, services, *model, request, *std::move(options));
  if (!loaded) co_return Refuse(std::move(loaded).error());
  if (is_load) {
    Answer<void> done =
        co_await LoadAdapters(exchange, std::move(loaded->lease), *std::move(adapters));
    if (!done) co_return done;
    co_await SendJson(exchange, ShortAnswer(recorder, "load"));
    co_return Answer<void>{};
  }
  GenerateJob job = MakeJob(request, **model, loaded->options, loaded->lease.num_ctx());
  job.adapters = *std::move(adapters);
  job.want_context = !request.is_raw;
  job.prefix_salt = PrefixSalt(services.settings, exchange.request());
  job.prompt = GeneratePrompt(request, **model, setting);
  co_await AnswerWithJob(exchange, std::move(loaded->lease), std::move(job), request.is_streamed,
                         loaded->load_time, recorder);
  co_return Answer<void>{};
}

http::Task<Answer<void>> Chat(const Services& services, http::Exchange& exchange) {
  Answer<ChatRequest> read = co_await ReadRequest<ChatRequest>(exchange, &ReadChatRequest);
  if (!read) co_return Refuse(std::move(read).error());
  ChatRequest& request = *read;
  const GoTemplateSetting setting = services.settings.go_template;

  if (auto checked = CheckTopLogprobs(request.top_logprobs); !checked) co_return checked;
  Answer<ModelPtr> model = co_await FindModel(exchange, services, Asker::kChat, request.model);
  if (!model) co_return Refuse(std::move(model).error());
  const std::size_t n_images = CountImages(request.messages);
  const Recorder recorder = MakeRecorder(request.model, n_images, &ChatRecord, &ChatDebugRecord);
  const bool is_load = request.messages.empty();
  if (is_load && AsksToUnload(request)) {
    services.scheduler.Unload((*model)->gguf);
    co_await SendJson(exchange, ShortAnswer(recorder, "unload"));
    co_return Answer<void>{};
  }
  if (auto checked = CheckChat(request, **model, setting); !checked) co_return checked;
  Result<ResolvedOptions> options = ResolveOptions((*model)->params, request.options);
  if (!options) co_return Refuse(Failure(std::move(options).error()));
  if (!is_load) {
    if (auto checked = CheckContent(request, n_images, **model, setting); !checked)
      co_return checked;
  }

  Answer<std::vector<AdapterUse>> adapters =
      co_await FindAdapters(exchange, services, request, *model);
  if (!adapters) co_return Refuse(std::move(adapters).error());
  Answer<Loaded> loaded = co_await Load(exchange, services, *model, request, *std::move(options));
  if (!loaded) co_return Refuse(std::move(loaded).error());
  if (is_load) {
    Answer<void> done =
        co_await LoadAdapters(exchange, std::move(loaded->lease), *std::move(adapters));
    if (!done) co_return done;
    co_await SendJson(exchange, ShortAnswer(recorder, "load"));
    co_return Answer<void>{};
  }
  GenerateJob job = MakeJob(request, **model, loaded->options, loaded->lease.num_ctx());
  job.adapters = *std::move(adapters);
  job.is_chat = true;
  job.prefix_salt = PrefixSalt(services.settings, exchange.request());
  job.prompt = ChatPrompt(request, **model, setting);
  co_await AnswerWithJob(exchange, std::move(loaded->lease), std::move(job), request.is_streamed,
                         loaded->load_time, recorder);
  co_return Answer<void>{};
}

}  // namespace

http::Task<void> HandleGenerate(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Generate(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

http::Task<void> HandleChat(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Chat(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

}  // namespace corral::api
