// Any bytes as a frame: the first is the kind, the rest the payload. What decodes, encodes and
// decodes again to the same bytes; and the frame that this makes is cut out of a stream whole.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"
#include "worker/protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral::worker;
  constexpr std::size_t kHead = 5;  // payload size and kind
  if (size == 0) return 0;
  const std::string_view payload(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto frame = DecodeFrame(data[0], payload);
  if (!frame) {
    CORRAL_CHECK(frame.error().code == corral::Code::kCorrupt,
                 "another error than a broken frame's");
    return 0;
  }
  CORRAL_CHECK(frame->index() == data[0], "a frame of another kind");
  const std::string written = EncodeFrame(*frame);
  const auto again =
      DecodeFrame(static_cast<std::uint8_t>(written[4]), std::string_view(written).substr(kHead));
  CORRAL_CHECK(again.has_value(), "a frame does not read back");
  CORRAL_CHECK(EncodeFrame(*again) == written, "a frame reads back otherwise");
  return 0;
}
