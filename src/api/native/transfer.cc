// POST /api/pull and /api/push.
#include <utility>
#include <variant>

#include "api/json_writer.h"
#include "api/native/handlers.h"
#include "api/native/serve.h"
#include "registry/registry.h"

namespace corral::api {
namespace {

// Lines that a slow client has not taken: beyond these, a blob's passing ones are left out.
constexpr std::size_t kMostWaiting = 32;

std::string ProgressRecord(const registry::Progress& progress) {
  JsonWriter writer;
  writer.BeginObject()
      .Field("status", progress.status)
      .FieldUnlessEmpty("digest", progress.digest)
      .FieldUnlessZero("total", progress.total)
      .FieldUnlessZero("completed", progress.completed)
      .EndObject();
  return writer.Take();
}

using TransferEvent = std::variant<registry::Progress, Status>;
using Start = std::function<Status(registry::Registry::OnProgress on_progress,
                                   registry::Registry::OnEnd on_end)>;

// Starts a transfer and answers with its lines, or with the last of them.
http::Task<Answer<void>> AnswerWithTransfer(http::Exchange& exchange, bool is_streamed,
                                            Start start) {
  auto events = std::make_shared<http::Mailbox<TransferEvent>>(exchange.executor());
  registry::Registry::OnProgress on_progress = [events](registry::Progress progress) {
    if (progress.is_passing && events->Size() >= kMostWaiting) return;
    events->Push(std::move(progress));
  };
  registry::Registry::OnEnd on_end = [events](Status status) { events->Push(std::move(status)); };
  Status started = start(std::move(on_progress), std::move(on_end));
  if (!started) co_return Refuse(FailureOf(std::move(started).error(), exchange.stop()));

  bool is_written = true;
  std::string last_record;
  Status end;
  for (;;) {
    TransferEvent event = co_await events->Next();
    if (Status* status = std::get_if<Status>(&event)) {
      end = std::move(*status);
      break;
    }
    if (!is_written) continue;
    last_record = ProgressRecord(std::get<registry::Progress>(event));
    if (!is_streamed) continue;
    Status status;
    if (!exchange.HasStarted()) status = co_await exchange.StartStream(200, std::string(kNdjson));
    if (status) status = co_await exchange.Write(last_record + "\n");
    is_written = status.has_value();  // else the client is gone, and the transfer stops for it
  }
  if (!is_written) co_return Answer<void>{};
  if (!end) {
    Failure failure = FailureOf(std::move(end).error(), exchange.stop());
    if (!exchange.HasStarted()) {
      // Whatever it is, it is Ollama's 500; but for what a client should try again.
      if (failure.status != 503) failure.status = 500;
      co_await SendFailure(exchange, std::move(failure), kStreamJson);
    } else if (!failure.is_silent) {
      const Status status = co_await exchange.Write(ErrorBody(failure.text) + "\n");
      if (status) (void)co_await exchange.FinishStream();
    }
    co_return Answer<void>{};
  }
  if (!is_streamed) {
    co_await SendJson(exchange, std::move(last_record), kStreamJson);
    co_return Answer<void>{};
  }
  if (exchange.HasStarted()) (void)co_await exchange.FinishStream();
  co_return Answer<void>{};
}

http::Task<Answer<void>> Pull(const Services& services, http::Exchange& exchange) {
  Answer<TransferRequest> request =
      co_await ReadRequest<TransferRequest>(exchange, &ReadPullRequest);
  if (!request) co_return Refuse(std::move(request).error());
  auto reference = models::ParseReference(request->model);
  if (!reference) co_return Refuse(Failure(std::move(reference).error()));
  const auto name = models::ModelName::Parse(reference->PullName());
  if (!name) co_return Refuse(400, "invalid model name");

  std::function<Result<models::ModelName>()> look = [&]() -> Result<models::ModelName> {
    CORRAL_TRY_STATUS(services.registry.CheckAllowed(*name, /*is_push=*/false));
    CORRAL_TRY_STATUS(services.store.CheckWritable());
    return services.store.Existing(*name);
  };
  Result<models::ModelName> existing =
      co_await OnBlockingPool<models::ModelName>(exchange, std::move(look));
  if (!existing) co_return Refuse(FailureOf(std::move(existing).error(), exchange.stop()));

  registry::TransferRequest transfer{*existing, request->is_insecure};
  Start start = [&](registry::Registry::OnProgress on_progress, registry::Registry::OnEnd on_end) {
    return services.registry.StartPull(transfer, exchange.stop(), std::move(on_progress),
                                       std::move(on_end));
  };
  co_return co_await AnswerWithTransfer(exchange, request->is_streamed, std::move(start));
}

http::Task<Answer<void>> Push(const Services& services, http::Exchange& exchange) {
  Answer<TransferRequest> request =
      co_await ReadRequest<TransferRequest>(exchange, &ReadPushRequest);
  if (!request) co_return Refuse(std::move(request).error());
  if (request->model.empty()) co_return Refuse(400, "model is required");
  const auto name = models::ModelName::Parse(request->model);
  std::optional<models::ModelName> stored_name;
  if (name) {
    std::function<Result<models::ModelName>()> look = [&]() -> Result<models::ModelName> {
      CORRAL_TRY_STATUS(services.registry.CheckAllowed(*name, /*is_push=*/true));
      return services.store.Existing(*name);
    };
    Result<models::ModelName> existing =
        co_await OnBlockingPool<models::ModelName>(exchange, std::move(look));
    if (!existing) co_return Refuse(FailureOf(std::move(existing).error(), exchange.stop()));
    stored_name = *std::move(existing);
  }
  Start start = [&](registry::Registry::OnProgress on_progress, registry::Registry::OnEnd on_end) {
    if (stored_name) {
      return services.registry.StartPush({*stored_name, request->is_insecure}, exchange.stop(),
                                         std::move(on_progress), std::move(on_end));
    }
    // Ollama finds a bad name no sooner than the manifest.
    on_progress({.status = "retrieving manifest"});
    on_progress({.status = "couldn't retrieve manifest"});
    on_end(Fail(Code::kInvalidArgument, "unqualified name: " + request->model));
    return Status();
  };
  co_return co_await AnswerWithTransfer(exchange, request->is_streamed, std::move(start));
}

}  // namespace

http::Task<void> HandlePush(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Push(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

http::Task<void> HandlePull(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Pull(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

}  // namespace corral::api
