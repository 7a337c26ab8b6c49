// POST /api/embed and /api/embeddings. A model without a pooling type of its own is pooled by mean,
// where Ollama refuses.
#include <utility>
#include <variant>

#include "api/native/adapters.h"
#include "api/native/handlers.h"
#include "api/native/serve.h"

namespace corral::api {
namespace {

struct Embedded {
  Embeddings embeddings;
  std::chrono::nanoseconds load_time{0};
};

// Loads the model and embeds `texts`; loads only when there are none.
http::Task<Answer<Embedded>> EmbedTexts(http::Exchange& exchange, const Services& services,
                                        ModelPtr model, const ModelParts& request,
                                        std::vector<std::string> texts, bool truncate) {
  Result<ResolvedOptions> options = ResolveOptions(model->params, request.options);
  if (!options) co_return Refuse(Failure(std::move(options).error()));
  Answer<std::vector<AdapterUse>> adapters =
      co_await FindAdapters(exchange, services, request, model);
  if (!adapters) co_return Refuse(std::move(adapters).error());
  scheduler::ModelRequest asked =
      ToModelRequest(std::move(model), *options, request.keep_alive, services.settings.go_template);
  Answer<scheduler::Lease> lease = co_await AcquireLease(exchange, services, std::move(asked));
  if (!lease) co_return Refuse(std::move(lease).error());
  Embedded out;
  out.load_time = Elapsed(exchange);
  if (texts.empty()) {
    Answer<void> done = co_await LoadAdapters(exchange, *std::move(lease), *std::move(adapters));
    if (!done) co_return Refuse(std::move(done).error());
    co_return out;
  }

  EmbedJob job;
  job.adapters = *std::move(adapters);
  job.texts = std::move(texts);
  job.num_ctx = lease->num_ctx();
  job.truncate = truncate;
  Answer<JobEvent> last =
      co_await RunToEnd(exchange, *std::move(lease), worker::Job(std::move(job)));
  if (!last) co_return Refuse(std::move(last).error());
  Embeddings* embeddings = std::get_if<Embeddings>(&*last);
  if (embeddings == nullptr)
    co_return Refuse(500, "the worker gave another kind of answer than asked for");
  out.embeddings = std::move(*embeddings);
  co_return out;
}

http::Task<Answer<void>> Embed(const Services& services, http::Exchange& exchange) {
  Answer<EmbedRequest> read = co_await ReadRequest<EmbedRequest>(exchange, &ReadEmbedRequest);
  if (!read) co_return Refuse(std::move(read).error());
  EmbedRequest& request = *read;

  Answer<CheckedName> name = CheckName(Asker::kEmbed, request.model);
  if (!name) co_return Refuse(std::move(name).error());
  if (!request.is_input_valid) co_return Refuse(400, "invalid input type");
  Answer<ModelPtr> model =
      co_await FindModel(exchange, services, Asker::kEmbed, request.model, *std::move(name));
  if (!model) co_return Refuse(std::move(model).error());

  const bool is_load = request.input.empty();
  Answer<Embedded> done = co_await EmbedTexts(exchange, services, *std::move(model), request,
                                              std::move(request.input), request.truncate);
  if (!done) co_return Refuse(std::move(done).error());
  if (is_load) {
    co_await SendJson(exchange, EmbedAnswer(request.model, {}, {}, {}, 0));
    co_return Answer<void>{};
  }
  // Thousands of vectors take longer to write than the strand should be held.
  std::function<Result<std::string>()> write = [&]() -> Result<std::string> {
    Vectors& vectors = done->embeddings.vectors;
    if (auto finished = FinishVectors(request.dimensions, &vectors); !finished) {
      return Fail(Code::kInvalidArgument, finished.error().text);
    }
    return EmbedAnswer(request.model, vectors, Elapsed(exchange), done->load_time,
                       done->embeddings.prompt_tokens);
  };
  Result<std::string> body = co_await OnBlockingPool<std::string>(exchange, std::move(write));
  if (!body) co_return Refuse(FailureOf(std::move(body).error(), exchange.stop()));
  co_await SendJson(exchange, *std::move(body));
  co_return Answer<void>{};
}

http::Task<Answer<void>> EmbedOne(const Services& services, http::Exchange& exchange) {
  Answer<EmbeddingsRequest> read =
      co_await ReadRequest<EmbeddingsRequest>(exchange, &ReadEmbeddingsRequest);
  if (!read) co_return Refuse(std::move(read).error());
  EmbeddingsRequest& request = *read;
  Answer<ModelPtr> model =
      co_await FindModel(exchange, services, Asker::kEmbeddings, request.model);
  if (!model) co_return Refuse(std::move(model).error());

  std::vector<std::string> texts;
  if (!request.prompt.empty()) texts.push_back(std::move(request.prompt));
  Answer<Embedded> done =
      co_await EmbedTexts(exchange, services, *std::move(model), request, std::move(texts),
                          /*truncate=*/false);
  if (!done) {
    // This route has no 400 for what goes wrong while embedding.
    if (done.error().status == 400 &&
        done.error().text == "the input length exceeds the context length") {
      done.error().status = 500;
    }
    co_return Refuse(std::move(done).error());
  }
  Vectors& vectors = done->embeddings.vectors;
  if (auto finished = FinishVectors(0, &vectors); !finished)
    co_return Refuse(500, finished.error().text);
  // Not inside the co_await: GCC 12 evaluates both sides of a conditional with temporaries there.
  std::string body = EmbeddingsAnswer(vectors.empty() ? std::vector<float>() : vectors.front());
  co_await SendJson(exchange, std::move(body));
  co_return Answer<void>{};
}

}  // namespace

http::Task<void> HandleEmbed(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Embed(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

http::Task<void> HandleEmbeddings(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await EmbedOne(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

}  // namespace corral::api
