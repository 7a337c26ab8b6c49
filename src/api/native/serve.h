// The steps that native handlers share: body in, model found, lease taken, job run, answer out.
//
// Coroutines on the exchange's strand; nothing here blocks it. Whatever goes wrong is a Failure,
// sent by the handler.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/errors.h"
#include "api/native/jobs.h"
#include "api/native/responses.h"
#include "api/services.h"
#include "http/http.h"
#include "http/mailbox.h"
#include "worker/client.h"

namespace corral::api {

inline constexpr std::string_view kJson = "application/json; charset=utf-8";
inline constexpr std::string_view kStreamJson =
    "application/json";  // errors and single answers of streaming routes
inline constexpr std::string_view kNdjson = "application/x-ndjson";

// Bodies larger than this are parsed on the blocking pool.
inline constexpr std::size_t kParseInPlaceBytes = 64U << 10U;

// Sends with status 200.
http::Task<void> SendJson(http::Exchange& exchange, std::string body,
                          std::string_view content_type = kJson);
http::Task<void> SendEmpty(http::Exchange& exchange, int status);
// {"error":...}; Retry-After with 503. A silent failure gets nothing.
http::Task<void> SendFailure(http::Exchange& exchange, Failure failure,
                             std::string_view content_type = kJson);
// The same in OpenAI's shape, for routes under /v1.
http::Task<void> SendV1Failure(http::Exchange& exchange, Failure failure);

// The Failure of an error that came while `stop` may have stopped: silent for work that was ended
// for a client that has left, 503 at shutdown.
Failure FailureOf(Error error, const StopToken& stop);

// Runs `work` on the blocking pool. Errors: those of `work`, kBusy.
template <class T>
http::Task<Result<T>> OnBlockingPool(http::Exchange& exchange, std::function<Result<T>()> work) {
  Result<T> result = Fail(Code::kInternal, "not run");
  std::function<void()> run = [&result, &work] { result = work(); };
  const Status status = co_await exchange.RunBlocking(std::move(run));
  if (!status) co_return Fail(status.error());
  co_return result;
}

// The body, read by one of the functions of requests.h.
template <class Request>
http::Task<Answer<Request>> ReadRequest(http::Exchange& exchange,
                                        Result<Request> (*read)(std::string_view)) {
  Result<std::string> body = co_await exchange.ReadBody();
  if (!body) co_return Refuse(FailureOf(std::move(body).error(), exchange.stop()));
  Result<Request> request = Fail(Code::kInternal, "not read");
  if (body->size() <= kParseInPlaceBytes) {
    request = read(*body);
  } else {
    std::function<Result<Request>()> work = [&body, read] { return read(*body); };
    request = co_await OnBlockingPool<Request>(exchange, std::move(work));
  }
  if (!request) co_return Refuse(FailureOf(std::move(request).error(), exchange.stop()));
  co_return *std::move(request);
}

using ModelPtr = std::shared_ptr<const models::Model>;

// The model of a checked name, of whatever spelling is stored; refused if it runs elsewhere.
http::Task<Answer<ModelPtr>> FindModel(http::Exchange& exchange, const Services& services,
                                       Asker asker, std::string as_sent, CheckedName name);

// CheckName and FindModel.
http::Task<Answer<ModelPtr>> FindModel(http::Exchange& exchange, const Services& services,
                                       Asker asker, std::string as_sent);

// The model, loaded.
http::Task<Answer<scheduler::Lease>> AcquireLease(http::Exchange& exchange,
                                                  const Services& services,
                                                  scheduler::ModelRequest request);

// One job on a leased model. Cancelled when the exchange stops; the lease goes back with the job's
// last event, so that the slot is free before the model counts as idle. Lives in a coroutine's
// frame: neither movable nor copyable.
class JobRun {
 public:
  JobRun(http::Exchange& exchange, scheduler::Lease lease, worker::Job job);
  JobRun(const JobRun&) = delete;
  JobRun& operator=(const JobRun&) = delete;
  ~JobRun();

  // The next event; never after the last. Gives credit back as pieces are taken.
  http::Task<JobEvent> Next();
  // The next event if it is there already. Not after the last.
  std::optional<JobEvent> TryNext();
  // Nobody wants the rest: cancels, and waits for the last event.
  http::Task<void> Abandon();

 private:
  // Counts the event just taken.
  void Taken(const JobEvent& event);

  std::shared_ptr<http::Mailbox<JobEvent>> events_;  // shared with the worker's reader thread
  scheduler::Lease lease_;
  JobId id_{};
  int n_taken_ = 0;  // pieces taken since the last AddCredit
  bool has_ended_ = false;
  std::optional<StopCallback> on_stop_;  // last: its destructor waits for a running callback
};

// Runs a job that gives no pieces. The answer is its last event and no Error.
http::Task<Answer<JobEvent>> RunToEnd(http::Exchange& exchange, scheduler::Lease lease,
                                      worker::Job job);

// How one dialect writes what a GenerateJob says.
struct Recorder {
  std::function<std::string(const Piece& piece, const RecordEnd* end)> record;
  std::function<std::string(std::string_view rendered)> debug_record;  // for render_only
};

// Runs the job and answers: NDJSON lines as pieces come (those that wait together go out together),
// or one object of all of them.
http::Task<void> AnswerWithJob(http::Exchange& exchange, scheduler::Lease lease, GenerateJob job,
                               bool is_streamed, std::chrono::nanoseconds load_time,
                               Recorder recorder);

// What keeps the prompts of this request's user apart from those of others in the prefix cache
// (CORRAL_PREFIX_SALT): made from the bearer token, without telling it. Empty: shared by all.
std::string PrefixSalt(const Settings& settings, const http::Request& request);

// Since the request's head.
std::chrono::nanoseconds Elapsed(const http::Exchange& exchange);

}  // namespace corral::api
