// The frames between the server and a worker, over one stream socket pair (the worker's descriptor
// 3).
//
// Layout and meaning: docs/formats/worker-frames.md. Both ends are of one build, so there is no
// version negotiation: the first frame each way carries a build check. Pure: encoding here, reading
// and writing descriptors in FrameReader and WriteFrame.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/files.h"
#include "core/job.h"
#include "core/result.h"
#include "core/task.h"

namespace corral::worker {

inline constexpr int kSocketFd = 3;  // in the worker
// The GGUF; then projectors. Of a task: its inputs, then its output.
inline constexpr int kFirstFileFd = 4;

// Server to worker.
struct LoadFrame {
  std::uint32_t build = 0;
  LoadOptions options;
  std::uint32_t n_projectors = 0;
  std::string model_name;
};
// Descriptors come along with the frame of a job, one for each of its adapters.
struct GenerateFrame {
  JobId job{};
  GenerateJob body;
};
struct EmbedFrame {
  JobId job{};
  EmbedJob body;
};
struct TokenFrame {
  JobId job{};
  TokenJob body;
};
struct CancelFrame {
  JobId job{};
};
struct CreditFrame {
  JobId job{};
  std::int32_t pieces = 0;
};
struct StopFrame {};
// Instead of a Load: one task, then the worker ends.
struct TaskFrame {
  std::uint32_t build = 0;
  Task task;
  std::uint32_t n_inputs = 0;
};

struct SharersFrame {
  Sharers sharers;
};

// Worker to server.
struct LoadedFrame {
  std::uint32_t build = 0;
  ModelFacts facts;
};
struct LoadFailedFrame {
  Error error;
};
struct ProgressFrame {
  float fraction = 0;
};
struct PieceFrame {
  JobId job{};
  Piece piece;
};
struct FinishFrame {
  JobId job{};
  Finish finish;
};
struct EmbeddingsFrame {
  JobId job{};
  Embeddings embeddings;
};
struct TokenTextFrame {
  JobId job{};
  TokenText text;
};
struct JobErrorFrame {
  JobId job{};
  Error error;
};
struct CountersFrame {
  EngineCounters counters;
};

// How a task ended; its progress came as ProgressFrames.
struct TaskEndFrame {
  std::optional<Error> error;
};

using Frame = std::variant<LoadFrame, GenerateFrame, EmbedFrame, TokenFrame, CancelFrame,
                           CreditFrame, StopFrame, LoadedFrame, LoadFailedFrame, ProgressFrame,
                           PieceFrame, FinishFrame, EmbeddingsFrame, TokenTextFrame, JobErrorFrame,
                           CountersFrame, SharersFrame, TaskFrame, TaskEndFrame>;

// Changes with the layout of any frame (sizes of the described structs are mixed in at compile
// time).
std::uint32_t BuildCheck();

// 4 bytes payload size, 1 byte kind, payload.
std::string EncodeFrame(const Frame& frame);
// Errors: kCorrupt (unknown kind, short or long payload).
Result<Frame> DecodeFrame(std::uint8_t kind, std::string_view payload);

// The largest payload taken: images of a request downwards, an answer's vectors upwards.
inline constexpr std::uint32_t kMaxPayload = 512U << 20;

// Cuts frames out of a byte stream. One thread. Errors: kCorrupt (no frame, or the end in the
// middle of one), kIo.
class FrameReader {
 public:
  // `takes_files`: `fd` is a socket, and descriptors come along with the bytes. Otherwise a
  // descriptor that the other side sends is closed by the kernel.
  explicit FrameReader(int fd, bool takes_files = false) : fd_(fd), takes_files_(takes_files) {}
  // Blocks for the next frame. nullopt: the other side closed.
  Result<std::optional<Frame>> Next();

  // The two halves of Next, for who waits for the descriptor with a deadline: a peer that stops in
  // the middle of a frame must not hold its reader. A frame out of what has been received; nullopt:
  // none is whole yet. Never reads.
  Result<std::optional<Frame>> Take();
  // Reads once; blocks only if the descriptor has nothing. False: the other side closed.
  Result<bool> Fill();
  // The files that came with the frame that was taken last. Call it for each frame that has some,
  // before the next frame. Errors: kCorrupt (fewer came).
  Result<std::vector<UniqueFd>> TakeFiles(std::size_t n_files);

 private:
  int fd_;
  bool takes_files_;
  std::deque<UniqueFd> files_;  // received, of frames that are not taken yet
  std::string buffer_;          // received
  std::size_t taken_ = 0;       // bytes at its beginning that are decoded already
};

// Blocks until all is written. Errors: kIo (the other side is gone).
Status WriteAll(int fd, std::string_view bytes);
// The same to a socket, with copies of up to kMostAdapters descriptors.
Status WriteWithFiles(int socket, std::string_view bytes, std::span<const int> files);

}  // namespace corral::worker
