#include "core/kv_cache_types.h"

#include <algorithm>

#include "core/text.h"

namespace corral {

Result<std::string> ParseKvCacheType(std::string_view name) {
  std::string type = ToLowerAscii(name);
  if (std::find(kKvCacheTypes.begin(), kKvCacheTypes.end(), type) != kKvCacheTypes.end())
    return type;
  std::string why = "kv_cache_type must be one of";
  for (const std::string_view known : kKvCacheTypes) {
    why += known == kKvCacheTypes.front() ? " " : ", ";
    why += known;
  }
  return Fail(Code::kInvalidArgument, why + ", not " + GoQuote(name));
}

}  // namespace corral
