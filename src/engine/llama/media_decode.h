// Bytes of a picture or a sound, as a client sent them, to pixels or samples.
//
// The bytes are a stranger's and the decoders (stb_image, miniaudio, libwebp) are C: this runs in a
// process of its own (FormatProcesses::DecodeMedia), which a crash or a limit ends without harm.
// Sizes are looked at before anything is decoded, so that a small file cannot ask for gigabytes.
// Pure, any thread. Formats: JPEG, PNG, GIF (the first frame), BMP, PSD, PNM, HDR, TGA, WebP;
// WAV, MP3, FLAC.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::engine {

struct DecodeLimits {
  std::int64_t n_pixels = 64LL << 20;      // of a picture
  std::int64_t sound_seconds = 60LL * 60;  // of a sound
};
inline constexpr std::int64_t kMostSideRatio = 200;  // of a picture's longer side to the shorter

struct DecodedMedia {
  bool is_sound = false;
  std::uint32_t width = 0, height = 0;  // of a picture
  // A picture: RGB, a byte each, rows from the top. A sound: mono samples, float, all finite.
  std::string data;
};

// WAV, MP3 or FLAC by the first bytes (as llama.cpp's mtmd-helper.cpp tells them); all else is
// taken for a picture.
bool IsSound(std::string_view bytes);

// A sound comes with so many samples a second. Errors: kInvalidArgument (what it is not, or what is
// too large).
Result<DecodedMedia> DecodeMediaBytes(std::string_view bytes, int sample_rate,
                                      const DecodeLimits& limits = {});

}  // namespace corral::engine
