#include "registry/internal/places.h"

#include <algorithm>
#include <utility>

#include "core/text.h"

namespace corral::registry::internal {

namespace {
constexpr std::string_view kDefaultHost = "registry.ollama.ai";
}

Result<Url> RegistryOf(const models::ModelName& name, bool is_insecure) {
  return ParseUrl((is_insecure ? "http://" : "https://") + name.host());
}

bool IsAllowed(const models::ModelName& name, const Options& options) {
  const std::string host = ToLowerAscii(name.host());
  return options.allowed.empty() ||
         std::any_of(options.allowed.begin(), options.allowed.end(),
                     [&host](const std::string& allowed) { return ToLowerAscii(allowed) == host; });
}

Result<std::vector<Url>> PlacesOf(const models::ModelName& name, bool is_insecure,
                                  const Options& options) {
  std::vector<Url> places;
  if (!options.mirror.empty() && name.host() == kDefaultHost) {
    CORRAL_TRY(Url mirror, ParseUrl(options.mirror));
    places.push_back(std::move(mirror));
  }
  if (IsAllowed(name, options)) {
    CORRAL_TRY(Url registry, RegistryOf(name, is_insecure));
    places.push_back(std::move(registry));
  }
  if (places.empty())
    return Fail(Code::kForbidden,
                "registry " + GoQuote(name.host()) + " is not allowed here (CORRAL_REGISTRIES)");
  return places;
}

}  // namespace corral::registry::internal
