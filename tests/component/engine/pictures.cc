#include "pictures.h"

#include <webp/encode.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace corral::engine {
namespace {

std::uint32_t Crc32(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
  }
  return ~crc;
}

std::uint32_t Adler32(std::string_view bytes) {
  std::uint32_t a = 1;
  std::uint32_t b = 0;
  for (const char byte : bytes) {
    a = (a + static_cast<unsigned char>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

std::string BigEndian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

std::string LittleEndian(std::uint32_t value, int n_bytes) {
  std::string bytes;
  for (int i = 0; i < n_bytes; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

std::string PngChunk(std::string_view type, std::string_view data) {
  const std::string body = std::string(type) + std::string(data);
  return BigEndian(static_cast<std::uint32_t>(data.size())) + body + BigEndian(Crc32(body));
}

std::string PngHeader(std::uint32_t width, std::uint32_t height) {
  using namespace std::string_literals;
  return "\x89PNG\r\n\x1A\n"s +
         PngChunk("IHDR", BigEndian(width) + BigEndian(height) + "\x08\x02\x00\x00\x00"s);
}

}  // namespace

std::string Pixels(int width, int height, unsigned seed) {
  std::string pixels;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (unsigned channel = 0; channel < 3; ++channel) {
        const auto wave = static_cast<unsigned>(x) * (seed + 3) +
                          static_cast<unsigned>(y) * (2 * seed + 5) + channel * (seed * 37 + 60);
        pixels += static_cast<char>(wave * 3 % 256);
      }
    }
  }
  return pixels;
}

std::string PngBomb(std::uint32_t width, std::uint32_t height) {
  return PngHeader(width, height) + PngChunk("IDAT", "x");
}

std::string Png(int width, int height, unsigned seed) {
  using namespace std::string_literals;
  const std::string pixels = Pixels(width, height, seed);
  std::string rows;
  const auto row_bytes = static_cast<std::size_t>(width) * 3;
  for (std::size_t at = 0; at < pixels.size(); at += row_bytes)
    rows += "\0"s + pixels.substr(at, row_bytes);
  constexpr std::size_t kMostOfBlock = 65535;
  std::string packed = "\x78\x01"s;
  for (std::size_t at = 0; at < rows.size(); at += kMostOfBlock) {
    const std::string block = rows.substr(at, kMostOfBlock);
    const auto size = static_cast<std::uint32_t>(block.size());
    packed += at + kMostOfBlock >= rows.size() ? "\x01"s : "\x00"s;
    packed += LittleEndian(size, 2) + LittleEndian(~size, 2) + block;
  }
  packed += BigEndian(Adler32(rows));
  return PngHeader(static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)) +
         PngChunk("IDAT", packed) + PngChunk("IEND", "");
}

std::string Webp(int width, int height, unsigned seed) {
  const std::string pixels = Pixels(width, height, seed);
  std::uint8_t* out = nullptr;
  const std::size_t size = WebPEncodeLosslessRGB(
      reinterpret_cast<const std::uint8_t*>(pixels.data()), width, height, width * 3, &out);
  std::string bytes(reinterpret_cast<const char*>(out), size);
  WebPFree(out);
  return bytes;
}

std::string Wav(int n_samples, unsigned seed) {
  constexpr std::uint32_t kRate = 16000;
  std::string data;
  for (int i = 0; i < n_samples; ++i) {
    const double angle = i * (0.02 + 0.013 * seed);
    data += LittleEndian(static_cast<std::uint32_t>(std::lround(9000 * std::sin(angle))), 2);
  }
  const auto size = static_cast<std::uint32_t>(data.size());
  return "RIFF" + LittleEndian(36 + size, 4) + "WAVEfmt " + LittleEndian(16, 4) +
         LittleEndian(1, 2) + LittleEndian(1, 2) + LittleEndian(kRate, 4) +
         LittleEndian(2 * kRate, 4) + LittleEndian(2, 2) + LittleEndian(16, 2) + "data" +
         LittleEndian(size, 4) + data;
}

}  // namespace corral::engine
