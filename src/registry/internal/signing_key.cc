#include "registry/internal/signing_key.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "core/files.h"
#include "core/text.h"

namespace corral::registry::internal {
namespace {

constexpr std::string_view kBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr std::string_view kEnd = "-----END OPENSSH PRIVATE KEY-----";
constexpr std::string_view kMagic{"openssh-key-v1\0", 15};
constexpr std::string_view kType = "ssh-ed25519";
constexpr std::size_t kLineLength = 70;
constexpr std::size_t kBlockBytes = 8;
constexpr std::uint64_t kMaxFileBytes = 64U << 10;

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

void AppendNumber(std::uint32_t number, std::string* out) {
  for (const unsigned shift : {24U, 16U, 8U, 0U})
    out->push_back(static_cast<char>(number >> shift));
}
void AppendText(std::string_view text, std::string* out) {
  AppendNumber(static_cast<std::uint32_t>(text.size()), out);
  out->append(text);
}

// Reads what AppendNumber and AppendText write; nullopt at the end of the data.
class Reader {
 public:
  explicit Reader(std::string_view data) : data_(data) {}
  std::optional<std::uint32_t> Number() {
    if (data_.size() < 4) return std::nullopt;
    std::uint32_t number = 0;
    for (std::size_t i = 0; i < 4; ++i)
      number = number << 8U | static_cast<unsigned char>(data_[i]);
    data_.remove_prefix(4);
    return number;
  }
  std::optional<std::string_view> Text() {
    const auto size = Number();
    if (!size || *size > data_.size()) return std::nullopt;
    const std::string_view text = data_.substr(0, *size);
    data_.remove_prefix(*size);
    return text;
  }
  bool Skip(std::string_view expected) {
    if (!data_.starts_with(expected)) return false;
    data_.remove_prefix(expected.size());
    return true;
  }

 private:
  std::string_view data_;
};

std::string_view AsText(const std::array<std::uint8_t, 32>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string PublicBlob(std::string_view public_key) {
  std::string blob;
  AppendText(kType, &blob);
  AppendText(public_key, &blob);
  return blob;
}

Error NoKey(std::string_view why) {
  return {Code::kCorrupt, "the key id_ed25519 cannot be used: " + std::string(why)};
}

}  // namespace

Result<SigningKey> SigningKey::FromSeed(const Bytes& seed) {
  SigningKey key;
  key.seed_ = seed;
  const Key handle(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
  std::size_t size = key.public_key_.size();
  if (!handle || EVP_PKEY_get_raw_public_key(handle.get(), key.public_key_.data(), &size) != 1)
    return Fail(Code::kInternal, "OpenSSL makes no ed25519 key");
  return key;
}

Result<SigningKey> SigningKey::Parse(std::string_view text) {
  text = TrimSpace(text);
  if (!text.starts_with(kBegin) || !text.ends_with(kEnd) ||
      text.size() < kBegin.size() + kEnd.size()) {
    return Fail(NoKey("it is not in OpenSSH's format"));
  }
  text.remove_prefix(kBegin.size());
  text.remove_suffix(kEnd.size());
  const Result<std::string> data = Base64Decode(text);
  if (!data) return Fail(NoKey(data.error().message));
  Reader reader(*data);
  if (!reader.Skip(kMagic)) return Fail(NoKey("it is not in OpenSSH's format"));
  const auto cipher = reader.Text();
  const auto kdf = reader.Text();
  const auto kdf_options = reader.Text();
  const auto n_keys = reader.Number();
  const auto public_blob = reader.Text();
  const auto secret = reader.Text();
  if (!cipher || !kdf || !kdf_options || !public_blob || !secret || n_keys != 1U)
    return Fail(NoKey("it is cut short"));
  if (*cipher != "none" || *kdf != "none") return Fail(NoKey("it has a passphrase"));
  Reader inside(*secret);
  const auto check1 = inside.Number();
  const auto check2 = inside.Number();
  const auto type = inside.Text();
  if (!check1 || check1 != check2 || !type) return Fail(NoKey("it is damaged"));
  if (*type != kType) return Fail(NoKey("it is no ed25519 key"));
  const auto public_key = inside.Text();
  const auto both = inside.Text();
  Bytes seed{};
  if (!public_key || !both || both->size() != 2 * seed.size()) return Fail(NoKey("it is damaged"));
  std::copy_n(both->begin(), seed.size(), seed.begin());
  CORRAL_TRY(const SigningKey key, FromSeed(seed));
  if (AsText(key.public_key_) != *public_key) return Fail(NoKey("it is damaged"));
  return key;
}

std::string SigningKey::PublicKey() const { return Base64Encode(PublicBlob(AsText(public_key_))); }

std::string SigningKey::Sign(std::string_view message) const {
  const Key key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed_.data(), seed_.size()));
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  std::string signature(64, '\0');
  std::size_t size = signature.size();
  const bool is_signed =
      key && context &&
      EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                     reinterpret_cast<const unsigned char*>(message.data()), message.size()) == 1;
  CORRAL_CHECK(is_signed, "a key that was made signs");
  return Base64Encode(signature);
}

std::string SigningKey::Encode() const {
  std::string secret;
  std::uint32_t check = 0;
  for (std::size_t i = 0; i < 4; ++i) check = check << 8U | public_key_[i];
  AppendNumber(check, &secret);
  AppendNumber(check, &secret);
  AppendText(kType, &secret);
  AppendText(AsText(public_key_), &secret);
  AppendText(std::string(AsText(seed_)) + std::string(AsText(public_key_)), &secret);
  AppendText("", &secret);  // comment
  for (char pad = 1; secret.size() % kBlockBytes != 0; ++pad) secret.push_back(pad);
  std::string data(kMagic);
  AppendText("none", &data);
  AppendText("none", &data);
  AppendText("", &data);
  AppendNumber(1, &data);
  AppendText(PublicBlob(AsText(public_key_)), &data);
  AppendText(secret, &data);
  const std::string base64 = Base64Encode(data);
  std::string text = std::string(kBegin) + "\n";
  for (std::size_t i = 0; i < base64.size(); i += kLineLength)
    text += base64.substr(i, kLineLength) + "\n";
  return text + std::string(kEnd) + "\n";
}

Result<SigningKey> SigningKey::LoadOrCreate(const std::filesystem::path& file) {
  FileSystem& files = RealFileSystem();
  Result<std::string> text = files.Read(file, kMaxFileBytes);
  if (text) return Parse(*text);
  if (text.error().code != Code::kNotFound)
    return Fail(std::move(text).error().Within("read the key id_ed25519"));

  Bytes seed{};
  if (RAND_bytes(seed.data(), static_cast<int>(seed.size())) != 1)
    return Fail(Code::kInternal, "OpenSSL has no random numbers");
  CORRAL_TRY(const SigningKey key, FromSeed(seed));
  CORRAL_TRY_STATUS(files.MakeFolders(file.parent_path()));
  std::filesystem::path temporary = file;
  temporary += ".new-" + std::to_string(::getpid());
  const UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "write the key id_ed25519"));
  Status written = WriteAll(fd.get(), key.Encode());
  if (written && ::fsync(fd.get()) != 0) written = Fail(ErrnoError(errno, "write the key"));
  // A link and no rename: another server may have made one just now, and that one counts.
  const bool is_ours = written && ::link(temporary.c_str(), file.c_str()) == 0;
  const int link_error = errno;
  ::unlink(temporary.c_str());
  CORRAL_TRY_STATUS(written);
  if (!is_ours) {
    if (link_error != EEXIST) return Fail(ErrnoError(link_error, "write the key id_ed25519"));
    CORRAL_TRY(const std::string other, files.Read(file, kMaxFileBytes));
    return Parse(other);
  }
  std::filesystem::path public_file = file;
  public_file += ".pub";
  // For people; nothing reads it.
  (void)files.WriteAtomically(public_file, std::string(kType) + " " + key.PublicKey() + "\n");
  return key;
}

}  // namespace corral::registry::internal
