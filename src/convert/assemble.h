// The last step of a conversion: header and tensors into the file.
#pragma once

#include <functional>
#include <vector>

#include "convert/tensor_data.h"
#include "core/result.h"
#include "gguf/header.h"

namespace corral::convert {

// Declares all tensors in `header`, writes it and them. Errors: kInvalidArgument, kIo.
Status Assemble(gguf::Header header, const std::vector<OutputTensor>& tensors, int output,
                const std::function<void(float)>& on_progress);

// The type in the file: F32 for vectors, norms and what llama.cpp computes with in that type.
std::uint32_t OutputType(std::string_view name, std::size_t n_dims);

// What can be converted of a source. Errors: kInvalidArgument, naming tensor and type.
Status CheckSource(const SafeTensor& tensor);

// Whether its rows divide into heads of pairs. Errors: kInvalidArgument.
Status CheckInterleaving(const OutputTensor& tensor);

}  // namespace corral::convert
