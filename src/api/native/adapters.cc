#include "api/native/adapters.h"

#include <functional>
#include <utility>

#include "core/text.h"
#include "models/name.h"
#include "models/store.h"

namespace corral::api {
namespace {

void AddAll(const models::Model& model, float scale, std::vector<AdapterUse>* out) {
  for (const auto& file : model.adapters) out->push_back({file.native(), scale});
}

using Found = Answer<std::vector<AdapterUse>>;

// Blocks: reads manifests.
Found FindNamed(models::Store& store, const std::vector<AdapterChoice>& choices,
                const models::Model& model) {
  std::vector<AdapterUse> uses;
  for (const AdapterChoice& choice : choices) {
    if (TrimSpace(choice.name).empty()) return Refuse(400, "an adapter must have a name");
    const auto name = models::ModelName::Parse(choice.name);
    if (!name) return Refuse(400, "invalid adapter name " + GoQuote(choice.name));
    const auto bringer = store.Load(*name);
    if (!bringer) {
      if (bringer.error().code != Code::kNotFound) return Refuse(Failure(bringer.error()));
      return Refuse(404, "adapter " + GoQuote(choice.name) + " not found, try pulling it first");
    }
    if ((*bringer)->adapters.empty())
      return Refuse(400, "model " + GoQuote(choice.name) + " has no adapter");
    // Blobs are named after their content, in whatever folder they lie.
    if ((*bringer)->gguf.filename() != model.gguf.filename()) {
      return Refuse(400, "the adapter of " + GoQuote(choice.name) + " is for other weights than " +
                             GoQuote(model.name.Short()) + " has");
    }
    AddAll(**bringer, choice.scale, &uses);
    if (uses.size() > kMostAdapters) {
      return Refuse(400,
                    "at most " + std::to_string(kMostAdapters) + " adapters can be used at once");
    }
  }
  return uses;
}

}  // namespace

http::Task<Found> FindAdapters(http::Exchange& exchange, const Services& services,
                               const ModelParts& request, ModelPtr model) {
  if (!request.adapters) {
    std::vector<AdapterUse> uses;
    AddAll(*model, 1.0F, &uses);
    co_return uses;
  }
  std::function<Result<Found>()> find = [&]() -> Result<Found> {
    return FindNamed(services.store, *request.adapters, *model);
  };
  Result<Found> found = co_await OnBlockingPool<Found>(exchange, std::move(find));
  if (!found) co_return Refuse(FailureOf(std::move(found).error(), exchange.stop()));
  co_return *std::move(found);
}

http::Task<Answer<void>> LoadAdapters(http::Exchange& exchange, scheduler::Lease lease,
                                      std::vector<AdapterUse> adapters) {
  if (adapters.empty()) co_return Answer<void>{};
  EmbedJob job;  // without texts
  job.adapters = std::move(adapters);
  Answer<JobEvent> last =
      co_await RunToEnd(exchange, std::move(lease), worker::Job(std::move(job)));
  if (!last) co_return Refuse(std::move(last).error());
  co_return Answer<void>{};
}

}  // namespace corral::api
