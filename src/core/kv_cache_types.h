// What the cells of a KV cache may be made of, as OLLAMA_KV_CACHE_TYPE, options and PARAMETERs name
// it. Source: llama.cpp's list (common/arg.cpp, kv_cache_types). Pure. Thread-safe.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral {

inline constexpr std::array<std::string_view, 9> kKvCacheTypes = {
    "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"};

// One of them, in lower case. Errors: kInvalidArgument (another name; the text lists them).
Result<std::string> ParseKvCacheType(std::string_view name);

}  // namespace corral
