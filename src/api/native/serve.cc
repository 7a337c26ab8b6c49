#include "api/native/serve.h"

#include <utility>
#include <variant>

#include "core/log.h"
#include "core/sha256.h"
#include "core/text.h"

namespace corral::api {
namespace {

// Pieces between two AddCredits: a quarter of what a job starts with, so that it never runs dry
// while we read.
constexpr int kCreditBatch = worker::kInitialCredit / 4;

// Lines that wait go out in one write up to about this size.
constexpr std::size_t kMostTogetherBytes = 32U << 10U;

void Append(Piece&& piece, Piece* all) {
  all->text += piece.text;
  all->thinking += piece.thinking;
  std::move(piece.tool_calls.begin(), piece.tool_calls.end(), std::back_inserter(all->tool_calls));
  std::move(piece.logprobs.begin(), piece.logprobs.end(), std::back_inserter(all->logprobs));
}

std::string_view DoneReasonName(DoneReason reason) {
  return reason == DoneReason::kLength ? "length" : "stop";
}

// A worker says why a model did not load; two of the reasons have texts of Ollama's.
Failure LoadFailure(Error error, const scheduler::ModelRequest& request, const StopToken& stop) {
  if (error.code == Code::kNotFound) {
    return {404, "model \"" + request.name + "\" not found, try pulling it first"};
  }
  if (error.code == Code::kCorrupt) {
    error.message +=
        ": this model may be incompatible with your version of Ollama. If you previously pulled "
        "this model, "
        "try updating it by running `ollama pull " +
        request.name + "`";
  }
  return FailureOf(std::move(error), stop);
}

}  // namespace

http::Task<void> SendJson(http::Exchange& exchange, std::string body,
                          std::string_view content_type) {
  http::Response response;
  response.content_type = content_type;
  response.body = std::move(body);
  // A client that is gone is not an event for a handler that has nothing left to do.
  (void)co_await exchange.Send(std::move(response));
}

http::Task<void> SendEmpty(http::Exchange& exchange, int status) {
  http::Response response;
  response.status = status;
  (void)co_await exchange.Send(std::move(response));
}

namespace {

http::Task<void> SendFailureBody(http::Exchange& exchange, Failure failure, std::string body,
                                 std::string_view content_type) {
  if (failure.is_silent) co_return;
  if (failure.status >= 500 && failure.status != 503) {
    Log(LogLevel::kError, "request failed",
        {{"id", exchange.request().id},
         {"path", exchange.request().path},
         {"error", failure.text}});
  }
  http::Response response;
  response.status = failure.status;
  response.content_type = content_type;
  response.body = std::move(body);
  if (failure.status == 503) response.headers.emplace_back("Retry-After", "1");
  (void)co_await exchange.Send(std::move(response));
}

}  // namespace

http::Task<void> SendFailure(http::Exchange& exchange, Failure failure,
                             std::string_view content_type) {
  std::string body = ErrorBody(failure.text);
  return SendFailureBody(exchange, std::move(failure), std::move(body), content_type);
}

http::Task<void> SendV1Failure(http::Exchange& exchange, Failure failure) {
  std::string body = OpenAiErrorBody(failure.status, failure.text);
  return SendFailureBody(exchange, std::move(failure), std::move(body), kJson);
}

Failure FailureOf(Error error, const StopToken& stop) {
  const bool is_gone = stop.Reason() == StopReason::kClientGone;
  // A client that closed its sending half may still read: what had gone wrong anyway is told.
  if (stop.StopRequested() && (!is_gone || error.code == Code::kCancelled)) {
    Failure failure(stop.ToError());
    failure.is_silent = is_gone;
    return failure;
  }
  // Cancelled, but not by this request: it ended for a reason inside the server, and its client
  // waits for an answer.
  if (error.code == Code::kCancelled) error.code = Code::kInternal;
  return Failure(std::move(error));
}

http::Task<Answer<ModelPtr>> FindModel(http::Exchange& exchange, const Services& services,
                                       Asker asker, std::string as_sent, CheckedName name) {
  std::function<Result<ModelPtr>()> load = [&services, &name] {
    return services.store.Load(name.name);
  };
  Result<ModelPtr> model = co_await OnBlockingPool<ModelPtr>(exchange, std::move(load));
  if (!model) {
    if (model.error().code == Code::kNotFound)
      co_return Refuse(ModelNotFound(asker, as_sent, name.name));
    co_return Refuse(FailureOf(std::move(model).error(), exchange.stop()));
  }
  if (auto checked = CheckIsLocal(asker, as_sent, name, **model); !checked)
    co_return Refuse(checked.error());
  co_return *std::move(model);
}

http::Task<Answer<ModelPtr>> FindModel(http::Exchange& exchange, const Services& services,
                                       Asker asker, std::string as_sent) {
  Answer<CheckedName> name = CheckName(asker, as_sent);
  if (!name) co_return Refuse(std::move(name).error());
  co_return co_await FindModel(exchange, services, asker, std::move(as_sent), *std::move(name));
}

http::Task<Answer<scheduler::Lease>> AcquireLease(http::Exchange& exchange,
                                                  const Services& services,
                                                  scheduler::ModelRequest request) {
  const scheduler::ModelRequest asked = request;
  auto box = std::make_shared<http::Mailbox<Result<scheduler::Lease>>>(exchange.executor());
  scheduler::Scheduler::OnLease on_lease = [box](Result<scheduler::Lease> lease) {
    box->Push(std::move(lease));
  };
  services.scheduler.Acquire(std::move(request), exchange.stop(), std::move(on_lease));
  Result<scheduler::Lease> lease = co_await box->Next();
  if (!lease) co_return Refuse(LoadFailure(std::move(lease).error(), asked, exchange.stop()));
  co_return *std::move(lease);
}

JobRun::JobRun(http::Exchange& exchange, scheduler::Lease lease, worker::Job job)
    : events_(std::make_shared<http::Mailbox<JobEvent>>(exchange.executor())),
      lease_(std::move(lease)) {
  id_ = lease_.worker().Submit(
      std::move(job), [events = events_](JobEvent event) { events->Push(std::move(event)); });
  on_stop_.emplace(exchange.stop(), [this] { lease_.worker().Cancel(id_); });
}

JobRun::~JobRun() {
  // Only when the server is torn down around a waiting handler.
  if (!has_ended_) lease_.worker().Cancel(id_);
}

void JobRun::Taken(const JobEvent& event) {
  if (IsLast(event)) {
    has_ended_ = true;
    on_stop_.reset();
    lease_.Release();
  } else if (++n_taken_ == kCreditBatch) {
    lease_.worker().AddCredit(id_, std::exchange(n_taken_, 0));
  }
}

http::Task<JobEvent> JobRun::Next() {
  JobEvent event = co_await events_->Next();
  Taken(event);
  co_return event;
}

std::optional<JobEvent> JobRun::TryNext() {
  std::optional<JobEvent> event = events_->TryNext();
  if (event) Taken(*event);
  return event;
}

http::Task<void> JobRun::Abandon() {
  if (has_ended_) co_return;
  lease_.worker().Cancel(id_);
  while (!has_ended_) co_await Next();
}

http::Task<Answer<JobEvent>> RunToEnd(http::Exchange& exchange, scheduler::Lease lease,
                                      worker::Job job) {
  JobRun run(exchange, std::move(lease), std::move(job));
  std::optional<JobEvent> last;
  while (!last || !IsLast(*last)) last = co_await run.Next();
  if (Error* error = std::get_if<Error>(&*last)) {
    co_return Refuse(FailureOf(std::move(*error), exchange.stop()));
  }
  co_return *std::move(last);
}

http::Task<void> AnswerWithJob(http::Exchange& exchange, scheduler::Lease lease, GenerateJob job,
                               bool is_streamed, std::chrono::nanoseconds load_time,
                               Recorder recorder) {
  if (job.render_only) is_streamed = false;
  JobRun run(exchange, std::move(lease), std::move(job));
  Piece all;  // what came so far, unless it was streamed
  std::optional<JobEvent> last;
  while (!last) {
    JobEvent event = co_await run.Next();
    if (IsLast(event)) {
      last = std::move(event);
      break;
    }
    if (!is_streamed) {
      Append(std::move(std::get<Piece>(event)), &all);
      continue;
    }
    std::string lines = recorder.record(std::get<Piece>(event), nullptr) + "\n";
    while (!last && lines.size() < kMostTogetherBytes) {
      std::optional<JobEvent> more = run.TryNext();
      if (!more) break;
      if (IsLast(*more)) {
        last = std::move(more);
      } else {
        lines += recorder.record(std::get<Piece>(*more), nullptr) + "\n";
      }
    }
    Status status;
    if (!exchange.HasStarted()) status = co_await exchange.StartStream(200, std::string(kNdjson));
    if (status) status = co_await exchange.Write(std::move(lines));
    if (!status) {
      co_await run.Abandon();
      co_return;
    }
  }

  if (Error* error = std::get_if<Error>(&*last)) {
    Failure failure = FailureOf(std::move(*error), exchange.stop());
    if (!exchange.HasStarted()) {
      const std::string_view type = is_streamed ? kStreamJson : kJson;
      co_await SendFailure(exchange, std::move(failure), type);
    } else if (!failure.is_silent) {
      const Status status = co_await exchange.Write(ErrorBody(failure.text) + "\n");
      if (status) (void)co_await exchange.FinishStream();
    }
    co_return;
  }
  if (!std::holds_alternative<Finish>(*last)) {
    co_await SendFailure(exchange,
                         Failure(500, "the worker gave another kind of answer than asked for"));
    co_return;
  }
  const Finish& finish = std::get<Finish>(*last);
  if (recorder.debug_record && !finish.rendered_prompt.empty()) {
    co_await SendJson(exchange, recorder.debug_record(finish.rendered_prompt));
    co_return;
  }
  const RecordEnd end{.done_reason = DoneReasonName(finish.reason),
                      .total_time = Elapsed(exchange),
                      .load_time = load_time,
                      .finish = &finish};
  std::string record = recorder.record(all, &end);
  if (!is_streamed) {
    co_await SendJson(exchange, std::move(record));
    co_return;
  }
  Status status;
  if (!exchange.HasStarted()) status = co_await exchange.StartStream(200, std::string(kNdjson));
  if (status) status = co_await exchange.Write(std::move(record) + "\n");
  if (status) (void)co_await exchange.FinishStream();
}

std::string PrefixSalt(const Settings& settings, const http::Request& request) {
  if (!settings.prefix_salt_per_key) return {};
  std::string_view key = TrimSpace(request.Header("authorization"));
  if (ToLowerAscii(key.substr(0, 7)) == "bearer ") key = TrimSpace(key.substr(7));
  return key.empty() ? std::string() : Sha256Hex(key);
}

std::chrono::nanoseconds Elapsed(const http::Exchange& exchange) {
  return Clock::now() - exchange.request().received;
}

}  // namespace corral::api
