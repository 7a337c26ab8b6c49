// A create request checked: what the store needs, and what must be made before. The order of the
// checks is Ollama's (server/create.go, CreateHandler).
//
// Pure but for LooksLikeGguf. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "api/native/requests.h"
#include "models/store.h"

namespace corral::api {

// The client's path and the blob.
using Digests = std::vector<std::pair<std::string, models::Digest>>;

struct CreatePlan {
  // Files as the client sent them: safetensors and parts of split models among them.
  models::CreateSpec spec;
  std::string from_as_sent;
  std::string quantize, draft_quantize;  // "Q4_K_M"; empty: as they are
};

// What the model is made from is checked too, as far as it needs no disk.
Answer<CreatePlan> ToCreatePlan(const CreateRequest& request);

// Whether these are a model's or an adapter's folder, to be converted.
bool HasSafetensors(const Digests& files);

// Whether a file of a create request can be a GGUF: by its name, else by the first bytes of its
// blob. Blocking.
bool LooksLikeGguf(std::string_view path, const std::filesystem::path& blob);

}  // namespace corral::api
