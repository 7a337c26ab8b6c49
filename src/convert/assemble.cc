#include "convert/assemble.h"

#include <set>
#include <string_view>
#include <utility>

#include "convert/inputs.h"
#include "core/files.h"

namespace corral::convert {

Status Assemble(gguf::Header header, const std::vector<OutputTensor>& tensors, int output,
                const std::function<void(float)>& on_progress) {
  std::set<std::string_view> names;
  for (const OutputTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) return Refuse("two tensors become " + tensor.name);
    const std::vector<std::uint64_t> dims(tensor.shape.rbegin(), tensor.shape.rend());
    header.DeclareTensor(tensor.name, tensor.type, dims, tensor.SizeBytes());
  }
  CORRAL_TRY_STATUS(WriteAll(output, header.HeaderBytes()));
  std::uint64_t n_written = 0;
  for (const OutputTensor& tensor : tensors) {
    CORRAL_TRY_STATUS(WriteTensor(tensor, output));
    n_written += gguf::Padded(tensor.SizeBytes());
    on_progress(static_cast<float>(n_written) / static_cast<float>(header.data_bytes()));
  }
  return {};
}

std::uint32_t OutputType(std::string_view name, std::size_t n_dims) {
  const bool is_single = n_dims <= 1 || name.ends_with("_norm.weight") ||
                         name == "position_embd.weight" || name == "token_types.weight" ||
                         !name.ends_with(".weight");
  return is_single ? kTypeFloat32 : kTypeFloat16;
}

Status CheckSource(const SafeTensor& tensor) {
  if (tensor.dtype == DType::kOther) {
    return Refuse("tensor " + tensor.name.substr(0, 200) + " is of type " + tensor.dtype_name +
                  ": only F32, F16, BF16 and F64 can be converted");
  }
  if (tensor.shape.empty() || tensor.shape.size() > 4 || tensor.size_bytes == 0)
    return Refuse("tensor " + tensor.name.substr(0, 200) + " has no shape that GGUF can hold");
  return {};
}

Status CheckInterleaving(const OutputTensor& tensor) {
  if (tensor.interleave_heads == 0) return {};
  if (tensor.shape.empty() || tensor.shape[0] % (2 * tensor.interleave_heads) != 0) {
    return Refuse("tensor " + tensor.name + " has no rows for " +
                  std::to_string(tensor.interleave_heads) + " heads");
  }
  return {};
}

}  // namespace corral::convert
