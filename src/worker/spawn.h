// What every start of a worker process shares: its environment, its socket, opened files.
//
// Thread-safe (no state). Inside the room.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "core/files.h"
#include "core/process.h"
#include "core/result.h"

namespace corral::worker {

struct Spawned {
  ChildProcess child;
  UniqueFd socket;  // ours; the child's end is its descriptor kSocketFd
};

// Starts `program` with a socket and, behind it, `files` in order. The child's environment is ours
// less what looks like a secret. Errors: kNotFound (no such program), kForbidden, kIo.
Result<Spawned> SpawnWorker(const std::filesystem::path& program, std::span<const int> files);

// Errors: kNotFound, kForbidden, kIo; with the file's name, not its path.
Result<UniqueFd> OpenForReading(const std::filesystem::path& file);

}  // namespace corral::worker
