// One-off work on model files that a worker process does and then ends: quantising, converting,
// merging. The vocabulary between api (which asks), worker (which carries) and the rooms that do
// it.
//
// Plain values. Files travel as open descriptors beside a Task: the sandboxed child opens no path.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/result.h"

namespace corral {

struct Task {
  enum class Kind : std::uint8_t {
    kQuantize,        // one GGUF to another type
    kMerge,           // the parts of a split GGUF, in order, to one file
    kConvert,         // a model folder (safetensors, configuration, tokenizer) to GGUF, F16
    kConvertAdapter,  // a LoRA folder (safetensors, configuration) to GGUF; the last input, named
                      // kBaseModel, is the GGUF that it adapts
  };
  Kind kind = Kind::kQuantize;
  std::string file_type;                 // kQuantize: "Q4_K_M"; upper case
  std::vector<std::string> input_names;  // relative paths of the inputs, in the order of their
                                         // descriptors; kConvert and kConvertAdapter find by them
  std::string name;                      // general.name of what is made; may be empty
};

// The name of kConvertAdapter's last input. No client's file has it: it is no relative path.
inline constexpr const char* kBaseModel = "/base.gguf";

struct TaskFiles {
  std::vector<int> inputs;  // open for reading
  int output = -1;          // an empty file, open for reading and writing
};

// Does a task; on return the output is whole. `on_progress` hears 0..1 on the calling thread.
// Errors: kInvalidArgument (the files are not what the task needs; the text says what), kCorrupt,
// kIo (disk full), kNoMemory.
using TaskFunction = std::function<Status(const Task& task, const TaskFiles& files,
                                          const std::function<void(float)>& on_progress)>;

}  // namespace corral
