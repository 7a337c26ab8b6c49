// A LoRA adapter's folder (Hugging Face PEFT: adapter_config.json, adapter_model.safetensors) to
// GGUF.
#pragma once

#include <functional>

#include "convert/inputs.h"
#include "core/result.h"

namespace corral::convert {

// `inputs` holds the adapter's files and kBaseModel, the GGUF that it adapts. Errors:
// kInvalidArgument, kIo.
Status ConvertAdapter(const Inputs& inputs, const std::string& name, int output,
                      const std::function<void(float)>& on_progress);

}  // namespace corral::convert
