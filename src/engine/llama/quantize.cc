#include "engine/llama/quantize.h"

#include <llama.h>

#include <charconv>
#include <string>
#include <string_view>

#include "core/host.h"
#include "core/log.h"
#include "gguf/reader.h"

namespace corral::engine {
namespace {

struct FileType {
  std::string_view name;  // Ollama's (server/quantization.go)
  llama_ftype type;
};
constexpr FileType kFileTypes[] = {
    {"F32", LLAMA_FTYPE_ALL_F32},          {"F16", LLAMA_FTYPE_MOSTLY_F16},
    {"BF16", LLAMA_FTYPE_MOSTLY_BF16},     {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
    {"Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S}, {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M},
};

// libllama tells of its progress in its log alone: "[  12/ 272] blk.1.attn_k.weight - ...".
struct Watched {
  const std::function<void(float)>& on_progress;
  std::string error;  // the last error line
};

void OnLog(ggml_log_level level, const char* text, void* user) {
  auto& watched = *static_cast<Watched*>(user);
  std::string_view line(text);
  while (line.ends_with('\n')) line.remove_suffix(1);
  if (line.empty()) return;
  if (level == GGML_LOG_LEVEL_ERROR) {
    watched.error = line;
    Log(LogLevel::kDebug, line, {{"from", "llama.cpp"}});
  }
  if (!line.starts_with('[')) return;
  const auto number = [&line] {
    line.remove_prefix(1);
    while (line.starts_with(' ')) line.remove_prefix(1);
    int value = 0;
    const auto end = std::from_chars(line.data(), line.data() + line.size(), value);
    line.remove_prefix(static_cast<std::size_t>(end.ptr - line.data()));
    return value;
  };
  const int index = number();
  if (!line.starts_with('/')) return;
  const int count = number();
  if (index > 0 && index <= count)
    watched.on_progress(static_cast<float>(index - 1) / static_cast<float>(count));
}

std::string PathOf(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

}  // namespace

Status Quantize(const Task& task, const TaskFiles& files,
                const std::function<void(float)>& on_progress) {
  const FileType* wanted = nullptr;
  for (const FileType& type : kFileTypes) {
    if (type.name == task.file_type) wanted = &type;
  }
  if (wanted == nullptr)
    return Fail(Code::kInvalidArgument, "unsupported quantization type " + task.file_type);
  if (files.inputs.size() != 1) return Fail(Code::kInternal, "quantizing takes one file");
  CORRAL_TRY(const gguf::Info info, gguf::ReadFd(files.inputs[0]));
  CORRAL_TRY_STATUS(gguf::CheckLoadable(info));

  Watched watched{on_progress, {}};
  llama_backend_init();
  llama_log_set(OnLog, &watched);
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.nthread = ReadHostFacts().ComputeThreads();
  params.ftype = wanted->type;
  params.allow_requantize = true;  // Ollama's: the file's type is checked before
  const std::uint32_t failed =
      llama_model_quantize(PathOf(files.inputs[0]).c_str(), PathOf(files.output).c_str(), &params);
  llama_log_set(nullptr, nullptr);
  if (failed != 0) {
    constexpr std::string_view kPrefix = "failed to quantize: ";
    const std::size_t at = watched.error.find(kPrefix);
    const std::string why =
        at == std::string::npos ? watched.error : watched.error.substr(at + kPrefix.size());
    if (why.find("iostream") != std::string::npos) {
      return Fail(Code::kIo,
                  "failed to quantize: the quantized model could not be written: " + why);
    }
    return Fail(Code::kInvalidArgument,
                "failed to quantize" + (why.empty() ? std::string() : ": " + why));
  }
  on_progress(1.0F);
  return {};
}

}  // namespace corral::engine
