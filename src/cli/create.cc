#include "cli/create.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include "core/files.h"
#include "core/sha256.h"
#include "core/text.h"

namespace corral::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostModelfileBytes = 64U << 20U;

Result<std::string> ReadText(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Fail(ErrnoError(errno, "open " + path.string()));
  std::string text;
  std::array<char, 65536> buffer{};
  while (file.read(buffer.data(), buffer.size()) || file.gcount() > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(file.gcount()));
    if (text.size() > kMostModelfileBytes)
      return Fail(Code::kTooLarge, path.string() + " is too long for a Modelfile");
  }
  if (file.bad()) return Fail(Code::kIo, "read " + path.string() + " failed");
  return text;
}

// "~" and "~user" at the beginning, then relative to `folder`.
fs::path Resolve(const std::string& text, const fs::path& folder, const std::string& home) {
  fs::path path = text;
  if (text.starts_with('~')) {
    const std::size_t slash = text.find('/');
    const std::string user = text.substr(1, slash == std::string::npos ? slash : slash - 1);
    const std::string rest = slash == std::string::npos ? "" : text.substr(slash + 1);
    if (user.empty()) {
      path = fs::path(home) / rest;
    } else if (const passwd* entry = getpwnam(user.c_str())) {
      path = fs::path(entry->pw_dir) / rest;
    }
  }
  return (path.is_absolute() ? path : folder / path).lexically_normal();
}

Result<LocalFile> Hash(const fs::path& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_valid()) return Fail(ErrnoError(errno, "open " + path.string()));
  Sha256 hash;
  LocalFile local{path, "", 0};
  std::vector<char> buffer(1U << 20U);
  for (;;) {
    const ssize_t n = read(file.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail(ErrnoError(errno, "read " + path.string()));
    if (n == 0) break;
    hash.Update({buffer.data(), static_cast<std::size_t>(n)});
    local.size_bytes += static_cast<std::uint64_t>(n);
  }
  local.digest = "sha256:" + hash.FinishHex();
  return local;
}

// The entries of `folder` (or of each of its subfolders) whose name matches, sorted.
std::vector<fs::path> Matching(const fs::path& folder, const char* pattern, bool in_subfolders) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    std::error_code entry_error;
    if (in_subfolders) {
      if (!entry.is_directory(entry_error)) continue;
      const std::vector<fs::path> below = Matching(entry.path(), pattern, false);
      found.insert(found.end(), below.begin(), below.end());
    } else if (entry.is_regular_file(entry_error) &&
               fnmatch(pattern, entry.path().filename().c_str(), FNM_PERIOD) == 0) {
      found.push_back(entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool IsInside(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) return false;
  const fs::path root = fs::canonical(folder, error);
  if (error) return false;
  const auto [end, at] = std::mismatch(root.begin(), root.end(), real.begin(), real.end());
  return end == root.end();
}

// The files that a path means: itself, or a model folder's.
Result<std::vector<fs::path>> FilesAt(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return ModelFolderFiles(path);
  return std::vector<fs::path>{path};
}

class Planner {
 public:
  Planner(const fs::path& folder, const std::string& home,
          const std::function<void(const fs::path&)>& on_hash)
      : folder_(folder), home_(home), on_hash_(on_hash) {}

  Result<CreatePlan> Plan(const modelfile::Modelfile& modelfile) {
    for (const modelfile::Command& command : modelfile.commands) CORRAL_TRY_STATUS(Take(command));
    CORRAL_TRY_STATUS(AddFiles(models_, &plan_.request.files));
    CORRAL_TRY_STATUS(AddFiles(adapters_, &plan_.request.adapters));
    CORRAL_TRY_STATUS(AddFiles(drafts_, &plan_.request.draft_files));
    if (!parameters_.empty()) {
      CORRAL_TRY(plan_.request.parameters,
                 modelfile::FormatParameters(parameters_, &plan_.warnings));
    }
    return std::move(plan_);
  }

 private:
  Status Take(const modelfile::Command& command) {
    CreateRequest& request = plan_.request;
    const std::string& name = command.name;
    const std::string& value = command.args;
    if (name == "model") return TakeFrom(value);
    if (name == "adapter") return TakePath(value, &adapters_);
    if (name == "draft") return TakeDraft(value);
    if (name == "template") {
      request.template_text = value;
    } else if (name == "system") {
      request.system = value;
    } else if (name == "license") {
      request.licenses.push_back(value);
    } else if (name == "renderer") {
      request.renderer = value;
    } else if (name == "parser") {
      request.parser = value;
    } else if (name == "requires") {
      CORRAL_TRY(request.requires_version, modelfile::ParseRequires(value));
    } else if (name == "message") {
      const std::size_t colon = value.find(": ");
      ChatMessage message;
      message.role = value.substr(0, colon);
      if (colon != std::string::npos) message.content = value.substr(colon + 2);
      request.messages.push_back(std::move(message));
    } else {
      parameters_.push_back({name, {value}});
    }
    return {};
  }

  // A path if there is something, else a model's name.
  Status TakeFrom(const std::string& value) {
    const fs::path path = Resolve(value, folder_, home_);
    std::error_code error;
    if (!fs::exists(path, error)) {
      plan_.request.from = value;
      return {};
    }
    from_paths_.insert(path);
    return TakePath(value, &models_);
  }

  Status TakeDraft(const std::string& value) {
    if (from_paths_.contains(Resolve(value, folder_, home_)))
      return Fail(Code::kInvalidArgument,
                  "DRAFT must not reference the same local path as FROM: " + value);
    return TakePath(value, &drafts_);
  }

  Status TakePath(const std::string& value, std::vector<fs::path>* files) {
    const fs::path path = Resolve(value, folder_, home_);
    std::error_code error;
    if (!fs::exists(path, error)) return Fail(ErrnoError(ENOENT, "stat " + path.string()));
    CORRAL_TRY(const std::vector<fs::path> found, FilesAt(path));
    files->insert(files->end(), found.begin(), found.end());
    return {};
  }

  Status AddFiles(const std::vector<fs::path>& files, std::map<std::string, std::string>* named) {
    for (const auto& [name, path] : WireNames(files)) {
      if (on_hash_) on_hash_(path);
      CORRAL_TRY(LocalFile local, Hash(path));
      (*named)[name] = local.digest;
      if (uploaded_.insert(local.digest).second) plan_.uploads.push_back(std::move(local));
    }
    return {};
  }

  const fs::path& folder_;
  const std::string& home_;
  const std::function<void(const fs::path&)>& on_hash_;
  CreatePlan plan_;
  std::vector<fs::path> models_;
  std::vector<fs::path> adapters_;
  std::vector<fs::path> drafts_;
  std::set<fs::path> from_paths_;
  std::set<std::string> uploaded_;
  std::vector<std::pair<std::string, std::vector<std::string>>> parameters_;
};

}  // namespace

Result<std::string> ReadModelfile(const std::string& name, fs::path* folder) {
  std::error_code error;
  const fs::path path = fs::absolute(name.empty() ? "Modelfile" : name, error);
  *folder = path.parent_path();
  Result<std::string> text = ReadText(path);
  if (text || text.error().code != Code::kNotFound) return text;
  if (name.empty()) return "FROM .";
  return Fail(Code::kNotFound, "specified Modelfile wasn't found: " + path.string());
}

Result<CreatePlan> PlanCreate(const modelfile::Modelfile& modelfile, const fs::path& folder,
                              const std::string& home,
                              const std::function<void(const fs::path&)>& on_hash) {
  return Planner(folder, home, on_hash).Plan(modelfile);
}

Result<std::vector<fs::path>> ModelFolderFiles(const fs::path& folder) {
  struct Kind {
    const char* pattern;
    bool in_subfolders_too;
  };
  constexpr std::array kWeights = {Kind{"model*.safetensors", true},
                                   Kind{"consolidated*.safetensors", false},
                                   Kind{"pytorch_model*.bin", false},
                                   Kind{"consolidated*.pth", false},
                                   Kind{"*.gguf", false},
                                   Kind{"*.bin", false}};
  std::vector<fs::path> files;
  const auto add = [&](const char* pattern, bool in_subfolders) {
    const std::vector<fs::path> found = Matching(folder, pattern, in_subfolders);
    files.insert(files.end(), found.begin(), found.end());
  };
  for (const Kind& kind : kWeights) {
    add(kind.pattern, false);
    if (kind.in_subfolders_too) add(kind.pattern, true);
    if (!files.empty()) break;
  }
  if (files.empty()) return Fail(Code::kNotFound, "no Modelfile or safetensors files found");
  add("*.json", false);
  add("*.json", true);
  add("chat_template.jinja", false);
  add("tokenizer.model", false);
  for (const fs::path& file : files)
    if (!IsInside(file, folder)) return Fail(Code::kForbidden, "insecure path: " + file.string());
  return files;
}

std::map<std::string, fs::path> WireNames(const std::vector<fs::path>& files) {
  std::map<std::string, fs::path> names;
  if (files.empty()) return names;
  fs::path common = files[0].parent_path();
  for (const fs::path& file : files) {
    const fs::path folder = file.parent_path();
    const auto [end, at] =
        std::mismatch(common.begin(), common.end(), folder.begin(), folder.end());
    fs::path shared;
    for (auto part = common.begin(); part != end; ++part) shared /= *part;
    common = shared;
  }
  for (const fs::path& file : files) names[file.lexically_relative(common).generic_string()] = file;
  return names;
}

}  // namespace corral::cli
