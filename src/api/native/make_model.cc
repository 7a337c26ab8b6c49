#include "api/native/make_model.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/text.h"
#include "gguf/reader.h"
#include "models/blob_file.h"

namespace corral::api {
namespace {

namespace fs = std::filesystem;

// A GGUF file on its way into the model: a blob of the store, or a file that is not one yet.
struct Gguf {
  std::string name;  // as the client called it, or the model it was
  fs::path path;
  std::optional<models::Digest> blob;
  std::unique_ptr<models::BlobFile> made;
};

// llama.cpp's name of a file's type; gguf::Info::FileType knows 0 only as "unknown".
std::string FileTypeOf(const gguf::Info& info) {
  if (info.Uint("general.file_type") == 0U) return "F32";
  return info.FileType();
}

// A model of text alone. The prefixes are those of tensors that belong to other senses or to
// prediction of several tokens (Ollama, server/create.go).
bool IsTextModel(const gguf::Info& info) {
  constexpr std::string_view kOthers[] = {"a.", "mm.", "mtp.", "s.", "v."};
  return models::GgufKind(info) == "model" &&
         std::none_of(
             info.tensors.begin(), info.tensors.end(), [&](const gguf::TensorInfo& tensor) {
               return std::any_of(
                   std::begin(kOthers), std::end(kOthers),
                   [&](std::string_view prefix) { return tensor.name.starts_with(prefix); });
             });
}

// "model-00002-of-00003.gguf": 2 of 3.
std::optional<std::pair<std::uint64_t, std::uint64_t>> ParsePartName(std::string_view name) {
  constexpr std::string_view kEnd = "-00001-of-00001.gguf";
  if (name.size() < kEnd.size()) return std::nullopt;
  const std::string_view end = name.substr(name.size() - kEnd.size());
  std::uint64_t numbers[2] = {0, 0};
  for (std::size_t i = 0; i < kEnd.size(); ++i) {
    const bool is_digit = kEnd[i] >= '0' && kEnd[i] <= '9';
    if (!is_digit && end[i] != kEnd[i]) return std::nullopt;
    if (!is_digit) continue;
    if (end[i] < '0' || end[i] > '9') return std::nullopt;
    std::uint64_t& number = numbers[i < 6 ? 0 : 1];
    number = number * 10 + static_cast<std::uint64_t>(end[i] - '0');
  }
  return std::pair(numbers[0], numbers[1]);
}

class Maker {
 public:
  Maker(const Services& services, CreatePlan plan,
        const std::function<void(MakeProgress)>& progress, const StopToken& stop)
      : services_(services),
        store_(services.store),
        plan_(std::move(plan)),
        spec_(plan_.spec),
        progress_(progress),
        stop_(stop) {}

  Status Make() {
    const std::string claim = store_.ClaimUploads(Uploads());
    CORRAL_TRY_STATUS(TakeBase());
    CORRAL_TRY_STATUS(CheckUploads());
    CORRAL_TRY_STATUS(MakeWeights());
    CORRAL_TRY_STATUS(MakeDrafts());
    CORRAL_TRY_STATUS(MakeAdapter());
    spec_.name = store_.Existing(spec_.name);
    CORRAL_TRY_STATUS(store_.Create(
        spec_, [this](std::string line) { progress_({std::move(line)}); }, stop_));
    store_.DropUploads(consumed_, claim);
    return {};
  }

 private:
  std::vector<models::Digest> Uploads() const {
    std::vector<models::Digest> digests;
    for (const Digests* files : {&spec_.files, &spec_.adapters, &spec_.drafts}) {
      for (const auto& [path, digest] : *files) digests.push_back(digest);
    }
    return digests;
  }

  Status TakeBase() {
    if (!spec_.from) return {};
    spec_.from = store_.Existing(*spec_.from);
    auto base = store_.Load(*spec_.from);
    if (base) {
      base_ = *std::move(base);
      return {};
    }
    if (base.error().code != Code::kNotFound) return Fail(base.error());
    if (!services_.registry.CheckAllowed(*spec_.from, /*is_push=*/false))
      return Fail(Code::kNotFound, "model '" + plan_.from_as_sent + "' not found");
    CORRAL_TRY_STATUS(store_.CheckWritable());
    registry::TransferRequest request{*spec_.from};
    Status pulled = services_.registry.Pull(request, stop_, [this](registry::Progress progress) {
      progress_({std::move(progress.status), static_cast<std::uint64_t>(progress.total),
                 static_cast<std::uint64_t>(progress.completed), std::move(progress.digest),
                 progress.is_passing});
    });
    if (!pulled) {
      // A 500 of Ollama's, as of a pull itself; but for what a client should try again.
      Error error = std::move(pulled).error();
      if (error.code != Code::kCancelled && error.code != Code::kBusy) error.code = Code::kInternal;
      return Fail(std::move(error));
    }
    CORRAL_TRY(base_, store_.Load(*spec_.from));
    return {};
  }

  // Blobs that are there must be of a kind that can become a model; Create says which are missing.
  Status CheckUploads() {
    if (HasSafetensors(spec_.files)) return {};
    for (const auto& [path, digest] : spec_.files) {
      const fs::path blob = store_.BlobPath(digest);
      std::error_code error;
      if (!fs::exists(blob, error)) continue;
      if (!LooksLikeGguf(path, blob)) return Fail(Code::kInvalidArgument, "unknown type");
    }
    return {};
  }

  Status MakeWeights() {
    if (spec_.from) {
      if (plan_.quantize.empty()) return {};
      Gguf weights{spec_.from->Short(), base_->gguf, std::nullopt, nullptr};
      if (weights.path.empty())
        return Fail(Code::kInternal, "quantization is only supported for F16, BF16 and F32 models");
      CORRAL_TRY_STATUS(Quantize(plan_.quantize, "quantization", &weights));
      if (!weights.made) return {};
      CORRAL_TRY(spec_.weights, weights.made->Commit(stop_));
      return {};
    }
    std::vector<Gguf> files;
    if (HasSafetensors(spec_.files)) {
      CORRAL_TRY(Gguf model, Convert(Task::Kind::kConvert, spec_.files, "converting model"));
      files.push_back(std::move(model));
    } else {
      CORRAL_TRY(files, JoinParts(spec_.files));
    }
    // The first file names the family and counts the parameters: not one that only sees or hears.
    std::stable_partition(files.begin(), files.end(), [](const Gguf& file) {
      const auto info = gguf::Read(file.path);
      return info && models::GgufKind(*info) == "model";
    });
    for (Gguf& file : files) {
      const auto info = gguf::Read(file.path);
      if (!info || models::GgufKind(*info) != "model") continue;
      const fs::path as_it_came = file.path;
      if (!plan_.quantize.empty())
        CORRAL_TRY_STATUS(Quantize(plan_.quantize, "quantization", &file));
      if (file.path == as_it_came) Validate(*info);
    }
    return Commit(std::move(files), &spec_.files);
  }

  Status MakeDrafts() {
    CORRAL_TRY(std::vector<Gguf> files, JoinParts(spec_.drafts));
    if (!plan_.draft_quantize.empty()) {
      for (Gguf& file : files)
        CORRAL_TRY_STATUS(Quantize(plan_.draft_quantize, "draft quantization", &file));
    }
    return Commit(std::move(files), &spec_.drafts);
  }

  Status MakeAdapter() {
    if (!HasSafetensors(spec_.adapters)) {
      for (std::size_t i = 0; i < spec_.adapters.size(); ++i) progress_({"parsing GGUF"});
      return {};
    }
    fs::path base = base_ ? base_->gguf : fs::path();
    for (const auto& [path, digest] : spec_.files) {
      const auto info = gguf::Read(store_.BlobPath(digest));
      if (info && models::GgufKind(*info) == "model") base = store_.BlobPath(digest);
    }
    if (base.empty()) return Fail(Code::kInvalidArgument, "no base model was found");
    CORRAL_TRY(Gguf adapter,
               Convert(Task::Kind::kConvertAdapter, spec_.adapters, "converting adapter", base));
    std::vector<Gguf> files;
    files.push_back(std::move(adapter));
    return Commit(std::move(files), &spec_.adapters);
  }

  // What the client uploaded, by name, as it goes into Create; new files become blobs.
  Status Commit(std::vector<Gguf> files, Digests* into) {
    Digests digests;
    for (Gguf& file : files) {
      if (file.made) {
        CORRAL_TRY(file.blob, file.made->Commit(stop_));
        file.made.reset();
      }
      digests.emplace_back(std::move(file.name), *file.blob);
    }
    for (const auto& file : *into) {
      const bool is_kept = std::any_of(digests.begin(), digests.end(), [&](const auto& kept) {
        return kept.second == file.second;
      });
      if (!is_kept) consumed_.push_back(file.second);
    }
    *into = std::move(digests);
    return {};
  }

  // Whole files as they are, and the parts of a split one as one.
  Result<std::vector<Gguf>> JoinParts(const Digests& uploads) {
    std::vector<Gguf> files;
    std::vector<std::pair<std::uint64_t, Gguf>> parts;
    std::uint64_t total_bytes = 0;
    for (const auto& [name, digest] : uploads) {
      progress_({"parsing GGUF"});
      Gguf file{name, store_.BlobPath(digest), digest, nullptr};
      const auto info = gguf::Read(file.path);
      const auto count = info ? info->Uint("split.count").value_or(1) : 1;
      if (count <= 1) {
        files.push_back(std::move(file));
        continue;
      }
      const auto place = ParsePartName(name);
      if (!place || place->second != count) {
        return Fail(Code::kInvalidArgument,
                    "file \"" + name +
                        "\" is one part of a split model, and its name must end with "
                        "its number, as in \"-00001-of-" +
                        PaddedNumber(count) + ".gguf\"");
      }
      total_bytes += info->file_bytes;
      parts.emplace_back(place->first, std::move(file));
    }
    if (parts.empty()) return files;
    std::sort(parts.begin(), parts.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    Task task;
    task.kind = Task::Kind::kMerge;
    std::vector<fs::path> inputs;
    inputs.reserve(parts.size());
    for (const auto& [number, part] : parts) inputs.push_back(part.path);
    Gguf whole{parts.front().second.name, {}, std::nullopt, nullptr};
    CORRAL_TRY(whole.made,
               RunTask(std::move(task), inputs, "merging the parts of the model", total_bytes));
    whole.path = whole.made->path();
    files.insert(files.begin(), std::move(whole));
    return files;
  }

  Result<Gguf> Convert(Task::Kind kind, const Digests& uploads, const std::string& status,
                       const fs::path& base = {}) {
    Task task;
    task.kind = kind;
    task.name = spec_.name.model();
    std::vector<fs::path> inputs;
    std::uint64_t total_bytes = 0;
    for (const auto& [name, digest] : uploads) {
      const fs::path blob = store_.BlobPath(digest);
      std::error_code error;
      const std::uintmax_t size = fs::file_size(blob, error);
      if (error) {
        return Fail(Code::kInvalidArgument, "blob " + digest.ToString() + " of file \"" + name +
                                                "\" is not in the store: upload it first");
      }
      total_bytes += size;
      task.input_names.push_back(name);
      inputs.push_back(blob);
    }
    if (!base.empty()) {
      task.input_names.emplace_back(kBaseModel);
      inputs.push_back(base);
    }
    progress_({status});
    Gguf made;
    made.name = kind == Task::Kind::kConvert ? "model.gguf" : "adapter.gguf";
    CORRAL_TRY(made.made, RunTask(std::move(task), inputs, status, total_bytes));
    made.path = made.made->path();
    progress_({"parsing GGUF"});
    return made;
  }

  // Ollama writes a text model's file anew and reads what came of it. Here it is looked at, and
  // stays as it is; what is wrong with it Create says.
  void Validate(const gguf::Info& info) {
    if (!IsTextModel(info) || !gguf::CheckLoadable(info)) return;
    progress_({"validating GGUF model", info.file_bytes, info.file_bytes});
    progress_({"verifying conversion"});
  }

  // `file` becomes a new one of that type, unless it is. `what` is for Ollama's texts.
  Status Quantize(const std::string& file_type, const std::string& what, Gguf* file) {
    const auto info = gguf::Read(file->path);
    if (!info) return {};  // Create says what is wrong with it
    const std::string from = FileTypeOf(*info);
    if (from != "F16" && from != "BF16" && from != "F32") {
      // A 500 of Ollama's.
      return Fail(Code::kInternal,
                  what == "quantization"
                      ? "quantization is only supported for F16, BF16 and F32 models"
                      : "draft quantization requires an unquantized draft model, got " + from);
    }
    if (from == file_type) return {};
    Task task;
    task.kind = Task::Kind::kQuantize;
    task.file_type = file_type;
    CORRAL_TRY(auto made,
               RunTask(std::move(task), {file->path},
                       "quantizing " + from + " model to " + file_type, info->file_bytes));
    progress_({"verifying conversion"});
    file->path = made->path();
    file->blob.reset();
    file->made = std::move(made);  // the unquantized one, if it was made too, is gone now
    return {};
  }

  Result<std::unique_ptr<models::BlobFile>> RunTask(Task task, std::vector<fs::path> inputs,
                                                    const std::string& status,
                                                    std::uint64_t total_bytes) {
    CORRAL_TRY(auto output, store_.NewBlobFile());
    const worker::TaskLaunch launch{std::move(task), std::move(inputs), output->fd()};
    const auto on_progress = [&](float fraction) {
      const double part = std::clamp(static_cast<double>(fraction), 0.0, 1.0);
      progress_({status, total_bytes,
                 static_cast<std::uint64_t>(part * static_cast<double>(total_bytes))});
    };
    CORRAL_TRY_STATUS(services_.tasks.Run(launch, on_progress, stop_));
    CORRAL_TRY(const gguf::Info made, gguf::Read(output->path()));
    auto checked = gguf::CheckLoadable(made);
    if (!checked) return Fail(std::move(checked).error().Within("verify conversion"));
    return output;
  }

  static std::string PaddedNumber(std::uint64_t number) {
    std::string text = std::to_string(number);
    if (text.size() < 5) text.insert(0, 5 - text.size(), '0');
    return text;
  }

  const Services& services_;
  models::Store& store_;
  CreatePlan plan_;
  models::CreateSpec& spec_;
  const std::function<void(MakeProgress)>& progress_;
  const StopToken& stop_;
  std::shared_ptr<const models::Model> base_;  // of spec_.from
  std::vector<models::Digest> consumed_;       // uploads that are no layer of the model
};

}  // namespace

Status MakeModel(const Services& services, CreatePlan plan,
                 const std::function<void(MakeProgress)>& progress, const StopToken& stop) {
  return Maker(services, std::move(plan), progress, stop).Make();
}

}  // namespace corral::api
