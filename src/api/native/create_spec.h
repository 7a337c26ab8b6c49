// A create request checked, as the store takes it. The order of the checks is Ollama's
// (server/create.go, CreateHandler).
//
// Pure but for IsGgufBlob. Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "api/errors.h"
#include "api/native/requests.h"
#include "models/store.h"

namespace corral::api {

// What the model is made from is checked too, as far as it needs no disk.
Answer<models::CreateSpec> ToCreateSpec(const CreateRequest& request);

// Whether a file of a create request can be a GGUF: by its name, else by the first bytes of its
// blob. Blocking.
bool LooksLikeGguf(std::string_view path, const std::filesystem::path& blob);

}  // namespace corral::api
