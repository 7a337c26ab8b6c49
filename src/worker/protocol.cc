#include "worker/protocol.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "worker/codec.h"

namespace corral {

// What travels, in order. An Encoder reads, a Decoder writes. In `corral` so that
// argument-dependent lookup finds them.
template <class Archive>
void Describe(Archive& a, Error& v) {
  a(v.code, v.message);
}
template <class Archive>
void Describe(Archive& a, ToolCall& v) {
  a(v.id, v.name, v.arguments_json, v.index);
}
template <class Archive>
void Describe(Archive& a, ChatMessage& v) {
  a(v.role, v.content, v.thinking, v.images, v.tool_calls, v.tool_name, v.tool_call_id);
}
template <class Archive>
void Describe(Archive& a, Think& v) {
  a(v.is_on, v.level);
}
template <class Archive>
void Describe(Archive& a, SamplingOptions& v) {
  a(v.seed, v.num_predict, v.num_keep, v.top_k, v.top_p, v.min_p, v.typical_p, v.repeat_last_n,
    v.temperature, v.repeat_penalty, v.presence_penalty, v.frequency_penalty, v.prompt_lookup,
    v.stop, v.mirostat, v.mirostat_tau, v.mirostat_eta, v.dry_multiplier, v.dry_base,
    v.dry_allowed_length, v.dry_penalty_last_n, v.dry_sequence_breakers, v.xtc_probability,
    v.xtc_threshold, v.top_n_sigma, v.dynatemp_range, v.dynatemp_exponent);
}
template <class Archive>
void Describe(Archive& a, PromptSource& v) {
  a(v.kind, v.text, v.suffix, v.messages, v.go_template, v.renderer, v.parser, v.tools_json,
    v.think, v.context);
}
template <class Archive>
void Describe(Archive& a, AdapterUse& v) {
  a(v.file, v.scale);
}
template <class Archive>
void Describe(Archive& a, GenerateJob& v) {
  a(v.prompt, v.adapters, v.sampling, v.format_json, v.num_ctx, v.truncate, v.shift, v.logprobs,
    v.top_logprobs, v.want_context, v.render_only, v.is_chat, v.prefix_salt);
}
template <class Archive>
void Describe(Archive& a, EmbedJob& v) {
  a(v.texts, v.adapters, v.rerank_query, v.num_ctx, v.truncate, v.normalize);
}
template <class Archive>
void Describe(Archive& a, TokenJob& v) {
  a(v.is_detokenize, v.text, v.tokens, v.add_special, v.parse_special);
}
template <class Archive>
void Describe(Archive& a, TokenText& v) {
  a(v.tokens, v.text);
}
template <class Archive>
void Describe(Archive& a, TokenLogprob& v) {
  a(v.token, v.logprob, v.top);
}
template <class Archive>
void Describe(Archive& a, Piece& v) {
  a(v.text, v.thinking, v.tool_calls, v.logprobs);
}
template <class Archive>
void Describe(Archive& a, Finish& v) {
  a(v.reason, v.prompt_tokens, v.reused_tokens, v.eval_tokens, v.prompt_eval_time, v.eval_time,
    v.context, v.rendered_prompt);
}
template <class Archive>
void Describe(Archive& a, Embeddings& v) {
  a(v.vectors, v.prompt_tokens);
}
template <class Archive>
void Describe(Archive& a, LoadOptions& v) {
  a(v.is_vocab_only, v.num_ctx, v.n_slots, v.n_cells, v.num_batch, v.num_gpu, v.main_gpu,
    v.num_thread, v.use_mmap, v.flash_attention, v.kv_cache_type, v.prefix_cache_bytes);
}
template <class Archive>
void Describe(Archive& a, ModelFacts& v) {
  a(v.n_ctx_train, v.n_ctx_seq, v.n_slots, v.n_embd, v.n_vocab, v.n_threads, v.has_chat_template,
    v.is_embedding, v.size_bytes, v.vram_bytes);
}
template <class Archive>
void Describe(Archive& a, EngineCounters& v) {
  a(v.prompt_tokens_evaluated, v.prompt_tokens_reused, v.tokens_generated, v.decode_calls,
    v.tokens_guessed, v.guesses_right, v.media_encoded, v.media_reused, v.jobs_running,
    v.jobs_waiting, v.parked_bytes);
}

template <class Archive>
void Describe(Archive& a, Task& v) {
  a(v.kind, v.file_type, v.input_names, v.name);
}

}  // namespace corral

namespace corral::worker {
namespace {

template <class Archive>
void Describe(Archive& a, LoadFrame& v) {
  a(v.build, v.options, v.n_projectors, v.model_name);
}
template <class Archive>
void Describe(Archive& a, GenerateFrame& v) {
  a(v.job, v.body);
}
template <class Archive>
void Describe(Archive& a, EmbedFrame& v) {
  a(v.job, v.body);
}
template <class Archive>
void Describe(Archive& a, TokenFrame& v) {
  a(v.job, v.body);
}
template <class Archive>
void Describe(Archive& a, CancelFrame& v) {
  a(v.job);
}
template <class Archive>
void Describe(Archive& a, CreditFrame& v) {
  a(v.job, v.pieces);
}
template <class Archive>
void Describe(Archive&, StopFrame&) {}
template <class Archive>
void Describe(Archive& a, LoadedFrame& v) {
  a(v.build, v.facts);
}
template <class Archive>
void Describe(Archive& a, LoadFailedFrame& v) {
  a(v.error);
}
template <class Archive>
void Describe(Archive& a, ProgressFrame& v) {
  a(v.fraction);
}
template <class Archive>
void Describe(Archive& a, PieceFrame& v) {
  a(v.job, v.piece);
}
template <class Archive>
void Describe(Archive& a, FinishFrame& v) {
  a(v.job, v.finish);
}
template <class Archive>
void Describe(Archive& a, EmbeddingsFrame& v) {
  a(v.job, v.embeddings);
}
template <class Archive>
void Describe(Archive& a, TokenTextFrame& v) {
  a(v.job, v.text);
}
template <class Archive>
void Describe(Archive& a, JobErrorFrame& v) {
  a(v.job, v.error);
}
template <class Archive>
void Describe(Archive& a, CountersFrame& v) {
  a(v.counters);
}
template <class Archive>
void Describe(Archive& a, SharersFrame& v) {
  a(v.sharers.n_computing, v.sharers.n_parking);
}
template <class Archive>
void Describe(Archive& a, TaskFrame& v) {
  a(v.build, v.task, v.n_inputs);
}
template <class Archive>
void Describe(Archive& a, TaskEndFrame& v) {
  a(v.error);
}

constexpr std::size_t kHeadBytes = 5;
constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kKeptBuffer =
    4 << 20;  // a larger one is given back after the frame that needed it

// Decodes the alternative of Frame whose index is `kind`.
template <std::size_t index = 0>
Result<Frame> DecodeAlternative(std::uint8_t kind, std::string_view payload) {
  if constexpr (index == std::variant_size_v<Frame>) {
    return Fail(Code::kCorrupt, "unknown frame kind " + std::to_string(kind));
  } else {
    if (kind != index) return DecodeAlternative<index + 1>(kind, payload);
    std::variant_alternative_t<index, Frame> frame;
    Decoder decoder(payload);
    Describe(decoder, frame);
    if (!decoder.IsComplete()) {
      return Fail(Code::kCorrupt,
                  "frame of kind " + std::to_string(kind) + " has a payload of another shape");
    }
    return Frame(std::move(frame));
  }
}

}  // namespace

std::uint32_t BuildCheck() {
  constexpr std::size_t kSizes[] = {
      sizeof(LoadOptions), sizeof(GenerateJob),    sizeof(EmbedJob), sizeof(TokenJob),
      sizeof(TokenText),   sizeof(Piece),          sizeof(Finish),   sizeof(Embeddings),
      sizeof(ModelFacts),  sizeof(EngineCounters), sizeof(Task),     std::variant_size_v<Frame>};
  std::uint32_t check = 2166136261U;  // FNV-1a
  for (const std::size_t size : kSizes)
    check = (check ^ static_cast<std::uint32_t>(size)) * 16777619U;
  return check;
}

std::string EncodeFrame(const Frame& frame) {
  Encoder encoder;
  std::visit(
      [&encoder](const auto& body) {
        Describe(encoder, const_cast<std::decay_t<decltype(body)>&>(body));
      },
      frame);
  const std::string payload = encoder.Take();
  const auto size = static_cast<std::uint32_t>(payload.size());
  std::string bytes(kHeadBytes, '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  bytes[4] = static_cast<char>(frame.index());
  return bytes + payload;
}

Result<Frame> DecodeFrame(std::uint8_t kind, std::string_view payload) {
  return DecodeAlternative(kind, payload);
}

namespace {
// As read(2); the descriptors that came along are added to `files`.
ssize_t ReceiveWithFiles(int socket, char* bytes, std::size_t size, std::deque<UniqueFd>* files) {
  iovec part{bytes, size};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostAdapters * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= head->cmsg_len; at += sizeof(int)) {
      int file = -1;
      std::memcpy(&file, reinterpret_cast<const char*>(head) + at, sizeof(file));
      files->emplace_back(file);
    }
  }
  return n;
}

std::uint32_t PayloadSize(std::string_view head) {
  std::uint32_t size = 0;
  std::memcpy(&size, head.data(), sizeof(size));
  return size;
}
}  // namespace

Result<std::optional<Frame>> FrameReader::Take() {
  const std::string_view left = std::string_view(buffer_).substr(taken_);
  if (left.size() < kHeadBytes) return std::optional<Frame>();
  const std::uint32_t size = PayloadSize(left);
  if (size > kMaxPayload)
    return Fail(Code::kCorrupt, "frame of " + std::to_string(size) + " bytes is too large");
  if (left.size() - kHeadBytes < size) return std::optional<Frame>();
  CORRAL_TRY(Frame frame,
             DecodeFrame(static_cast<std::uint8_t>(left[4]), left.substr(kHeadBytes, size)));
  taken_ += kHeadBytes + size;
  return std::optional<Frame>(std::move(frame));
}

Result<std::vector<UniqueFd>> FrameReader::TakeFiles(std::size_t n_files) {
  if (n_files > files_.size())
    return Fail(Code::kCorrupt, "a frame came without the files that it needs");
  std::vector<UniqueFd> taken;
  for (; n_files > 0; --n_files) {
    taken.push_back(std::move(files_.front()));
    files_.pop_front();
  }
  return taken;
}

Result<bool> FrameReader::Fill() {
  buffer_.erase(0, std::exchange(taken_, 0));
  if (buffer_.capacity() > kKeptBuffer && buffer_.size() < kReadBytes) buffer_.shrink_to_fit();
  for (;;) {
    char chunk[kReadBytes];
    const ssize_t n = takes_files_ ? ReceiveWithFiles(fd_, chunk, sizeof(chunk), &files_)
                                   : ::read(fd_, chunk, sizeof(chunk));
    if (n > 0) {
      buffer_.append(chunk, static_cast<std::size_t>(n));
      return true;
    }
    if (n == 0 || errno == ECONNRESET) {
      if (buffer_.empty()) return false;
      return Fail(Code::kCorrupt, "the other side closed in the middle of a frame");
    }
    if (errno != EINTR) return Fail(ErrnoError(errno, "read a frame"));
  }
}

Result<std::optional<Frame>> FrameReader::Next() {
  for (;;) {
    CORRAL_TRY(std::optional<Frame> frame, Take());
    if (frame) return frame;
    CORRAL_TRY(const bool is_open, Fill());
    if (!is_open) return std::optional<Frame>();
  }
}

Status WriteWithFiles(int socket, std::string_view bytes, std::span<const int> files) {
  CORRAL_CHECK(files.size() <= kMostAdapters && !bytes.empty(), "more files than a frame may have");
  if (files.empty()) return WriteAll(socket, bytes);
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};  // sendmsg only reads
  alignas(cmsghdr) char control[CMSG_SPACE(kMostAdapters * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(files.size_bytes());
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(files.size_bytes());
  std::memcpy(CMSG_DATA(head), files.data(), files.size_bytes());
  ssize_t n = -1;
  do {
    n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return Fail(ErrnoError(errno, "write a frame"));
  return WriteAll(socket, bytes.substr(static_cast<std::size_t>(n)));
}

Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      return Fail(ErrnoError(errno, "write a frame"));
    }
  }
  return {};
}

}  // namespace corral::worker
