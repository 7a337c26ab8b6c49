#include "core/job.h"

namespace corral {

std::string_view CapabilityName(Capability capability) {
  switch (capability) {
    case Capability::kCompletion:
      return "completion";
    case Capability::kEmbedding:
      return "embedding";
    case Capability::kVision:
      return "vision";
    case Capability::kAudio:
      return "audio";
    case Capability::kTools:
      return "tools";
    case Capability::kInsert:
      return "insert";
    case Capability::kThinking:
      return "thinking";
    case Capability::kImage:
      return "image";
  }
  return "completion";
}

}  // namespace corral
