// Model files of other forms to one GGUF: a folder as Hugging Face has it (safetensors,
// configuration, tokenizer), a LoRA adapter's folder, the parts of a split GGUF. The work of
// corral-worker's short-lived mode; never in the server.
//
// What comes out has the tensors and keys that llama.cpp's own converter (v0.5.0,
// convert_hf_to_gguf.py --outtype f16, and convert_lora_to_gguf.py) gives, except for the keys
// which that takes from a model card and the folder's name. Trusts no length in any file. No state;
// blocking (disk), for minutes.
#pragma once

#include "core/task.h"

namespace corral::convert {

// A TaskFunction for kMerge, kConvert and kConvertAdapter. Errors: kInvalidArgument ("unsupported
// architecture \"X\"", a file that is missing or is not what it should be), kIo.
Status Run(const Task& task, const TaskFiles& files, const std::function<void(float)>& on_progress);

}  // namespace corral::convert
