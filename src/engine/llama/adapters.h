// The LoRA adapters of a model: loaded with the first job that names one, kept for others.
//
// An adapter is a small set of factors beside the weights, so models and requests that differ in
// adapters only share one worker and one copy of the weights. A llama_context computes with one set
// of adapters at a time (AppliedAdapters); states of different sets must not meet, so a set's key
// is part of the prefix cache's. Sources: llama.h (adapters), llama-adapter.cpp: the list of a
// model's adapters is read by every context that reserves its graph, so it changes only while none
// computes.
#pragma once

#include <llama.h>

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "engine/engine.h"
#include "engine/llama/cores.h"
#include "engine/llama/loaded_model.h"

namespace corral::engine {

// What a job computes with on top of the weights. Keeps its adapters loaded.
struct AdapterSet {
  std::string key;  // the same for the same adapters with the same scales; never empty
  std::vector<std::shared_ptr<llama_adapter_lora>> adapters;
  std::vector<float> scales;  // of each; none is 0
};
using AdapterSetPtr = std::shared_ptr<const AdapterSet>;  // null: the weights alone

// Thread-safe. Contexts that have used a set are gone before this is.
class Adapters {
 public:
  // Both must outlive this.
  Adapters(const LoadedModel& model, Cores& cores) : model_(model), cores_(cores) {}
  ~Adapters();
  Adapters(const Adapters&) = delete;
  Adapters& operator=(const Adapters&) = delete;

  // Loads what is not there yet: blocks for the disk, and while another adapter is being loaded.
  // `files` are those of `uses`. Errors: kInvalidArgument (a scale), kCorrupt (a file that is no
  // adapter of this model), kNoMemory.
  Result<AdapterSetPtr> Get(const std::vector<AdapterUse>& uses, const AdapterFiles& files);
  std::size_t n_loaded() const;

 private:
  struct Loaded {
    std::string file;
    std::shared_ptr<llama_adapter_lora> adapter;  // freed by Free, not by the last owner
  };
  Result<std::shared_ptr<llama_adapter_lora>> Find(std::string_view file, int fd);
  Result<llama_adapter_lora*> Load(int fd);
  // Makes room for one more among those that no job and no context has.
  void FreeOldest();

  const LoadedModel& model_;
  Cores& cores_;
  mutable std::mutex mutex_;
  std::list<Loaded> loaded_;  // guarded by mutex_; newest use first
};

// What one context computes with; its thread's own.
class AppliedAdapters {
 public:
  // Before a llama_decode. True if it is another set than before: that decode takes longer.
  bool Apply(llama_context* context, const AdapterSetPtr& set);
  // The context is gone.
  void Forget() { set_.reset(); }

 private:
  AdapterSetPtr set_;  // keeps what the context has
};

}  // namespace corral::engine
