// What an operator can do about a start that failed, in the last line of the log: where, as whom,
// and the ways out. Unlike errors (core/result.h), which may reach clients, it names paths and
// users.
#pragma once

#include <filesystem>
#include <string>

#include "core/result.h"
#include "core/settings.h"

namespace corral::app {

// For a store in `folder` that did not open.
std::string StoreAdvice(const std::string& folder);
// For an address that was not to be had; empty if there is nothing to say.
std::string ListenAdvice(const Error& error, const Host& host);

// Prints how the server ended if a signal ended it, which it could not say itself, with what to do.
// `status` as SplitOffInit gives it.
void SayIfKilled(int status);

// Logs a warning, with what to do, if `folder` can be read and not written: models are served from
// it and none is added.
void WarnIfReadOnly(const std::string& folder);
// Logs a warning, with what to do, if this program cannot be run: no model will load then.
void WarnIfNoWorker(const std::filesystem::path& program);

}  // namespace corral::app
