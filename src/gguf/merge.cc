#include "gguf/merge.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "core/files.h"
#include "gguf/header.h"

namespace corral::gguf {
namespace {

constexpr std::size_t kCopyBytes = 1U << 20U;

tl::unexpected<Error> Refuse(std::string why) {
  return Fail(Code::kInvalidArgument, std::move(why));
}

// `size` bytes of `from` at `offset`, and zeros up to the alignment.
Status Copy(int from, std::uint64_t offset, std::uint64_t size, int to, std::string* buffer) {
  std::uint64_t left = size;
  while (left > 0) {
    buffer->resize(std::min<std::uint64_t>(left, kCopyBytes));
    const ssize_t n = ::pread(from, buffer->data(), buffer->size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail(ErrnoError(errno, "read a part"));
    if (n == 0) return Fail(Code::kCorrupt, "a part of the model is shorter than it was");
    CORRAL_TRY_STATUS(WriteAll(to, std::string_view(buffer->data(), static_cast<std::size_t>(n))));
    offset += static_cast<std::uint64_t>(n);
    left -= static_cast<std::uint64_t>(n);
  }
  return WriteAll(to, std::string(Padded(size) - size, '\0'));
}

}  // namespace

Status Merge(std::span<const int> parts, int output,
             const std::function<void(float)>& on_progress) {
  if (parts.empty()) return Refuse("a split model has no parts");
  std::vector<Info> infos;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    auto info = ReadFd(parts[i], {.limits = {}, .keep_arrays = i == 0});
    if (!info) return Fail(std::move(info).error().Within("part " + std::to_string(i + 1)));
    if (info->Uint("split.count") != parts.size() || info->Uint("split.no") != i) {
      return Refuse("part " + std::to_string(i + 1) + " of " + std::to_string(parts.size()) +
                    " is not that part of a split model");
    }
    infos.push_back(*std::move(info));
  }

  Header header;
  for (const KeyValue& value : infos[0].metadata) {
    if (value.key.starts_with("split.") || value.key == "general.alignment") continue;
    const auto* array = std::get_if<Array>(&value.value);
    if (array != nullptr && array->elements.size() != array->size)
      return Refuse("key " + value.key + " of the first part is too large");
    header.Set(value);
  }
  std::set<std::string_view> names;
  for (const Info& info : infos) {
    for (const TensorInfo& tensor : info.tensors) {
      if (!names.insert(tensor.name).second)
        return Refuse("two parts have a tensor " + tensor.name);
      header.DeclareTensor(tensor.name, tensor.type, tensor.dims, tensor.size_bytes);
    }
  }
  const auto n_tensors = infos[0].Uint("split.tensors.count");
  if (n_tensors && *n_tensors != names.size()) {
    return Refuse("the parts have " + std::to_string(names.size()) + " tensors, and " +
                  std::to_string(*n_tensors) + " are expected");
  }

  CORRAL_TRY_STATUS(WriteAll(output, header.HeaderBytes()));
  std::string buffer;
  std::uint64_t n_written = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (const TensorInfo& tensor : infos[i].tensors) {
      CORRAL_TRY_STATUS(
          Copy(parts[i], infos[i].data_offset + tensor.offset, tensor.size_bytes, output, &buffer));
      n_written += Padded(tensor.size_bytes);
      if (on_progress)
        on_progress(static_cast<float>(n_written) / static_cast<float>(header.data_bytes()));
    }
  }
  return {};
}

}  // namespace corral::gguf
