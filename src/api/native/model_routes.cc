// GET /api/tags and /api/ps, POST /api/show and /api/copy, DELETE /api/delete.
#include <utility>

#include "api/native/handlers.h"
#include "api/native/serve.h"
#include "core/text.h"
#include "gguf/reader.h"

namespace corral::api {
namespace {

// What /api/show needs from the disk, read on the blocking pool.
Result<std::string> MakeShowAnswer(const models::Model& stored, const ShowRequest& request,
                                   GoTemplateSetting setting, std::string basename_override) {
  models::Model model = stored;
  if (!request.system.empty()) model.system = request.system;
  ShowInput input(model);
  {
    // The request's options show up in the lines of the Modelfile only.
    models::Model changed = model;
    CORRAL_TRY(const models::Params extra, ToParams(request.options));
    for (const auto& [name, value] : extra) changed.params[name] = value;
    input.modelfile = models::ShowModelfile(changed);
  }
  input.info = model.info.get();
  input.projector = model.projector_info.get();
  gguf::Info weights, projector;  // with all their arrays
  if (request.is_verbose) {
    gguf::ReadOptions read;
    read.keep_arrays = true;
    if (input.info != nullptr) {
      CORRAL_TRY(weights, gguf::Read(model.gguf, read));
      input.info = &weights;
    }
    if (input.projector != nullptr) {
      CORRAL_TRY(projector, gguf::Read(model.projectors.front(), read));
      input.projector = &projector;
    }
  }
  input.is_verbose = request.is_verbose;
  input.uses_go_template = model.UsesGoTemplate(setting);
  input.capabilities = model.Capabilities(setting);
  input.basename_override = std::move(basename_override);
  return ShowAnswer(input);
}

http::Task<Answer<void>> Show(const Services& services, http::Exchange& exchange) {
  Answer<ShowRequest> request = co_await ReadRequest<ShowRequest>(exchange, &ReadShowRequest);
  if (!request) co_return Refuse(std::move(request).error());
  Answer<ModelPtr> model = co_await FindModel(exchange, services, Asker::kShow, request->model);
  if (!model) co_return Refuse(std::move(model).error());

  // One client shows this field as the model's name.
  const bool is_copilot = exchange.request().Header("user-agent").starts_with("GitHubCopilotChat/");
  std::function<Result<std::string>()> make = [&] {
    return MakeShowAnswer(**model, *request, services.settings.go_template,
                          is_copilot ? request->model : std::string());
  };
  Result<std::string> body = co_await OnBlockingPool<std::string>(exchange, std::move(make));
  if (!body) co_return Refuse(FailureOf(std::move(body).error(), exchange.stop()));
  co_await SendJson(exchange, *std::move(body));
  co_return Answer<void>{};
}

// Runs `work`, whose kNotFound is `not_found`; answers with an empty 200.
http::Task<Answer<void>> Change(http::Exchange& exchange, std::function<Status()> work,
                                Failure not_found) {
  Status changed;
  std::function<void()> run = [&] { changed = work(); };
  Status ran = co_await exchange.RunBlocking(std::move(run));
  if (!ran) co_return Refuse(FailureOf(std::move(ran).error(), exchange.stop()));
  if (!changed) {
    if (changed.error().code == Code::kNotFound) co_return Refuse(std::move(not_found));
    co_return Refuse(FailureOf(std::move(changed).error(), exchange.stop()));
  }
  co_await SendEmpty(exchange, 200);
  co_return Answer<void>{};
}

http::Task<Answer<void>> Copy(const Services& services, http::Exchange& exchange) {
  Answer<CopyRequest> request = co_await ReadRequest<CopyRequest>(exchange, &ReadCopyRequest);
  if (!request) co_return Refuse(std::move(request).error());
  const auto source = models::ModelName::Parse(request->source);
  if (!source) co_return Refuse(400, "source " + GoQuote(request->source) + " is invalid");
  const auto destination = models::ModelName::Parse(request->destination);
  if (!destination)
    co_return Refuse(400, "destination " + GoQuote(request->destination) + " is invalid");
  std::function<Status()> copy = [&] {
    return services.store.Copy(services.store.Existing(*source),
                               services.store.Existing(*destination));
  };
  co_return co_await Change(exchange, std::move(copy),
                            Failure(404, "model " + GoQuote(request->source) + " not found"));
}

// The stored name of a reference: a stub pulled as "x:cloud" keeps that tag, ":local" is not part
// of a name.
Answer<models::ModelName> NameToDelete(const std::string& as_sent) {
  if (TrimSpace(as_sent).empty()) return Refuse(400, "model is required");
  auto reference = models::ParseReference(as_sent);
  if (!reference) return Refuse(Failure(std::move(reference).error()));
  auto name = models::ModelName::Parse(reference->PullName());
  if (!name) return Refuse(400, "name " + GoQuote(as_sent) + " is invalid");
  return *std::move(name);
}

http::Task<Answer<void>> Delete(const Services& services, http::Exchange& exchange) {
  Answer<DeleteRequest> request = co_await ReadRequest<DeleteRequest>(exchange, &ReadDeleteRequest);
  if (!request) co_return Refuse(std::move(request).error());
  const Answer<models::ModelName> name = NameToDelete(request->model);
  if (!name) co_return Refuse(name.error());
  std::function<Status()> remove = [&] {
    return services.store.Delete(services.store.Existing(*name));
  };
  co_return co_await Change(exchange, std::move(remove),
                            Failure(404, "model '" + request->model + "' not found"));
}

}  // namespace

http::Task<void> HandleTags(const Services& services, http::Exchange& exchange) {
  std::function<Result<std::string>()> list = [&services]() -> Result<std::string> {
    CORRAL_TRY(const auto summaries, services.store.List());
    return TagsAnswer(summaries);
  };
  Result<std::string> body = co_await OnBlockingPool<std::string>(exchange, std::move(list));
  if (!body) {
    co_await SendFailure(exchange, FailureOf(std::move(body).error(), exchange.stop()));
    co_return;
  }
  co_await SendJson(exchange, *std::move(body));
}

http::Task<void> HandlePs(const Services& services, http::Exchange& exchange) {
  std::function<Result<std::string>()> list = [&services]() -> Result<std::string> {
    return PsAnswer(services.scheduler.Loaded(), Timestamp::Now());
  };
  Result<std::string> body = co_await OnBlockingPool<std::string>(exchange, std::move(list));
  if (!body) {
    co_await SendFailure(exchange, FailureOf(std::move(body).error(), exchange.stop()));
    co_return;
  }
  co_await SendJson(exchange, *std::move(body));
}

http::Task<void> HandleShow(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Show(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

http::Task<void> HandleCopy(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Copy(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

http::Task<void> HandleDelete(const Services& services, http::Exchange& exchange) {
  Answer<void> answer = co_await Delete(services, exchange);
  if (!answer) co_await SendFailure(exchange, std::move(answer).error());
}

}  // namespace corral::api
