// Fuzzes gguf::ReadFd, gguf::CheckLoadable and gguf::CheckAdapter: whatever the bytes are, an Info
// keeps its promises or there is an error.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "gguf/reader.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckPromises(const corral::gguf::Info& info, std::size_t size) {
  Require(info.file_bytes == size);
  for (const corral::gguf::KeyValue& entry : info.metadata) {
    Require(!entry.key.empty());
    if (const auto* array = std::get_if<corral::gguf::Array>(&entry.value)) {
      Require(array->elements.empty() || array->elements.size() == array->size);
    }
  }
  for (const corral::gguf::TensorInfo& tensor : info.tensors) {
    Require(tensor.size_bytes > 0 && tensor.offset % info.alignment == 0);
    Require(info.data_offset <= size && tensor.offset <= size - info.data_offset);
    Require(tensor.size_bytes <= size - info.data_offset - tensor.offset);
  }
  static_cast<void>(info.FileType().size() + info.ChatTemplate().size() + info.ParameterCount());
  static_cast<void>(info.ArchUint("block_count"));
  static_cast<void>(info.IsEmbeddingModel());
  static_cast<void>(corral::gguf::CheckLoadable(info));
  static_cast<void>(corral::gguf::CheckAdapter(info, info));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int fd = ::memfd_create("gguf_header", MFD_CLOEXEC);
  Require(fd >= 0 && ::ftruncate(fd, 0) == 0);
  Require(::pwrite(fd, data, size, 0) == static_cast<ssize_t>(size));
  for (const bool keep_arrays : {false, true}) {
    corral::gguf::ReadOptions options;
    options.keep_arrays = keep_arrays;
    const corral::Result<corral::gguf::Info> info = corral::gguf::ReadFd(fd, options);
    if (info) CheckPromises(*info, size);
  }
  return 0;
}
