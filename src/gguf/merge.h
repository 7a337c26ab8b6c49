// One GGUF file of the parts of a split one (llama.cpp's gguf-split: "<name>-00001-of-00003.gguf",
// keys split.no, split.count, split.tensors.count).
//
// No state. Blocking (disk), for as long as copying takes. Trusts no part: each is read as any
// GGUF file is (reader.h), and copied only within what that allows.
#pragma once

#include <functional>
#include <span>

#include "core/result.h"

namespace corral::gguf {

// Writes the tensors of all `parts`, in order, with the metadata of the first but its split.* keys
// to `output`, an empty file. `parts` are open for reading, in the order of split.no. Hears 0..1.
// Errors: kInvalidArgument (not the parts of one file, or not all), kCorrupt (a part), kIo.
Status Merge(std::span<const int> parts, int output, const std::function<void(float)>& on_progress);

}  // namespace corral::gguf
