#include "gguf/reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "gguf/types.h"
#include "gguf/window.h"

namespace corral::gguf {
namespace {

static_assert(std::endian::native == std::endian::little,
              "values are read as they lie in the file");

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTokenTypes = "tokenizer.ggml.token_type";
constexpr std::int32_t kByteToken = 6;  // llama.cpp's LLAMA_TOKEN_TYPE_BYTE
constexpr std::string_view kAlignment = "general.alignment";

bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

tl::unexpected<Error> Corrupt(std::string why) {
  return Fail(Code::kCorrupt, "invalid GGUF file: " + std::move(why));
}

// Reads one header, front to back.
class HeaderReader {
 public:
  HeaderReader(int fd, std::uint64_t file_bytes, const ReadOptions& options)
      : window_(fd, std::min(file_bytes, options.limits.max_header_bytes)),
        limits_(options.limits),
        keep_arrays_(options.keep_arrays),
        kept_budget_(options.limits.max_kept_elements) {
    info_.file_bytes = file_bytes;
  }

  Result<Info> Run() {
    CORRAL_TRY_STATUS(ReadStart());
    for (std::uint64_t i = 0; i < n_keys_; ++i) CORRAL_TRY_STATUS(ReadKeyValue(i));
    CORRAL_TRY_STATUS(TakeAlignment());
    for (std::uint64_t i = 0; i < n_tensors_; ++i) CORRAL_TRY_STATUS(ReadTensor(i));
    CORRAL_TRY_STATUS(PlaceTensors());
    return std::move(info_);
  }

 private:
  // Why the last read of the window failed: the file's end, our limit, or the disk.
  tl::unexpected<Error> Ended(const std::string& what) const {
    if (window_.error() != 0) return Fail(ErrnoError(window_.error(), "read GGUF file"));
    if (info_.file_bytes > limits_.max_header_bytes) {
      return Corrupt("the header goes on past " + std::to_string(limits_.max_header_bytes) +
                     " bytes, in " + what);
    }
    return Corrupt("the file ends in " + what);
  }

  template <class T>
  Result<T> Number(const std::string& what) {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    if (!window_.Read(&value, sizeof(value))) return Ended(what);
    return value;
  }

  // The length of a string that starts here, checked against `max_bytes` and the rest of the file.
  Result<std::uint64_t> StringLength(const std::string& what, std::uint64_t max_bytes) {
    CORRAL_TRY(const std::uint64_t length, Number<std::uint64_t>(what));
    if (length > max_bytes) {
      return Corrupt(what + " has " + std::to_string(length) + " bytes, over the limit of " +
                     std::to_string(max_bytes));
    }
    if (length > window_.Remaining()) return Ended(what);
    return length;
  }

  Status ReadString(const std::string& what, std::uint64_t max_bytes, std::string& out) {
    CORRAL_TRY(const std::uint64_t length, StringLength(what, max_bytes));
    out.resize(static_cast<std::size_t>(length));
    if (!window_.Read(out.data(), out.size())) return Ended(what);
    return {};
  }

  Status ReadStart() {
    char magic[4];
    if (!window_.Read(magic, sizeof(magic))) return Ended("the magic");
    if (std::memcmp(magic, "GGUF", sizeof(magic)) != 0)
      return Corrupt("it does not begin with \"GGUF\"");
    CORRAL_TRY(info_.version, Number<std::uint32_t>("the version"));
    if (info_.version != 2 && info_.version != 3) {
      const bool is_swapped = (info_.version & 0xffffU) == 0 && info_.version != 0;
      return Corrupt(is_swapped ? "it is big endian"
                                : "version " + std::to_string(info_.version) + " is not 2 or 3");
    }
    CORRAL_TRY(n_tensors_, Number<std::uint64_t>("the number of tensors"));
    CORRAL_TRY(n_keys_, Number<std::uint64_t>("the number of keys"));
    if (n_tensors_ > limits_.max_tensors) {
      return Corrupt(std::to_string(n_tensors_) + " tensors, over the limit of " +
                     std::to_string(limits_.max_tensors));
    }
    if (n_keys_ > limits_.max_keys) {
      return Corrupt(std::to_string(n_keys_) + " keys, over the limit of " +
                     std::to_string(limits_.max_keys));
    }
    // The smallest key (length, one letter, type, one byte) has 14 bytes, the smallest tensor 25.
    if (n_keys_ * 14 + n_tensors_ * 25 > window_.Remaining()) {
      return Corrupt("the file is too short for its " + std::to_string(n_keys_) + " keys and " +
                     std::to_string(n_tensors_) + " tensors");
    }
    return {};
  }

  Status ReadKeyValue(std::uint64_t index) {
    KeyValue entry;
    const std::string place = "key " + std::to_string(index);
    CORRAL_TRY_STATUS(ReadString("the name of " + place, limits_.max_key_bytes, entry.key));
    if (entry.key.empty()) return Corrupt(place + " has no name");
    if (!IsPrintableAscii(entry.key)) return Corrupt("the name of " + place + " is not ASCII");
    if (!seen_.insert(entry.key).second) return Corrupt("key '" + entry.key + "' is there twice");

    const std::string what = "key '" + entry.key + "'";
    CORRAL_TRY(const std::uint32_t type, Number<std::uint32_t>(what));
    if (type > static_cast<std::uint32_t>(ValueType::kFloat64)) {
      return Corrupt(what + " has the unknown type " + std::to_string(type));
    }
    entry.type = static_cast<ValueType>(type);
    if (entry.type == ValueType::kArray) {
      CORRAL_TRY(entry.value, ReadArray(entry.key, what));
    } else {
      CORRAL_TRY(entry.value, ReadScalar(entry.type, what));
    }
    info_.metadata.push_back(std::move(entry));
    return {};
  }

  template <class Stored, class Wide>
  Result<Value> Widen(const std::string& what) {
    CORRAL_TRY(const Stored stored, Number<Stored>(what));
    return Value(static_cast<Wide>(stored));
  }

  Result<Value> ReadScalar(ValueType type, const std::string& what) {
    switch (type) {
      case ValueType::kUint8:
        return Widen<std::uint8_t, std::uint64_t>(what);
      case ValueType::kUint16:
        return Widen<std::uint16_t, std::uint64_t>(what);
      case ValueType::kUint32:
        return Widen<std::uint32_t, std::uint64_t>(what);
      case ValueType::kUint64:
        return Widen<std::uint64_t, std::uint64_t>(what);
      case ValueType::kInt8:
        return Widen<std::int8_t, std::int64_t>(what);
      case ValueType::kInt16:
        return Widen<std::int16_t, std::int64_t>(what);
      case ValueType::kInt32:
        return Widen<std::int32_t, std::int64_t>(what);
      case ValueType::kInt64:
        return Widen<std::int64_t, std::int64_t>(what);
      case ValueType::kFloat32:
        return Widen<float, double>(what);
      case ValueType::kFloat64:
        return Widen<double, double>(what);
      case ValueType::kBool: {
        CORRAL_TRY(const std::uint8_t byte, Number<std::uint8_t>(what));
        return Value(byte != 0);
      }
      case ValueType::kString: {
        std::string text;
        CORRAL_TRY_STATUS(ReadString(what, limits_.max_string_bytes, text));
        return Value(std::move(text));
      }
      case ValueType::kArray:
        break;
    }
    return Corrupt(what + " holds arrays in an array");
  }

  Result<Value> ReadArray(const std::string& key, const std::string& what) {
    Array array;
    CORRAL_TRY(const std::uint32_t type, Number<std::uint32_t>(what));
    CORRAL_TRY(array.size, Number<std::uint64_t>(what));
    if (type > static_cast<std::uint32_t>(ValueType::kFloat64)) {
      return Corrupt(what + " holds elements of the unknown type " + std::to_string(type));
    }
    array.type = static_cast<ValueType>(type);
    if (array.type == ValueType::kArray) return Corrupt(what + " holds arrays in an array");
    if (array.size > limits_.max_array_elements) {
      return Corrupt(what + " has " + std::to_string(array.size) + " elements, over the limit of " +
                     std::to_string(limits_.max_array_elements));
    }
    const bool is_string = array.type == ValueType::kString;
    const std::uint64_t least_bytes = is_string ? 8 : ValueTypeBytes(array.type);
    if (array.size * least_bytes > window_.Remaining()) return Ended(what);

    const bool is_kept =
        (keep_arrays_ || array.size <= limits_.keep_array_elements) && array.size <= kept_budget_;
    if (is_kept) {
      kept_budget_ -= array.size;
      array.elements.reserve(static_cast<std::size_t>(array.size));
    }
    if (is_string) {
      CORRAL_TRY_STATUS(ReadStrings(key == kTokens, what, is_kept, array));
    } else if (key == kTokenTypes && array.type == ValueType::kInt32) {
      CORRAL_TRY_STATUS(ReadTokenTypes(what, is_kept, array));
    } else if (is_kept) {
      for (std::uint64_t i = 0; i < array.size; ++i) {
        CORRAL_TRY(Value element, ReadScalar(array.type, what));
        array.elements.push_back(std::move(element));
      }
    } else if (!window_.Skip(array.size * least_bytes)) {
      return Ended(what);
    }
    return Value(std::move(array));
  }

  Status ReadStrings(bool is_tokens, const std::string& what, bool is_kept, Array& array) {
    std::vector<std::size_t> hashes;
    if (is_tokens) hashes.reserve(static_cast<std::size_t>(array.size));
    const std::uint64_t max_bytes = is_tokens ? limits_.max_token_bytes : limits_.max_string_bytes;
    std::string text;
    for (std::uint64_t i = 0; i < array.size; ++i) {
      if (!is_tokens && !is_kept) {
        CORRAL_TRY(const std::uint64_t length, StringLength(what, max_bytes));
        if (!window_.Skip(length)) return Ended(what);
        continue;
      }
      CORRAL_TRY_STATUS(ReadString(what, max_bytes, text));
      if (is_tokens) hashes.push_back(TokenHash(text, i));
      if (is_kept) array.elements.emplace_back(std::move(text));
    }
    std::sort(hashes.begin(), hashes.end());
    if (std::adjacent_find(hashes.begin(), hashes.end()) != hashes.end()) {
      info_.has_duplicate_tokens = true;
    }
    return {};
  }

  Status ReadTokenTypes(const std::string& what, bool is_kept, Array& array) {
    for (std::uint64_t i = 0; i < array.size; ++i) {
      std::int32_t type = 0;
      if (!window_.Read(&type, sizeof(type))) return Ended(what);
      if (type == kByteToken) info_.has_byte_tokens = true;
      if (is_kept) array.elements.emplace_back(std::int64_t{type});
    }
    return {};
  }

  // Of the text that libllama takes for a token: it ends at a NUL, and an empty one gets a made-up
  // name.
  static std::size_t TokenHash(std::string_view token, std::uint64_t index) {
    token = token.substr(0, token.find('\0'));
    const std::hash<std::string_view> hash;
    return token.empty() ? hash("[EMPTY_" + std::to_string(index) + "]") : hash(token);
  }

  Status TakeAlignment() {
    const KeyValue* entry = info_.Find(kAlignment);
    if (entry == nullptr) return {};
    if (entry->type != ValueType::kUint32) {
      return Corrupt(std::string(kAlignment) + " is of type " +
                     std::string(ValueTypeName(entry->type)) + ", must be uint32");
    }
    const std::uint64_t alignment = std::get<std::uint64_t>(entry->value);
    if (alignment < 8 || !std::has_single_bit(alignment) || alignment > limits_.max_alignment) {
      return Corrupt(std::string(kAlignment) + " is " + std::to_string(alignment) +
                     ", must be a power of 2 from 8 to " + std::to_string(limits_.max_alignment));
    }
    info_.alignment = static_cast<std::uint32_t>(alignment);
    return {};
  }

  Status ReadTensor(std::uint64_t index) {
    TensorInfo tensor;
    const std::string place = "tensor " + std::to_string(index);
    CORRAL_TRY_STATUS(
        ReadString("the name of " + place, limits_.max_tensor_name_bytes, tensor.name));
    if (tensor.name.empty()) return Corrupt(place + " has no name");
    if (!IsPrintableAscii(tensor.name)) return Corrupt("the name of " + place + " is not ASCII");
    const std::string what = "tensor '" + tensor.name + "'";
    // Keys and tensors share the set of seen names: a tensor's has a NUL in front, which no key
    // has.
    if (!seen_.insert(std::string(1, '\0') + tensor.name).second)
      return Corrupt(what + " is there twice");

    CORRAL_TRY(const std::uint32_t n_dims, Number<std::uint32_t>(what));
    if (n_dims > limits_.max_dims) {
      return Corrupt(what + " has " + std::to_string(n_dims) + " dimensions, over the limit of " +
                     std::to_string(limits_.max_dims));
    }
    for (std::uint32_t i = 0; i < n_dims; ++i) {
      CORRAL_TRY(const std::uint64_t dim, Number<std::uint64_t>(what));
      tensor.dims.push_back(dim);
    }
    CORRAL_TRY(tensor.type, Number<std::uint32_t>(what));
    CORRAL_TRY(tensor.offset, Number<std::uint64_t>(what));
    CORRAL_TRY(tensor.size_bytes, TensorBytes(tensor, what));
    info_.tensors.push_back(std::move(tensor));
    return {};
  }

  static Result<std::uint64_t> TensorBytes(const TensorInfo& tensor, const std::string& what) {
    const TensorType* type = FindTensorType(tensor.type);
    if (type == nullptr)
      return Corrupt(what + " has the unknown type " + std::to_string(tensor.type));
    std::uint64_t n_elements = 1;
    for (const std::uint64_t dim : tensor.dims) {
      if (dim == 0) return Corrupt(what + " has a dimension of 0");
      if (__builtin_mul_overflow(n_elements, dim, &n_elements) ||
          n_elements > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return Corrupt(what + " has too many elements");
      }
    }
    const std::uint64_t row = tensor.dims.empty() ? 1 : tensor.dims.front();
    if (row % type->block_elements != 0) {
      return Corrupt(what + " has rows of " + std::to_string(row) +
                     " elements, not a multiple of " + std::to_string(type->block_elements) +
                     " as " + std::string(type->name) + " needs");
    }
    std::uint64_t n_bytes = 0;
    if (__builtin_mul_overflow(n_elements / type->block_elements,
                               static_cast<std::uint64_t>(type->block_bytes), &n_bytes)) {
      return Corrupt(what + " has too many elements");
    }
    return n_bytes;
  }

  // The data section begins at the next multiple of the alignment; every tensor lies within it, and
  // none on another.
  Status PlaceTensors() {
    const std::uint64_t alignment = info_.alignment;
    info_.data_offset = (window_.position() + alignment - 1) / alignment * alignment;
    if (info_.tensors.empty()) return {};
    if (info_.data_offset > info_.file_bytes)
      return Corrupt("the file ends before the tensor data");

    const std::uint64_t data_bytes = info_.file_bytes - info_.data_offset;
    std::vector<const TensorInfo*> by_offset;
    by_offset.reserve(info_.tensors.size());
    for (const TensorInfo& tensor : info_.tensors) {
      const std::string what = "tensor '" + tensor.name + "'";
      if (tensor.offset % alignment != 0) return Corrupt(what + " is not aligned");
      if (tensor.offset > data_bytes || tensor.size_bytes > data_bytes - tensor.offset) {
        return Corrupt(what + " reaches past the end of the file");
      }
      by_offset.push_back(&tensor);
    }
    std::sort(by_offset.begin(), by_offset.end(),
              [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
    for (std::size_t i = 1; i < by_offset.size(); ++i) {
      const TensorInfo& before = *by_offset[i - 1];
      if (before.size_bytes > by_offset[i]->offset - before.offset) {
        return Corrupt("tensors '" + before.name + "' and '" + by_offset[i]->name + "' overlap");
      }
    }
    return {};
  }

  Window window_;
  const Limits limits_;
  const bool keep_arrays_;
  std::uint64_t kept_budget_;
  std::uint64_t n_keys_ = 0;
  std::uint64_t n_tensors_ = 0;
  std::unordered_set<std::string> seen_;
  Info info_;
};

}  // namespace

Result<Info> ReadFd(int fd, const ReadOptions& options) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return Fail(ErrnoError(errno, "read GGUF file"));
  if (!S_ISREG(status.st_mode)) return Corrupt("it is not a regular file");
  return HeaderReader(fd, static_cast<std::uint64_t>(status.st_size), options).Run();
}

Result<Info> Read(const std::filesystem::path& file, const ReadOptions& options) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Fail(ErrnoError(errno, "open GGUF file"));
  Result<Info> info = ReadFd(fd, options);
  ::close(fd);
  return info;
}

}  // namespace corral::gguf
