// Requests and replies of the formatting processes as bytes (MessagePack). Both ends are of one
// build, but a reply is read as if it came from a stranger. Pure.
#pragma once

#include <string>

#include "core/result.h"
#include "engine/llama/chat_format.h"

namespace corral::engine {

std::string EncodeRequest(const FormatRequest& request);
std::string EncodeReply(const Result<FormatReply>& reply);
// Errors: kInternal (no such message), or the error that was sent.
Result<FormatReply> DecodeReply(const std::string& bytes);

// Decodes and runs. Errors: as Formatter::Run, and kInternal.
Result<FormatReply> RunRequest(Formatter& formatter, const std::string& request);

}  // namespace corral::engine
