// Any bytes as an image or a sound: an error, or as many pixels or samples as it says, within the
// limits. Those are small here: what 64 megapixels take is no matter of the bytes.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/llama/media_decode.h"

namespace {

using namespace corral;

constexpr int kSampleRate = 16'000;
constexpr engine::DecodeLimits kLimits{.n_pixels = 1 << 18, .sound_seconds = 4};

void CheckPicture(const engine::DecodedMedia& picture) {
  const std::int64_t width = picture.width;
  const std::int64_t height = picture.height;
  CORRAL_CHECK(width > 0 && height > 0 && width * height <= kLimits.n_pixels, "too many pixels");
  CORRAL_CHECK(width <= engine::kMostSideRatio * height && height <= engine::kMostSideRatio * width,
               "a side is too long");
  CORRAL_CHECK(picture.data.size() == static_cast<std::size_t>(3 * width * height),
               "another number of pixels than it says");
}

void CheckSound(const engine::DecodedMedia& sound) {
  const std::size_t n = sound.data.size() / sizeof(float);
  CORRAL_CHECK(sound.data.size() % sizeof(float) == 0 && n > 1, "half a sample, or one");
  CORRAL_CHECK(n <= static_cast<std::size_t>(kLimits.sound_seconds * kSampleRate), "too long");
  for (std::size_t i = 0; i < n; ++i) {
    float sample = 0;
    std::memcpy(&sample, sound.data.data() + i * sizeof(float), sizeof(float));
    CORRAL_CHECK(std::isfinite(sample), "a sample is no number");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Result<engine::DecodedMedia> media = engine::DecodeMediaBytes(bytes, kSampleRate, kLimits);
  if (!media) {
    CORRAL_CHECK(media.error().code == Code::kInvalidArgument, "no error of the request");
    return 0;
  }
  CORRAL_CHECK(media->is_sound == engine::IsSound(bytes), "a picture for a sound");
  media->is_sound ? CheckSound(*media) : CheckPicture(*media);
  return 0;
}
