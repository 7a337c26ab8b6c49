#include "core/stop.h"

namespace corral {

Error StopToken::ToError() const {
  switch (Reason()) {
    case StopReason::kDeadline:
      return {Code::kDeadline, "the request took too long"};
    case StopReason::kShutdown:
      return {Code::kBusy, "server is shutting down"};
    case StopReason::kNone:
    case StopReason::kClientGone:
    case StopReason::kUser:
      break;
  }
  return {Code::kCancelled, "request canceled"};
}

}  // namespace corral
