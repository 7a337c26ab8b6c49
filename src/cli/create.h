// From a Modelfile to a create request: which lines mean files, where these lie, what they are
// called on the wire.
//
// Source: docs/formats/modelfile.md. Reads the disk; writes nothing.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cli/client.h"
#include "core/result.h"
#include "modelfile/modelfile.h"

namespace corral::cli {

// A file that must be on the server before the request is sent.
struct LocalFile {
  std::filesystem::path path;
  std::string digest;  // "sha256:…"
  std::uint64_t size_bytes = 0;
};

struct CreatePlan {
  CreateRequest request;           // without model and quantize
  std::vector<LocalFile> uploads;  // no digest twice
  std::vector<std::string> warnings;
};

// The Modelfile's text. `name` is -f's value; empty: ./Modelfile, or `FROM .` if there is none.
// `*folder` becomes the folder that its paths are relative to. Errors: kNotFound (a file named by
// -f), kIo, kTooLarge.
Result<std::string> ReadModelfile(const std::string& name, std::filesystem::path* folder);

// `home` stands for "~". Hashes all files; calls `on_hash` before each (may be empty).
// Errors: kInvalidArgument (a parameter, REQUIRES), kNotFound (ADAPTER or DRAFT without a file, no
// model files in a folder), kIo.
Result<CreatePlan> PlanCreate(const modelfile::Modelfile& modelfile,
                              const std::filesystem::path& folder, const std::string& home,
                              const std::function<void(const std::filesystem::path&)>& on_hash);

// The files of a model's folder: weights of the first known kind, configuration, tokenizer. Sorted
// within each pattern. Errors: kNotFound `no Modelfile or safetensors files found`, kForbidden
// `insecure path: …` (a link that leads out).
Result<std::vector<std::filesystem::path>> ModelFolderFiles(const std::filesystem::path& folder);

// Each file's name on the wire: relative to the deepest folder that holds all of them.
std::map<std::string, std::filesystem::path> WireNames(
    const std::vector<std::filesystem::path>& files);

}  // namespace corral::cli
