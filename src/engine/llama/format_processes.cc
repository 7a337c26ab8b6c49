#include "engine/llama/format_processes.h"

#include <llama.h>
#include <log.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "engine/llama/format_wire.h"

namespace corral::engine {

// In front of each message.
struct MessageHead {
  enum class Kind : std::int32_t { kFormat, kMedia };
  std::uint64_t size = 0;
  Kind kind = Kind::kFormat;     // requests only, and all below
  std::int32_t sample_rate = 0;  // kMedia
  std::int64_t cpu_ms = 0;
  std::int64_t memory_bytes = 0;  // address space beyond what the process has
};

namespace {

constexpr std::size_t kMostIdle = 2;                     // the prepare threads
constexpr std::size_t kKeptRequestBytes = 8 << 20;       // more may leave a large heap
constexpr std::int64_t kMemoryPerRequestByte = 32;       // of its JSON, values and prompt
constexpr std::uint64_t kMostMessageBytes = 2ULL << 30;  // of either side
constexpr std::chrono::minutes kLongestWait{2};          // of wall time, on a starved machine

// What a picture or a sound may cost to decode: 64 megapixels of progressive JPEG fit.
constexpr FormatProcesses::Limits kMediaLimits{std::chrono::milliseconds(20'000),
                                               std::int64_t{1536} << 20};

// The first of the two messages that answer kMedia; the second holds the data, or the error's text.
struct MediaReply {
  Code code = Code::kInternal;  // only if it failed
  bool is_good = false;
  bool is_sound = false;
  std::uint32_t width = 0, height = 0;
};

bool WriteAll(int fd, const void* data, std::size_t size) {
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::send(fd, bytes, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool ReadAll(int fd, void* data, std::size_t size) {
  auto* bytes = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = ::recv(fd, bytes, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool SendMessage(int fd, MessageHead head, std::string_view body) {
  head.size = body.size();
  return WriteAll(fd, &head, sizeof(head)) && WriteAll(fd, body.data(), body.size());
}

bool ReceiveMessage(int fd, MessageHead* head, std::string* body) {
  if (!ReadAll(fd, head, sizeof(*head)) || head->size > kMostMessageBytes) return false;
  body->resize(head->size);
  return ReadAll(fd, body->data(), body->size());
}

// ---- in the children ----

// Dies of SIGPROF when the time is over. Zero: no limit.
void LimitCpuTime(std::int64_t milliseconds) {
  itimerval timer{};
  timer.it_value.tv_sec = milliseconds / 1000;
  timer.it_value.tv_usec = milliseconds % 1000 * 1000;
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

std::int64_t AddressSpaceBytes() {
  std::int64_t n_pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%ld", &n_pages) != 1) n_pages = 0;  // NOLINT(cert-err34-c)
    std::fclose(file);
  }
  return n_pages * ::sysconf(_SC_PAGESIZE);
}

// Allocations fail beyond it. Sanitizers reserve terabytes and live without.
void LimitMemory(std::int64_t bytes) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = std::min(static_cast<rlim_t>(bytes), limit.rlim_max);
  ::setrlimit(RLIMIT_AS, &limit);
#else
  (void)bytes;
#endif
}

// False: the other side is gone.
bool AnswerMedia(int fd, const std::string& body, int sample_rate) {
  const Result<DecodedMedia> decoded = DecodeMediaBytes(body, sample_rate);
  LimitCpuTime(0);
  MediaReply reply;
  reply.is_good = decoded.has_value();
  if (!decoded) reply.code = decoded.error().code;
  if (decoded) {
    reply.is_sound = decoded->is_sound;
    reply.width = decoded->width;
    reply.height = decoded->height;
  }
  return WriteAll(fd, &reply, sizeof(reply)) &&
         SendMessage(fd, {}, decoded ? decoded->data : decoded.error().message);
}

[[noreturn]] void RunFormatter(int fd) {
  ::prctl(PR_SET_NAME, "corral-format");
  ::signal(SIGPROF, SIG_DFL);
  common_log_set_verbosity_thold(-1);  // they would write what people ask
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  Formatter formatter;
  for (;;) {
    MessageHead head;
    std::string body;
    LimitMemory(std::numeric_limits<std::int64_t>::max());
    try {
      if (!ReceiveMessage(fd, &head, &body)) ::_exit(0);
      LimitMemory(AddressSpaceBytes() + head.memory_bytes);
      LimitCpuTime(head.cpu_ms);
      if (head.kind == MessageHead::Kind::kMedia) {
        if (!AnswerMedia(fd, std::exchange(body, {}), head.sample_rate)) ::_exit(0);
        continue;
      }
      const std::string reply = EncodeReply(RunRequest(formatter, std::exchange(body, {})));
      LimitCpuTime(0);
      if (!SendMessage(fd, {}, reply)) ::_exit(0);
    } catch (...) {
      ::_exit(1);  // the other side sees the end, and knows what it asked for
    }
  }
}

// What the nursery is to fork for the descriptor that comes with it.
enum class Child : char { kFormatter, kNursery };

// Forks for each descriptor that comes.
[[noreturn]] void RunNursery(int control) {
  ::prctl(PR_SET_NAME, "corral-nursery");
  ::signal(SIGCHLD, SIG_IGN);  // the kernel reaps
  for (;;) {
    Child kind = Child::kFormatter;
    iovec data{&kind, sizeof(kind)};
    alignas(cmsghdr) char ancillary[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = ancillary;
    message.msg_controllen = sizeof(ancillary);
    const ssize_t n = ::recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(0);
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    if (::fork() == 0) {
      ::close(control);
      if (kind == Child::kNursery) RunNursery(fd);
      ::signal(SIGCHLD, SIG_DFL);
      RunFormatter(fd);
    }
    ::close(fd);
  }
}

// ---- in the worker ----

bool SendDescriptor(int socket, Child kind, int fd) {
  iovec data{&kind, sizeof(kind)};
  alignas(cmsghdr) char ancillary[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = ancillary;
  message.msg_controllen = sizeof(ancillary);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == sizeof(kind);
}

// Whether the other side of a connection on which it has nothing to say is there.
bool IsQuietlyOpen(int socket) {
  pollfd state{socket, POLLIN, 0};
  return ::poll(&state, 1, 0) == 0;
}

// Has `nursery` fork another one. Not valid: it could not.
UniqueFd AskForNursery(int nursery) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return {};
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  if (!SendDescriptor(nursery, Child::kNursery, theirs.get())) return {};
  return ours;
}

}  // namespace

Result<std::unique_ptr<FormatProcesses>> FormatProcesses::Start(
    const std::function<void()>& confine, std::function<void()> on_lost) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return Fail(ErrnoError(errno, "make a socket pair"));
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return Fail(ErrnoError(errno, "fork the formatters' nursery"));
  if (child == 0) {
    // Nothing of the worker's: its lifeline would not close while we hold it.
    constexpr int kControl = 3;
    ::dup2(theirs.Release(), kControl);
    ::close_range(kControl + 1, ~0U, 0);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    if (confine) confine();
    RunNursery(kControl);
  }
  return std::unique_ptr<FormatProcesses>(
      new FormatProcesses(std::move(ours), child, std::move(on_lost)));
}

FormatProcesses::FormatProcesses(UniqueFd nursery, pid_t first, std::function<void()> on_lost)
    : first_(first), on_lost_(std::move(on_lost)) {
  nurseries_[1] = AskForNursery(nursery.get());
  nurseries_[0] = std::move(nursery);
}

FormatProcesses::~FormatProcesses() {
  // They end with their sockets, and so do the formatters.
  for (UniqueFd& nursery : nurseries_) nursery.Reset();
  ::waitpid(first_, nullptr, 0);
}

bool FormatProcesses::ForkFormatter(int fd) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < nurseries_.size(); ++i) {
    const UniqueFd& nursery = nurseries_[i];
    UniqueFd& other = nurseries_[1 - i];
    if (!nursery.is_valid() || !SendDescriptor(nursery.get(), Child::kFormatter, fd)) continue;
    if (!other.is_valid() || !IsQuietlyOpen(other.get())) {
      other = AskForNursery(nursery.get());
      ::waitpid(first_, nullptr, WNOHANG);  // it may be the one that died
    }
    return true;
  }
  return false;
}

Result<UniqueFd> FormatProcesses::TakeFormatter() {
  {
    const std::lock_guard lock(mutex_);
    while (!idle_.empty()) {
      UniqueFd one = std::move(idle_.back());
      idle_.pop_back();
      if (IsQuietlyOpen(one.get())) return one;  // else it has ended meanwhile
    }
  }
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Fail(ErrnoError(errno, "make a socket pair"));
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  if (ForkFormatter(theirs.get())) return ours;
  if (on_lost_) on_lost_();
  return Fail(Code::kIo, "the processes that format prompts have ended");
}

// Sends a request and has its answer read by `receive`. Nothing is known of a process that failed,
// and it ends with its socket.
Result<UniqueFd> FormatProcesses::Ask(const MessageHead& head, std::string_view body,
                                      const StopToken& stop,
                                      const std::function<bool(int fd)>& receive) {
  CORRAL_TRY(UniqueFd formatter, TakeFormatter());
  bool is_answered = false;
  {
    const StopCallback on_stop(stop, [&] { ::shutdown(formatter.get(), SHUT_RDWR); });
    if (SendMessage(formatter.get(), head, body)) {
      pollfd waiting{formatter.get(), POLLIN, 0};
      const auto most = std::chrono::duration_cast<std::chrono::milliseconds>(kLongestWait);
      int n_ready = 0;
      do {
        n_ready = ::poll(&waiting, 1, static_cast<int>(most.count()));
      } while (n_ready < 0 && errno == EINTR);
      is_answered = n_ready == 1 && receive(formatter.get());
    }
  }
  if (stop.StopRequested()) return Fail(stop.ToError());
  if (!is_answered) return Fail(Code::kTooLarge, "it takes too much time or memory");
  return formatter;
}

void FormatProcesses::GiveBack(UniqueFd formatter, std::size_t n_bytes) {
  if (n_bytes > kKeptRequestBytes) return;  // it may have a large heap now
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(formatter));
}

Result<FormatReply> FormatProcesses::Run(const FormatRequest& request, const Limits& limits,
                                         const StopToken& stop) {
  const std::string body = EncodeRequest(request);
  MessageHead head;
  head.cpu_ms = limits.cpu_time.count();
  head.memory_bytes =
      limits.memory_bytes + static_cast<std::int64_t>(body.size()) * kMemoryPerRequestByte;
  std::string answer;
  CORRAL_TRY(UniqueFd formatter, Ask(head, body, stop, [&](int fd) {
               MessageHead of_answer;
               return ReceiveMessage(fd, &of_answer, &answer);
             }));
  GiveBack(std::move(formatter), std::max(body.size(), answer.size()));
  return DecodeReply(answer);
}

Result<DecodedMedia> FormatProcesses::DecodeMedia(std::string_view bytes, int sample_rate,
                                                  const StopToken& stop) {
  MessageHead head;
  head.kind = MessageHead::Kind::kMedia;
  head.sample_rate = sample_rate;
  head.cpu_ms = kMediaLimits.cpu_time.count();
  head.memory_bytes = kMediaLimits.memory_bytes;
  MediaReply reply;
  DecodedMedia media;
  Result<UniqueFd> process = Ask(head, bytes, stop, [&](int fd) {
    MessageHead of_answer;
    return ReadAll(fd, &reply, sizeof(reply)) && ReceiveMessage(fd, &of_answer, &media.data);
  });
  if (!process) {
    if (process.error().code != Code::kTooLarge) return Fail(std::move(process).error());
    return Fail(Code::kInvalidArgument,
                "Failed to load image or audio file: " + process.error().message);
  }
  GiveBack(*std::move(process), std::max(bytes.size(), media.data.size()));
  if (!reply.is_good) return Fail(reply.code, std::move(media.data));
  media.is_sound = reply.is_sound;
  media.width = reply.width;
  media.height = reply.height;
  const std::size_t n_expected = std::size_t{3} * media.width * media.height;
  const bool is_whole = media.is_sound ? media.data.size() % sizeof(float) == 0
                                       : media.data.size() == n_expected && n_expected > 0;
  if (!is_whole) return Fail(Code::kInternal, "the process that decodes images sent another size");
  return media;
}

}  // namespace corral::engine
