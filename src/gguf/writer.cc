#include "gguf/writer.h"

#include <fcntl.h>

#include <cerrno>

#include "core/files.h"

namespace corral::gguf {
namespace {
constexpr std::uint32_t kFloat32Tensor = 0;  // ggml_type
}  // namespace

void Writer::AddTensor(std::string name, std::vector<std::uint64_t> dims,
                       std::span<const float> data) {
  std::uint64_t n_elements = 1;
  for (const std::uint64_t dim : dims) n_elements *= dim;
  CORRAL_CHECK(n_elements == data.size(),
               "a tensor's data has as many elements as its dimensions say");
  DeclareTensor(name, kFloat32Tensor, dims, data.size_bytes());
  data_.append(reinterpret_cast<const char*>(data.data()), data.size_bytes());
  data_.resize(Padded(data_.size()));
}

std::string Writer::Bytes() const { return HeaderBytes() + data_; }

Status Writer::Write(const std::filesystem::path& file) const {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "create GGUF file"));
  auto written = WriteAll(fd.get(), Bytes());
  if (!written) return Fail(std::move(written).error().Within("write GGUF file"));
  return {};
}

}  // namespace corral::gguf
