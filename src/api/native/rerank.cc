// POST /api/rerank and /v1/rerank: documents in the order in which they answer a query. Ollama has
// neither; the request is Jina's and Cohere's.
#include <algorithm>
#include <utility>
#include <variant>

#include "api/native/adapters.h"
#include "api/native/handlers.h"
#include "api/native/serve.h"

namespace corral::api {
namespace {

constexpr std::size_t kMostDocuments = 10'000;

struct Ranking {
  std::vector<RankedDocument> ranked;  // best first, cut to top_n
  std::vector<std::string> documents;  // as sent; empty where the answer is without them
  std::string model;                   // as sent
  std::chrono::nanoseconds load_time{0};
  std::int64_t prompt_tokens = 0;
};

http::Task<Answer<Ranking>> Rank(const Services& services, http::Exchange& exchange) {
  Answer<RerankRequest> read = co_await ReadRequest<RerankRequest>(exchange, &ReadRerankRequest);
  if (!read) co_return Refuse(std::move(read).error());
  RerankRequest& request = *read;
  Answer<ModelPtr> model = co_await FindModel(exchange, services, Asker::kEmbed, request.model);
  if (!model) co_return Refuse(std::move(model).error());
  if (request.query.empty()) co_return Refuse(400, "query is required");
  if (request.documents.empty()) co_return Refuse(400, "documents are required");
  if (request.documents.size() > kMostDocuments) {
    co_return Refuse(400, "at most 10000 documents can be ranked at once");
  }
  Result<ResolvedOptions> options = ResolveOptions((*model)->params, request.options);
  if (!options) co_return Refuse(Failure(std::move(options).error()));
  Answer<std::vector<AdapterUse>> adapters =
      co_await FindAdapters(exchange, services, request, *model);
  if (!adapters) co_return Refuse(std::move(adapters).error());
  scheduler::ModelRequest asked = ToModelRequest(*std::move(model), *options, request.keep_alive,
                                                 services.settings.go_template);
  Answer<scheduler::Lease> lease = co_await AcquireLease(exchange, services, std::move(asked));
  if (!lease) co_return Refuse(std::move(lease).error());

  Ranking ranking;
  ranking.load_time = Elapsed(exchange);
  ranking.model = request.model;
  if (request.returns_documents) ranking.documents = request.documents;
  EmbedJob job;
  job.adapters = *std::move(adapters);
  job.rerank_query = std::move(request.query);
  job.texts = std::move(request.documents);
  job.num_ctx = lease->num_ctx();
  job.truncate = request.truncate;
  Answer<JobEvent> last =
      co_await RunToEnd(exchange, *std::move(lease), worker::Job(std::move(job)));
  if (!last) co_return Refuse(std::move(last).error());
  Embeddings* scores = std::get_if<Embeddings>(&*last);
  if (scores == nullptr)
    co_return Refuse(500, "the worker gave another kind of answer than asked for");

  ranking.prompt_tokens = scores->prompt_tokens;
  for (std::size_t i = 0; i < scores->vectors.size(); ++i) {
    const std::vector<float>& score = scores->vectors[i];
    if (score.empty()) co_return Refuse(500, "the model gave no score");
    RankedDocument document;
    document.index = i;
    document.score = score.front();
    ranking.ranked.push_back(document);
  }
  std::stable_sort(ranking.ranked.begin(), ranking.ranked.end(),
                   [](const auto& a, const auto& b) { return a.score > b.score; });
  const auto top_n = static_cast<std::size_t>(std::max<std::int64_t>(request.top_n, 0));
  if (top_n > 0 && top_n < ranking.ranked.size()) ranking.ranked.resize(top_n);
  co_return ranking;
}

}  // namespace

http::Task<void> HandleRerank(const Services& services, http::Exchange& exchange) {
  Answer<Ranking> ranking = co_await Rank(services, exchange);
  if (!ranking) {
    co_await SendFailure(exchange, std::move(ranking).error());
    co_return;
  }
  std::string body =
      NativeRerankAnswer(ranking->model, ranking->ranked, ranking->documents, Elapsed(exchange),
                         ranking->load_time, ranking->prompt_tokens);
  co_await SendJson(exchange, std::move(body));
}

http::Task<void> HandleV1Rerank(const Services& services, http::Exchange& exchange) {
  Answer<Ranking> ranking = co_await Rank(services, exchange);
  if (!ranking) {
    co_await SendV1Failure(exchange, std::move(ranking).error());
    co_return;
  }
  std::string body =
      RerankAnswer(ranking->model, ranking->ranked, ranking->documents, ranking->prompt_tokens);
  co_await SendJson(exchange, std::move(body));
}

}  // namespace corral::api
