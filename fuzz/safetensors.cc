// Any bytes as a safetensors file. What is read lies within the file, and no two tensors overlap.
#include "convert/safetensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/files.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral;
  const UniqueFd file(::memfd_create("safetensors", MFD_CLOEXEC));
  CORRAL_CHECK(file.is_valid(), "no memory file");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  CORRAL_CHECK(WriteAll(file.get(), bytes).has_value(), "no memory file");
  auto tensors = convert::ReadSafetensors(file.get());
  if (!tensors) return 0;
  std::sort(tensors->begin(), tensors->end(), [](const auto& a, const auto& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.size_bytes < b.size_bytes;
  });
  std::uint64_t end = 0;
  for (const convert::SafeTensor& tensor : *tensors) {
    CORRAL_CHECK(tensor.offset <= size && tensor.size_bytes <= size - tensor.offset,
                 "a tensor outside of the file");
    if (tensor.size_bytes == 0) continue;
    CORRAL_CHECK(tensor.Elements() <= tensor.size_bytes, "more numbers than bytes");
    CORRAL_CHECK(tensor.offset >= end, "two tensors overlap");
    end = tensor.offset + tensor.size_bytes;
  }
  return 0;
}
