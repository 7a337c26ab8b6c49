// One coroutine a native route. `services` outlives the exchange.
#pragma once

#include "api/services.h"
#include "http/http.h"

namespace corral::api {

http::Task<void> HandleGenerate(const Services& services, http::Exchange& exchange);
http::Task<void> HandleChat(const Services& services, http::Exchange& exchange);
http::Task<void> HandleEmbed(const Services& services, http::Exchange& exchange);
http::Task<void> HandleEmbeddings(const Services& services, http::Exchange& exchange);
http::Task<void> HandleRerank(const Services& services, http::Exchange& exchange);
http::Task<void> HandleV1Rerank(const Services& services, http::Exchange& exchange);
http::Task<void> HandleTokenize(const Services& services, http::Exchange& exchange);
http::Task<void> HandleDetokenize(const Services& services, http::Exchange& exchange);

http::Task<void> HandleTags(const Services& services, http::Exchange& exchange);
http::Task<void> HandlePs(const Services& services, http::Exchange& exchange);
http::Task<void> HandleShow(const Services& services, http::Exchange& exchange);
http::Task<void> HandleCopy(const Services& services, http::Exchange& exchange);
http::Task<void> HandleDelete(const Services& services, http::Exchange& exchange);
http::Task<void> HandleCreate(const Services& services, http::Exchange& exchange);
http::Task<void> HandlePull(const Services& services, http::Exchange& exchange);
http::Task<void> HandlePush(const Services& services, http::Exchange& exchange);
http::Task<void> HandleBlob(const Services& services, http::Exchange& exchange);  // HEAD and POST

http::Task<void> HandleRoot(const Services& services, http::Exchange& exchange);
http::Task<void> HandleVersion(const Services& services, http::Exchange& exchange);
http::Task<void> HandleStatus(const Services& services, http::Exchange& exchange);
http::Task<void> HandleHealth(const Services& services, http::Exchange& exchange);
http::Task<void> HandleReady(const Services& services, http::Exchange& exchange);
http::Task<void> HandleMetrics(const Services& services, http::Exchange& exchange);

}  // namespace corral::api
