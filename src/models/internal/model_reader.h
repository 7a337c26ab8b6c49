// Reads the small layers of a manifest. Thread-safe. Blocking (disk).
#pragma once

#include <string_view>

#include "models/internal/layout.h"
#include "models/model.h"

namespace corral::models::internal {

// What a text layer, or a config, may hold at most.
inline constexpr std::uint64_t kMaxTextLayerBytes = 16U << 20;

// A GGUF that cannot be read is no error: `info` is null then (logged).
// Errors: kCorrupt (a layer is missing or is not what it must be), kIo.
Result<Model> ReadModel(FileSystem& files, const Layout& layout, const ModelName& name,
                        StoredManifest stored);

// Keys with other values than Params can hold are left out. Errors: kCorrupt (no JSON object).
Result<Params> ParseParams(std::string_view json);
// Sorted, compact JSON + "\n".
std::string EncodeParams(const Params& params);
// Errors: kCorrupt (no JSON array of objects).
Result<std::vector<StoredMessage>> ParseMessages(std::string_view json);
std::string EncodeMessages(const std::vector<StoredMessage>& messages);

}  // namespace corral::models::internal
