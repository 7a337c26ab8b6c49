// Values to bytes and back, for the frames between server and worker. Little endian, fixed width,
// lengths before contents.
//
// One description a struct (a Describe overload, found in this file's namespace) serves both
// directions, so that they cannot drift apart. Decoding trusts nothing: a length is checked against
// what is left before anything is allocated, and the first error makes everything after it empty.
// Not thread-safe (one object, one frame).
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace corral::worker {

template <class T>
concept Plain = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class Encoder {
 public:
  template <class... Values>
  void operator()(const Values&... values) {
    (Put(values), ...);
  }
  std::string Take() { return std::move(bytes_); }

 private:
  template <Plain T>
  void Put(T value) {
    static_assert(sizeof(T) <= 8);
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_.append(raw, sizeof(T));
  }
  void Put(const std::string& text) {
    Put(static_cast<std::uint64_t>(text.size()));
    bytes_.append(text);
  }
  template <class Rep, class Period>
  void Put(const std::chrono::duration<Rep, Period>& duration) {
    Put(static_cast<std::int64_t>(duration.count()));
  }
  template <class T>
  void Put(const std::optional<T>& value) {
    Put(value.has_value());
    if (value) Put(*value);
  }
  template <class T>
  void Put(const std::vector<T>& values) {
    Put(static_cast<std::uint64_t>(values.size()));
    if constexpr (Plain<T>) {
      bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    } else {
      for (const T& value : values) Put(value);
    }
  }
  template <class T>
  requires std::is_class_v<T>
  void Put(const T& value) {
    Describe(*this, const_cast<T&>(value));  // an Encoder only reads
  }

  std::string bytes_;
};

class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : bytes_(bytes) {}

  template <class... Values>
  void operator()(Values&... values) {
    (Get(values), ...);
  }
  // True if everything was read and nothing is left over.
  bool IsComplete() const { return is_good_ && bytes_.empty(); }
  bool is_good() const { return is_good_; }

 private:
  std::string_view TakeBytes(std::uint64_t size) {
    if (!is_good_ || size > bytes_.size()) {
      is_good_ = false;
      return {};
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  template <Plain T>
  void Get(T& value) {
    value = T{};
    const std::string_view raw = TakeBytes(sizeof(T));
    if (raw.size() != sizeof(T)) return;
    if constexpr (std::is_same_v<T, bool>) {
      value = raw[0] != 0;
    } else {
      std::memcpy(&value, raw.data(), sizeof(T));
    }
  }
  void Get(std::string& text) {
    std::uint64_t size = 0;
    Get(size);
    text = TakeBytes(size);
  }
  template <class Rep, class Period>
  void Get(std::chrono::duration<Rep, Period>& duration) {
    std::int64_t count = 0;
    Get(count);
    duration = std::chrono::duration<Rep, Period>(static_cast<Rep>(count));
  }
  template <class T>
  void Get(std::optional<T>& value) {
    bool has_value = false;
    Get(has_value);
    value.reset();
    if (has_value && is_good_) Get(value.emplace());
  }
  template <class T>
  void Get(std::vector<T>& values) {
    values.clear();
    std::uint64_t count = 0;
    Get(count);
    if constexpr (Plain<T>) {
      if (count > bytes_.size() / sizeof(T)) {
        is_good_ = false;
        return;
      }
      const std::string_view raw = TakeBytes(count * sizeof(T));
      values.resize(raw.size() / sizeof(T));
      if (!raw.empty()) std::memcpy(values.data(), raw.data(), raw.size());
    } else {
      // Each element takes at least one byte: an honest count never exceeds what is left.
      if (count > bytes_.size()) {
        is_good_ = false;
        return;
      }
      for (std::uint64_t i = 0; i < count && is_good_; ++i) Get(values.emplace_back());
    }
  }
  template <class T>
  requires std::is_class_v<T>
  void Get(T& value) {
    if (depth_ == kMaxDepth) {
      is_good_ = false;
      return;
    }
    ++depth_;
    Describe(*this, value);
    --depth_;
  }

  static constexpr int kMaxDepth = 16;
  std::string_view bytes_;
  bool is_good_ = true;
  int depth_ = 0;
};

}  // namespace corral::worker
