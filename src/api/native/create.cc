// POST /api/create, and HEAD and POST /api/blobs/{digest}.
#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <utility>
#include <variant>

#include "api/json_writer.h"
#include "api/native/create_spec.h"
#include "api/native/handlers.h"
#include "api/native/serve.h"
#include "core/text.h"

namespace corral::api {
namespace {

// Bytes of a blob gathered before they go to the blocking pool together.
constexpr std::size_t kBlobChunkBytes = 1U << 20U;

std::string StatusRecord(std::string_view status) {
  JsonWriter writer;
  writer.BeginObject().Field("status", status).EndObject();
  return writer.Take();
}

// The store's work, on the blocking pool.
Status MakeModel(const Services& services, models::CreateSpec spec, const std::string& from_as_sent,
                 const std::function<void(std::string)>& progress, StopToken stop) {
  if (spec.from) {
    spec.from = services.store.Existing(*spec.from);
    if (const auto base = services.store.Load(*spec.from); !base) {
      if (base.error().code != Code::kNotFound) return Fail(base.error());
      return Fail(Code::kNotFound, "model '" + from_as_sent + "' not found");
    }
  }
  for (const auto& [path, digest] : spec.files) {
    const std::filesystem::path blob = services.store.BlobPath(digest);
    std::error_code error;
    if (!std::filesystem::exists(blob, error)) continue;  // Create says so
    if (!LooksLikeGguf(path, blob)) return Fail(Code::kInvalidArgument, "unknown type");
  }
  spec.name = services.store.Existing(spec.name);
  return services.store.Create(spec, progress, std::move(stop));
}

// A status line, or the end.
using CreateEvent = std::variant<std::string, Status>;

http::Task<Answer<void>> Create(const Services& services, http::Exchange& exchange) {
  Answer<CreateRequest> request = co_await ReadRequest<CreateRequest>(exchange, &ReadCreateRequest);
  if (!request) co_return Refuse(std::move(request).error());
  Answer<models::CreateSpec> spec = ToCreateSpec(*request);
  if (!spec) co_return Refuse(std::move(spec).error());

  // The pool pushes lines while this coroutine writes them; both share the mailbox. There are as
  // many lines as a model has layers, so it stays small.
  auto events = std::make_shared<http::Mailbox<CreateEvent>>(exchange.executor());
  Status made;
  std::function<void()> work = [&] {
    const std::function<void(std::string)> progress = [&](std::string line) {
      events->Push(std::move(line));
    };
    made = MakeModel(services, *spec, request->from, progress, exchange.stop());
  };
  boost::asio::co_spawn(exchange.executor(), exchange.RunBlocking(std::move(work)),
                        [events, &made](std::exception_ptr failure, Status ran) {
                          if (failure) {
                            events->Push(Status(Fail(Code::kInternal, "create failed")));
                          } else {
                            events->Push(ran ? made : ran);
                          }
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
    if (status) status = co_await exchange.Write(StatusRecord(std::get<std::string>(event)) + "\n");
    is_written = status.has_value();
  }
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
  if (!request->is_streamed) {
    co_await SendJson(exchange, StatusRecord("success"), kStreamJson);
    co_return Answer<void>{};
  }
  Status status;
  if (!exchange.HasStarted()) status = co_await exchange.StartStream(200, std::string(kNdjson));
  if (status) status = co_await exchange.Write(StatusRecord("success") + "\n");
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
