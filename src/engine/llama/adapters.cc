#include "engine/llama/adapters.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>
#include <utility>

#include "core/log.h"
#include "gguf/reader.h"

namespace corral::engine {
namespace {

// Adapters that are loaded at most, unless more are in use.
constexpr std::size_t kMostKept = 8;

// Reads the file once, so that its pages are in memory when nothing is computed because of it.
void Prefetch(int fd) {
  std::vector<char> buffer(std::size_t{1} << 20);
  off_t at = 0;
  for (;;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n <= 0) return;  // whoever needs the bytes says what is wrong
    at += n;
  }
}

std::string ExactText(float value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

}  // namespace

Adapters::~Adapters() {
  for (const Loaded& loaded : loaded_) llama_adapter_lora_free(loaded.adapter.get());
}

std::size_t Adapters::n_loaded() const {
  const std::lock_guard lock(mutex_);
  return loaded_.size();
}

Result<AdapterSetPtr> Adapters::Get(const std::vector<AdapterUse>& uses,
                                    const AdapterFiles& files) {
  CORRAL_CHECK(uses.size() == files.size(), "an adapter without its file");
  struct Use {
    float scale = 0;
    int fd = -1;
  };
  std::map<std::string_view, Use> by_file;  // sorted: the key does not depend on the job's order
  for (std::size_t i = 0; i < uses.size(); ++i) {
    Use& use = by_file[uses[i].file];
    use.scale += uses[i].scale;
    use.fd = files[i].get();
  }
  auto set = std::make_shared<AdapterSet>();
  const std::lock_guard lock(mutex_);
  for (const auto& [file, use] : by_file) {
    if (!std::isfinite(use.scale)) {
      return Fail(Code::kInvalidArgument, "the scale of an adapter must be a finite number");
    }
    // Also one that is switched off: a bad file is an error with any scale.
    CORRAL_TRY(std::shared_ptr<llama_adapter_lora> adapter, Find(file, use.fd));
    if (use.scale == 0) continue;
    set->adapters.push_back(std::move(adapter));
    set->scales.push_back(use.scale);
    set->key += std::string(file) + "*" + ExactText(use.scale) + "\n";
  }
  return set->adapters.empty() ? AdapterSetPtr() : AdapterSetPtr(std::move(set));
}

Result<std::shared_ptr<llama_adapter_lora>> Adapters::Find(std::string_view file, int fd) {
  const auto known = std::find_if(loaded_.begin(), loaded_.end(),
                                  [&](const Loaded& loaded) { return loaded.file == file; });
  if (known != loaded_.end()) {
    loaded_.splice(loaded_.begin(), loaded_, known);
    return known->adapter;
  }
  FreeOldest();
  auto adapter = Load(fd);
  if (!adapter) return Fail(std::move(adapter).error().Within("unable to load adapter"));
  loaded_.push_front({std::string(file),
                      std::shared_ptr<llama_adapter_lora>(*adapter, [](llama_adapter_lora*) {})});
  Log(LogLevel::kInfo, "adapter loaded", {{"loaded", loaded_.size()}});
  return loaded_.front().adapter;
}

Result<llama_adapter_lora*> Adapters::Load(int fd) {
  CORRAL_TRY(const gguf::Info info, gguf::ReadFd(fd));
  CORRAL_TRY_STATUS(gguf::CheckAdapter(info, model_.info()));
  Prefetch(fd);
  const auto file = OpenStream(fd);
  if (!file) return Fail(Code::kIo, "cannot open its descriptor");
  TakeLastLlamaError();
  llama_adapter_lora* adapter = nullptr;
  cores_.WhilePaused(
      [&] { adapter = llama_adapter_lora_init_from_file_ptr(model_.model(), file.get()); });
  if (adapter != nullptr) return adapter;
  const std::string why = TakeLastLlamaError();
  const Code code = MentionsMemory(why) ? Code::kNoMemory : Code::kCorrupt;
  return Fail(code, why.empty() ? "llama.cpp refused it" : why);
}

void Adapters::FreeOldest() {
  for (auto loaded = loaded_.end(); loaded_.size() >= kMostKept && loaded != loaded_.begin();) {
    --loaded;
    // New owners come from this list only, and it is locked.
    if (loaded->adapter.use_count() > 1) continue;
    cores_.WhilePaused([&] { llama_adapter_lora_free(loaded->adapter.get()); });
    loaded = loaded_.erase(loaded);
  }
}

bool AppliedAdapters::Apply(llama_context* context, const AdapterSetPtr& set) {
  if (set == set_ || (set && set_ && set->key == set_->key)) return false;
  std::vector<llama_adapter_lora*> adapters;
  std::vector<float> scales;
  if (set) {
    for (const auto& adapter : set->adapters) adapters.push_back(adapter.get());
    scales = set->scales;
  }
  llama_set_adapters_lora(context, adapters.data(), adapters.size(), scales.data());
  set_ = set;
  return true;
}

}  // namespace corral::engine
