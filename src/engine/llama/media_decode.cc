#include "engine/llama/media_decode.h"

#include <webp/decode.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

// Both libraries are headers with their code inside; only what decodes from memory is wanted.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_PIC  // its reader takes a null pointer for the pixels of a cut file
#include <stb/stb_image.h>
#define MINIAUDIO_IMPLEMENTATION
#define MA_API static
#define MA_NO_ENCODING
#define MA_NO_DEVICE_IO
#define MA_NO_RESOURCE_MANAGER
#define MA_NO_NODE_GRAPH
#define MA_NO_ENGINE
#define MA_NO_GENERATION
#define MA_NO_STDIO
#include <miniaudio/miniaudio.h>
#pragma GCC diagnostic pop

namespace corral::engine {
namespace {

constexpr int kChannels = 3;
constexpr std::size_t kFramesARead = 64 << 10;
constexpr std::size_t kReadsAByte = 16;  // of a sound: each format is tried in turn
constexpr std::size_t kSpareReads = 64 << 10;
constexpr float kLoudest = 1e6F;  // full scale is 1

// llama-server's words (tools/server/server-common.cpp), which Ollama hands on; then the reason.
tl::unexpected<Error> Bad(std::string_view why) {
  return Fail(Code::kInvalidArgument, "Failed to load image or audio file: " + std::string(why));
}

bool IsWebp(std::string_view bytes) {
  return bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP";
}

Status CheckSize(std::int64_t width, std::int64_t height, const DecodeLimits& limits) {
  if (width < 1 || height < 1) return Bad("it has no pixels");
  const std::string size = std::to_string(width) + "x" + std::to_string(height) + " pixels";
  if (width > INT_MAX / kChannels / height || width * height > limits.n_pixels)
    return Bad(size + " are too many, at most " + std::to_string(limits.n_pixels));
  if (std::max(width, height) > kMostSideRatio * std::min(width, height))
    return Bad(size + ": one side is more than " + std::to_string(kMostSideRatio) +
               " times the other");
  return {};
}

Result<DecodedMedia> DecodeWebp(std::string_view bytes, const DecodeLimits& limits) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  int width = 0;
  int height = 0;
  if (WebPGetInfo(data, bytes.size(), &width, &height) == 0) return Bad("it is no WebP image");
  CORRAL_TRY_STATUS(CheckSize(width, height, limits));
  DecodedMedia picture;
  picture.width = static_cast<std::uint32_t>(width);
  picture.height = static_cast<std::uint32_t>(height);
  const int stride = width * kChannels;
  picture.data.resize(static_cast<std::size_t>(stride) * picture.height);
  if (WebPDecodeRGBInto(data, bytes.size(), reinterpret_cast<std::uint8_t*>(picture.data.data()),
                        picture.data.size(), stride) == nullptr)
    return Bad("the WebP image is damaged");
  return picture;
}

// stb_image makes a picture of the half of a JPEG. Behind the head, whose segments say their
// length, no data holds the mark of the end: its 0xFF are followed by 0, or by marks of less.
bool IsCutJpeg(std::string_view bytes) {
  constexpr unsigned char kMark = 0xFF;
  constexpr unsigned char kStartOfScan = 0xDA;
  if (!bytes.starts_with("\xFF\xD8")) return false;
  std::size_t at = 2;
  while (at + 4 <= bytes.size()) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[at + i]); };
    if (byte(0) != kMark || byte(1) == kMark) {  // padding
      ++at;
    } else if (byte(1) == kStartOfScan) {
      return bytes.find("\xFF\xD9", at) == std::string_view::npos;
    } else {
      at += 2 + std::size_t{byte(2)} * 256 + byte(3);
    }
  }
  return true;
}

Result<DecodedMedia> DecodePicture(std::string_view bytes, const DecodeLimits& limits) {
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const auto size = static_cast<int>(bytes.size());
  int width = 0;
  int height = 0;
  int n_channels = 0;
  if (stbi_info_from_memory(data, size, &width, &height, &n_channels) == 0)
    return Bad(stbi_failure_reason());
  CORRAL_TRY_STATUS(CheckSize(width, height, limits));
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(data, size, &width, &height, &n_channels, kChannels), stbi_image_free);
  if (!pixels) return Bad(stbi_failure_reason());
  if (IsCutJpeg(bytes)) return Bad("the JPEG image is cut off");
  CORRAL_TRY_STATUS(CheckSize(width, height, limits));
  DecodedMedia picture;
  picture.width = static_cast<std::uint32_t>(width);
  picture.height = static_cast<std::uint32_t>(height);
  picture.data.assign(
      reinterpret_cast<const char*>(pixels.get()),
      static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * kChannels);
  return picture;
}

// What miniaudio reads. It runs dry after several times its size: a WAV header may send the reader
// back to what it has read, for ever.
class SoundBytes {
 public:
  explicit SoundBytes(std::string_view bytes)
      : bytes_(bytes), n_left_(kReadsAByte * bytes.size() + kSpareReads) {}

  static ma_result Read(ma_decoder* decoder, void* out, std::size_t n_wanted, std::size_t* n_read) {
    auto& self = *static_cast<SoundBytes*>(decoder->pUserData);
    const std::size_t n = std::min({n_wanted, self.bytes_.size() - self.at_, self.n_left_});
    if (n > 0) std::memcpy(out, self.bytes_.data() + self.at_, n);
    self.at_ += n;
    self.n_left_ -= n;
    *n_read = n;
    return n > 0 || n_wanted == 0 ? MA_SUCCESS : MA_AT_END;
  }
  static ma_result Seek(ma_decoder* decoder, ma_int64 offset, ma_seek_origin origin) {
    auto& self = *static_cast<SoundBytes*>(decoder->pUserData);
    const auto size = static_cast<ma_int64>(self.bytes_.size());
    ma_int64 from = 0;
    if (origin == ma_seek_origin_current) from = static_cast<ma_int64>(self.at_);
    if (origin == ma_seek_origin_end) from = size;
    self.at_ = static_cast<std::size_t>(std::clamp(offset, -from, size - from) + from);
    return MA_SUCCESS;
  }

 private:
  const std::string_view bytes_;
  std::size_t at_ = 0;
  std::size_t n_left_;
};

Result<DecodedMedia> DecodeSound(std::string_view bytes, int sample_rate,
                                 const DecodeLimits& limits) {
  const ma_decoder_config config =
      ma_decoder_config_init(ma_format_f32, 1, static_cast<ma_uint32>(sample_rate));
  ma_decoder decoder;
  SoundBytes source(bytes);
  if (ma_decoder_init(SoundBytes::Read, SoundBytes::Seek, &source, &config, &decoder) != MA_SUCCESS)
    return Bad("it is no sound that can be read");
  const std::unique_ptr<ma_decoder, void (*)(ma_decoder*)> owner(
      &decoder, [](ma_decoder* one) { ma_decoder_uninit(one); });
  const auto n_most = static_cast<std::size_t>(limits.sound_seconds * sample_rate);
  DecodedMedia sound;
  sound.is_sound = true;
  std::vector<float> samples(kFramesARead);
  for (;;) {
    ma_uint64 n_read = 0;
    const ma_result result =
        ma_decoder_read_pcm_frames(&decoder, samples.data(), samples.size(), &n_read);
    // A file of floats may hold any; one such sample would make noise of all that is computed.
    const auto end = samples.begin() + static_cast<std::ptrdiff_t>(n_read);
    if (std::any_of(samples.begin(), end,
                    [](float value) { return !(std::fabs(value) < kLoudest); }))
      return Bad("it holds samples that are no sound");
    sound.data.append(reinterpret_cast<const char*>(samples.data()), n_read * sizeof(float));
    if (sound.data.size() > n_most * sizeof(float))
      return Bad("the sound is longer than " + std::to_string(limits.sound_seconds) + " seconds");
    if (result != MA_SUCCESS || n_read == 0) break;
  }
  // Encoders take their windows from one sample on; a damaged file may have none.
  if (sound.data.size() <= sizeof(float)) return Bad("the sound is empty");
  return sound;
}

}  // namespace

bool IsSound(std::string_view bytes) {
  if (bytes.size() < 12) return false;
  const auto at = [bytes](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const bool is_wav = bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WAVE";
  const bool is_mp3 = bytes.starts_with("ID3") || (at(0) == 0xFF && (at(1) & 0xE0) == 0xE0);
  return is_wav || is_mp3 || bytes.starts_with("fLaC");
}

Result<DecodedMedia> DecodeMediaBytes(std::string_view bytes, int sample_rate,
                                      const DecodeLimits& limits) {
  if (bytes.empty()) return Bad("it is empty");
  if (bytes.size() > INT_MAX) return Bad("it is too large");
  if (IsSound(bytes)) return DecodeSound(bytes, sample_rate, limits);
  return IsWebp(bytes) ? DecodeWebp(bytes, limits) : DecodePicture(bytes, limits);
}

}  // namespace corral::engine
