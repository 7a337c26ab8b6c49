// POST /api/create, and HEAD and POST /api/blobs/{digest}.
#include <pthread.h>

#include <exception>
#include <thread>
#include <utility>
#include <variant>

#include "api/json_writer.h"
#include "api/native/create_spec.h"
#include "api/native/handlers.h"
#include "api/native/make_model.h"
#include "api/native/serve.h"
#include "core/text.h"

namespace corral::api {
namespace {

// Bytes of a blob gathered before they go to the blocking pool together.
constexpr std::size_t kBlobChunkBytes = 1U << 20U;

// Creates at once; each has a thread, and may have a worker process.
constexpr int kMostCreates = 8;
// Lines that a slow client has not taken: beyond these, passing ones are left out.
constexpr std::size_t kMostWaiting = 32;

std::string StatusRecord(const MakeProgress& progress) {
  JsonWriter writer;
  writer.BeginObject().Field("status", progress.status);
  if (progress.total > 0) {
    // Ollama's: what is being made has no digest yet.
    const std::string_view digest =
        progress.digest.empty() ? std::string_view("0000000000000000000") : progress.digest;
    writer.Field("digest", digest).Field("total", progress.total);
    if (progress.completed > 0) writer.Field("completed", progress.completed);
  }
  writer.EndObject();
  return writer.Take();
}

// A status line, or the end.
using CreateEvent = std::variant<MakeProgress, Status>;
using CreateEvents = http::Mailbox<CreateEvent>;

// Counts a create among those that run, as long as it lives.
class CreateTurn {
 public:
  explicit CreateTurn(std::shared_ptr<std::atomic<int>> n_creates)
      : n_creates_(std::move(n_creates)), is_taken_(n_creates_->fetch_add(1) < kMostCreates) {}
  CreateTurn(const CreateTurn&) = delete;
  CreateTurn& operator=(const CreateTurn&) = delete;
  ~CreateTurn() { n_creates_->fetch_sub(1); }
  bool is_taken() const { return is_taken_; }

 private:
  const std::shared_ptr<std::atomic<int>> n_creates_;
  const bool is_taken_;
};

// Makes the model and pushes what happens, the end last. A thread's main.
void Make(const Services& services, CreatePlan plan, CreateEvents& events, const StopToken& stop) {
  ::pthread_setname_np(::pthread_self(), "create");
  Status made;
  try {
    made = MakeModel(
        services, std::move(plan),
        [&events](MakeProgress progress) {
          if (progress.is_passing && events.Size() >= kMostWaiting) return;
          events.Push(std::move(progress));
        },
        stop);
  } catch (const std::exception& error) {
    made = Fail(Code::kInternal, std::string("create failed: ") + error.what());
  }
  events.Push(std::move(made));
}

http::Task<Answer<void>> Create(const Services& services, http::Exchange& exchange) {
  Answer<CreateRequest> request = co_await ReadRequest<CreateRequest>(exchange, &ReadCreateRequest);
  if (!request) co_return Refuse(std::move(request).error());
  Answer<CreatePlan> plan = ToCreatePlan(*request);
  if (!plan) co_return Refuse(std::move(plan).error());
  const CreateTurn turn(services.n_creates);
  if (!turn.is_taken())
    co_return Refuse(503, "server busy: too many models are being created, please try again");

  // The thread pushes lines while this coroutine writes them; both share the mailbox. There are
  // some hundreds of lines at most. A conversion takes minutes: too long for the blocking pool.
  auto events = std::make_shared<CreateEvents>(exchange.executor());
  std::jthread maker([&services, &plan, events, stop = exchange.stop()] {
    Make(services, *std::move(plan), *events, stop);
  });

  // Whatever happens to the client, the work's end is waited for: it uses this frame.
  bool is_written = true;
  Status end;
  for (;;) {
    CreateEvent event = co_await events->Next();
    if (Status* status = std::get_if<Status>(&event)) {
      end = std::move(*status);
      break;
    }
    if (!request->is_streamed || !is_written) continue;
    Status status;
    if (!exchange.HasStarted()) status = co_await exchange.StartStream(200, std::string(kNdjson));
    if (status)
      status = co_await exchange.Write(StatusRecord(std::get<MakeProgress>(event)) + "\n");
    is_written = status.has_value();
  }
  maker.join();  // it has pushed the end, and does no more
  if (!is_written) co_return Answer<void>{};
  if (!end) {
    Failure failure = FailureOf(std::move(end).error(), exchange.stop());
    if (!exchange.HasStarted()) {
      co_await SendFailure(exchange, std::move(failure), kStreamJson);
    } else if (!failure.is_silent) {
      const Status status = co_await exchange.Write(ErrorBody(failure.text) + "\n");
      if (status) (void)co_await exchange.FinishStream();
    }
    co_return Answer<void>{};
  }
  const std::string success = StatusRecord(MakeProgress{"success"});
  if (!request->is_streamed) {
    co_await SendJson(exchange, success, kStreamJson);
    co_return Answer<void>{};
  }
  Status status;
  if (!exchange.HasStarted()) status = co_await exchange.StartStream(200, std::string(kNdjson));
  if (status) status = co_await exchange.Write(success + "\n");
  if (status) (void)co_await exchange.FinishStream();
  co_return Answer<void>{};
}

// The body becomes a blob. The writer is made, filled and given up on the blocking pool.
http::Task<Answer<void>> Upload(const Services& services, http::Exchange& exchange,
                                const models::Digest& digest) {
  std::unique_ptr<models::BlobWriter> writer;
  Status written;
  std::string chunk;
  bool is_end = false;
  std::function<void()> write = [&] {
    if (!writer) {
      auto made = services.store.NewBlob();
      if (!made) {
        written = Fail(made.error());
        return;
      }
      writer = *std::move(made);
    }
    if (!chunk.empty()) written = writer->Append(chunk);
    if (written && is_end) written = writer->Commit(digest);
    if (!written) writer.reset();
  };
  while (!is_end) {
    Result<std::string> part = co_await exchange.ReadSome();
    if (!part) {
      std::function<void()> give_up = [&] { writer.reset(); };
      (void)co_await exchange.RunBlocking(std::move(give_up));
      co_return Refuse(FailureOf(std::move(part).error(), exchange.stop()));
    }
    is_end = part->empty();
    chunk += *part;
    if (!is_end && chunk.size() < kBlobChunkBytes) continue;
    std::function<void()> again = write;
    Status ran = co_await exchange.RunBlocking(std::move(again));
    if (!ran) co_return Refuse(FailureOf(std::move(ran).error(), exchange.stop()));
    if (!written) {
      if (written.error().code == Code::kCorrupt) co_return Refuse(400, written.error().message);
      co_return Refuse(FailureOf(std::move(written).error(), exchange.stop()));
    }
    chunk.clear();
  }
  co_await SendEmpty(exchange, 201);
  co_return Answer<void>{};
}

http::Task<Answer<void>> Blob(const Services& services, http::Exchange& exchange) {
  const std::string as_sent(exchange.request().Param("digest"));
  const auto digest = models::Digest::Parse(as_sent);
  if (!digest) co_return Refuse(400, "invalid digest format");
  bool is_present = false;
  std::function<void()> look = [&] { is_present = services.store.HasBlob(*digest); };
  Status ran = co_await exchange.RunBlocking(std::move(look));
  if (!ran) co_return Refuse(FailureOf(std::move(ran).error(), exchange.stop()));
  if (is_present) {
    co_await SendEmpty(exchange, 200);
    co_return Answer<void>{};
  }
  if (exchange.request().method == "HEAD")
    co_return Refuse(404, "blob " + GoQuote(as_sent) + " not found");
  co_return co_await Upload(services, exchange, *digest);
}

}  // namespace

http::Task<void> HandleCreate(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Create(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

http::Task<void> HandleBlob(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Blob(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

}  // namespace corral::api
