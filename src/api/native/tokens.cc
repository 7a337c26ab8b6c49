// POST /api/tokenize and /api/detokenize. Ollama has neither; the shapes are those proposed for it.
// A model that is not loaded is not loaded for them: a worker with its vocabulary alone will do.
#include <utility>
#include <variant>

#include "api/native/handlers.h"
#include "api/native/serve.h"

namespace corral::api {
namespace {

struct Converted {
  TokenText text;
  std::chrono::nanoseconds load_time{0};
};

http::Task<Answer<Converted>> Convert(const Services& services, http::Exchange& exchange,
                                      const ModelParts& request, TokenJob job) {
  Answer<ModelPtr> model = co_await FindModel(exchange, services, Asker::kGenerate, request.model);
  if (!model) co_return Refuse(std::move(model).error());
  Result<ResolvedOptions> options = ResolveOptions((*model)->params, request.options);
  if (!options) co_return Refuse(Failure(std::move(options).error()));
  scheduler::ModelRequest asked = ToModelRequest(*std::move(model), *options, request.keep_alive,
                                                 services.settings.go_template);
  asked.is_vocab_only = true;
  Answer<scheduler::Lease> lease = co_await AcquireLease(exchange, services, std::move(asked));
  if (!lease) co_return Refuse(std::move(lease).error());
  Converted converted;
  converted.load_time = Elapsed(exchange);
  Answer<JobEvent> last =
      co_await RunToEnd(exchange, *std::move(lease), worker::Job(std::move(job)));
  if (!last) co_return Refuse(std::move(last).error());
  TokenText* text = std::get_if<TokenText>(&*last);
  if (text == nullptr)
    co_return Refuse(500, "the worker gave another kind of answer than asked for");
  converted.text = std::move(*text);
  co_return converted;
}

}  // namespace

http::Task<void> HandleTokenize(const Services& services, http::Exchange& exchange) {
  Answer<TokenizeRequest> request =
      co_await ReadRequest<TokenizeRequest>(exchange, &ReadTokenizeRequest);
  if (!request) {
    co_await SendFailure(exchange, std::move(request).error());
    co_return;
  }
  TokenJob job;
  job.text = std::move(request->content);
  job.add_special = request->add_special;
  job.parse_special = request->parse_special;
  Answer<Converted> converted = co_await Convert(services, exchange, *request, std::move(job));
  if (!converted) {
    co_await SendFailure(exchange, std::move(converted).error());
    co_return;
  }
  // A text of many megabytes: writing its tokens takes longer than the strand should be held.
  std::function<Result<std::string>()> write = [&]() -> Result<std::string> {
    return TokenizeAnswer(request->model, converted->text.tokens, Elapsed(exchange),
                          converted->load_time);
  };
  Result<std::string> body = co_await OnBlockingPool<std::string>(exchange, std::move(write));
  if (!body) {
    co_await SendFailure(exchange, FailureOf(std::move(body).error(), exchange.stop()));
    co_return;
  }
  co_await SendJson(exchange, *std::move(body));
}

http::Task<void> HandleDetokenize(const Services& services, http::Exchange& exchange) {
  Answer<DetokenizeRequest> request =
      co_await ReadRequest<DetokenizeRequest>(exchange, &ReadDetokenizeRequest);
  if (!request) {
    co_await SendFailure(exchange, std::move(request).error());
    co_return;
  }
  TokenJob job;
  job.is_detokenize = true;
  job.tokens = std::move(request->tokens);
  Answer<Converted> converted = co_await Convert(services, exchange, *request, std::move(job));
  if (!converted) {
    co_await SendFailure(exchange, std::move(converted).error());
    co_return;
  }
  std::string body = DetokenizeAnswer(request->model, converted->text.text, Elapsed(exchange),
                                      converted->load_time);
  co_await SendJson(exchange, std::move(body));
}

}  // namespace corral::api
