// Pictures and sounds for tests, made of nothing.
#pragma once

#include <cstdint>
#include <string>

namespace corral::engine {

// RGB of a picture that is different for each seed and not the same everywhere.
std::string Pixels(int width, int height, unsigned seed);
// As a PNG, of stored blocks: a changed byte changes a pixel or breaks a checksum.
std::string Png(int width, int height, unsigned seed);
// A PNG that says it has these sizes, and little more.
std::string PngBomb(std::uint32_t width, std::uint32_t height);
std::string Webp(int width, int height, unsigned seed);
// 16 bits, mono, 16 kHz.
std::string Wav(int n_samples, unsigned seed);

}  // namespace corral::engine
