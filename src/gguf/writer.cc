#include "gguf/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <utility>

namespace corral::gguf {
namespace {

static_assert(std::endian::native == std::endian::little,
              "values are written as they lie in memory");

constexpr std::size_t kAlignment = 32;
constexpr std::uint32_t kFloat32Tensor = 0;  // ggml_type

template <class T>
void Append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendString(std::string& to, std::string_view text) {
  Append<std::uint64_t>(to, text.size());
  to.append(text);
}

template <class T>
void AppendArray(std::string& to, ValueType type, std::span<const T> values) {
  Append(to, static_cast<std::uint32_t>(type));
  Append<std::uint64_t>(to, values.size());
  to.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

std::size_t Padded(std::size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void Writer::AddKey(std::string_view key, ValueType type) {
  AppendString(metadata_, key);
  Append(metadata_, static_cast<std::uint32_t>(type));
  ++n_keys_;
}

void Writer::SetUint32(std::string key, std::uint32_t value) {
  AddKey(key, ValueType::kUint32);
  Append(metadata_, value);
}

void Writer::SetFloat32(std::string key, float value) {
  AddKey(key, ValueType::kFloat32);
  Append(metadata_, value);
}

void Writer::SetBool(std::string key, bool value) {
  AddKey(key, ValueType::kBool);
  Append<std::uint8_t>(metadata_, value ? 1 : 0);
}

void Writer::SetString(std::string key, std::string_view value) {
  AddKey(key, ValueType::kString);
  AppendString(metadata_, value);
}

void Writer::SetStrings(std::string key, std::span<const std::string> values) {
  AddKey(key, ValueType::kArray);
  Append(metadata_, static_cast<std::uint32_t>(ValueType::kString));
  Append<std::uint64_t>(metadata_, values.size());
  for (const std::string& value : values) AppendString(metadata_, value);
}

void Writer::SetInt32s(std::string key, std::span<const std::int32_t> values) {
  AddKey(key, ValueType::kArray);
  AppendArray(metadata_, ValueType::kInt32, values);
}

void Writer::SetFloat32s(std::string key, std::span<const float> values) {
  AddKey(key, ValueType::kArray);
  AppendArray(metadata_, ValueType::kFloat32, values);
}

void Writer::SetRaw(std::string key, ValueType type, std::string_view bytes) {
  AddKey(key, type);
  metadata_.append(bytes);
}

void Writer::AddTensor(std::string name, std::vector<std::uint64_t> dims,
                       std::span<const float> data) {
  std::uint64_t n_elements = 1;
  for (const std::uint64_t dim : dims) n_elements *= dim;
  CORRAL_CHECK(n_elements == data.size(),
               "a tensor's data has as many elements as its dimensions say");
  tensors_.push_back({std::move(name), std::move(dims), {data.begin(), data.end()}});
}

std::string Writer::Bytes() const {
  std::string bytes = "GGUF";
  Append<std::uint32_t>(bytes, 3);
  Append<std::uint64_t>(bytes, tensors_.size());
  Append<std::uint64_t>(bytes, n_keys_);
  bytes += metadata_;
  std::uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    AppendString(bytes, tensor.name);
    Append(bytes, static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::uint64_t dim : tensor.dims) Append(bytes, dim);
    Append(bytes, kFloat32Tensor);
    Append(bytes, offset);
    offset += Padded(tensor.data.size() * sizeof(float));
  }
  bytes.resize(Padded(bytes.size()));
  for (const Tensor& tensor : tensors_) {
    bytes.append(reinterpret_cast<const char*>(tensor.data.data()),
                 tensor.data.size() * sizeof(float));
    bytes.resize(Padded(bytes.size()));
  }
  return bytes;
}

Status Writer::Write(const std::filesystem::path& file) const {
  const std::string bytes = Bytes();
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return Fail(ErrnoError(errno, "create GGUF file"));
  std::string_view rest = bytes;
  int failure = 0;
  while (!rest.empty() && failure == 0) {
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      failure = errno;
    }
  }
  if (::close(fd) != 0 && failure == 0) failure = errno;
  if (failure != 0) return Fail(ErrnoError(failure, "write GGUF file"));
  return {};
}

}  // namespace corral::gguf
