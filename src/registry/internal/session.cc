#include "registry/internal/session.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/proxy.h"
#include "core/text.h"
#include "registry/internal/address.h"

namespace corral::registry::internal {
namespace {

constexpr std::size_t kMaxHeaders = 256;
constexpr long kReceiveBufferBytes = 256L << 10;
constexpr long kSendBufferBytes = 512L << 10;

// "Get", as Go's url.Error begins.
std::string MethodWord(const std::string& method) {
  std::string word = ToLowerAscii(method);
  if (!word.empty()) word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
  return word;
}

// Without the query, which may be a key to the address: messages are shown and logged.
std::string Shown(const Url& url) { return GoQuote(url.text.substr(0, url.text.find('?'))); }

void StartLibrary() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

}  // namespace

std::string_view Head::Header(std::string_view lower_case_name) const {
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

// ---- Transfer ----

Transfer::Transfer(Session& session, Request request, OnHead on_head, OnBody on_body)
    : session_(session),
      request_(std::move(request)),
      on_head_(std::move(on_head)),
      on_body_(std::move(on_body)),
      last_activity_(Clock::now()),
      handle_(curl_easy_init()) {
  if (handle_) Configure();
}

Transfer::~Transfer() = default;

void Transfer::Configure() {
  CURL* const easy = handle_.get();
  const Options& options = session_.options_;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text_.data());
  curl_easy_setopt(easy, CURLOPT_URL, request_.url.text.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);  // one stream a connection
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
  curl_easy_setopt(easy, CURLOPT_HTTP_TRANSFER_DECODING, 1L);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Transfer::ReceiveHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Transfer::ReceiveBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &Transfer::OpenSocket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, this);
  if (!options.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());

  Host server;
  server.scheme = request_.url.scheme;
  server.host = request_.url.host;
  server.port = request_.url.port;
  const std::string proxy = ProxyFor(server, options.environment);
  is_proxied_ = !proxy.empty();
  curl_easy_setopt(easy, CURLOPT_PROXY, proxy.c_str());  // "" turns off libcurl's own reading

  const auto add = [](std::unique_ptr<curl_slist, FreeList>& list, const std::string& line) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    if (longer == nullptr) return;
    static_cast<void>(list.release());
    list.reset(longer);
  };
  for (const std::string& line : request_.headers) add(headers_, line);
  add(headers_, "Expect:");  // no "100-continue", which costs a second with servers that ignore it
  for (const std::string& line : options.resolve) add(resolve_, line);
  if (resolve_) curl_easy_setopt(easy, CURLOPT_RESOLVE, resolve_.get());

  curl_easy_setopt(easy, CURLOPT_NOBODY, request_.method == "HEAD" ? 1L : 0L);
  if (request_.body_source != nullptr) {
    request_.body_source->Rewind();
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kSendBufferBytes);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
                     static_cast<curl_off_t>(request_.body_source->size()));
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, &Transfer::ReadBody);
    curl_easy_setopt(easy, CURLOPT_READDATA, this);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, &Transfer::SeekBody);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, this);
  } else if (request_.method != "GET" && request_.method != "HEAD") {
    add(headers_, "Content-Type:");  // not libcurl's guess; a caller's own stands before it
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request_.body.data());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request_.body.size()));
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers_.get());
}

std::size_t Transfer::ReceiveHeader(char* bytes, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  transfer.MarkActive();
  Head& head = transfer.head_;
  const std::string_view line = TrimSpace({bytes, size * count});
  if (line.starts_with("HTTP/")) {  // after a 100, the head begins anew
    head = {};
    const std::size_t blank = line.find(' ');
    if (blank != std::string_view::npos) head.status_line = TrimSpace(line.substr(blank + 1));
    const auto status = ParseUint(std::string_view(head.status_line).substr(0, 3));
    head.status = status && *status <= 999 ? static_cast<int>(*status) : 0;
  } else if (const std::size_t colon = line.find(':');
             colon != std::string_view::npos && head.headers.size() < kMaxHeaders) {
    head.headers[ToLowerAscii(line.substr(0, colon))] = TrimSpace(line.substr(colon + 1));
  }
  return size * count;
}

std::size_t Transfer::ReceiveBody(char* bytes, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  transfer.MarkActive();
  if (!std::exchange(transfer.is_head_told_, true) && transfer.on_head_)
    transfer.callback_status_ = transfer.on_head_(transfer.head_);
  if (transfer.callback_status_)
    transfer.callback_status_ = transfer.on_body_({bytes, size * count});
  return transfer.callback_status_ ? size * count : CURL_WRITEFUNC_ERROR;
}

std::size_t Transfer::ReadBody(char* bytes, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  transfer.MarkActive();
  auto n_read = transfer.request_.body_source->Read(std::span(bytes, size * count));
  if (n_read) return *n_read;
  transfer.callback_status_ = Fail(std::move(n_read).error());
  return CURL_READFUNC_ABORT;
}

// A reply that comes early makes libcurl start the body over.
int Transfer::SeekBody(void* self, curl_off_t offset, int origin) {
  if (origin != SEEK_SET || offset != 0) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Transfer*>(self)->request_.body_source->Rewind();
  return CURL_SEEKFUNC_OK;
}

curl_socket_t Transfer::OpenSocket(void* self, curlsocktype /*purpose*/, curl_sockaddr* address) {
  auto& transfer = *static_cast<Transfer*>(self);
  const bool may_reach = transfer.is_proxied_
                             ? transfer.session_.named_.HasSameOrigin(transfer.request_.url) ||
                                   !IsPrivateHost(transfer.request_.url.host)
                             : transfer.session_.MayReach(address->addr, transfer.request_.url);
  if (!may_reach) {
    transfer.is_address_refused_ = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

Status Transfer::Outcome(CURLcode code) const {
  if (!callback_status_) return callback_status_;
  if (is_address_refused_ && code != CURLE_OK) {
    return Fail(Code::kForbidden,
                MethodWord(request_.method) + " " + Shown(request_.url) +
                    ": the registry leads to a private address, which is not followed");
  }
  if (code != CURLE_OK) return Fail(Code::kUpstream, Describe(code));
  // A reply without a body.
  if (!is_head_told_ && on_head_) return on_head_(head_);
  return {};
}

Error Transfer::Stalled() const {
  return {Code::kUpstream,
          MethodWord(request_.method) + " " + Shown(request_.url) + ": no data received"};
}

// As Go words it.
std::string Transfer::Describe(CURLcode code) const {
  const Url& url = request_.url;
  const std::string text = MethodWord(request_.method) + " " + Shown(url) + ": ";
  long os_error = 0;
  curl_easy_getinfo(handle_.get(), CURLINFO_OS_ERRNO, &os_error);
  switch (code) {
    case CURLE_COULDNT_CONNECT:
      if (os_error == ECONNREFUSED)
        return text + "dial tcp " + url.host + ":" + std::to_string(url.port) +
               ": connect: connection refused";
      break;
    case CURLE_COULDNT_RESOLVE_HOST:
      return text + "dial tcp: lookup " + url.host + ": no such host";
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
      return text + "unexpected EOF";
    case CURLE_PEER_FAILED_VERIFICATION:
      return text + "tls: failed to verify certificate: " +
             (error_text_[0] != 0 ? error_text_.data() : curl_easy_strerror(code));
    default:
      break;
  }
  return text + (error_text_[0] != 0 ? error_text_.data() : curl_easy_strerror(code));
}

// ---- Session ----

Session::Session(const Options& options, Url named) : options_(options), named_(std::move(named)) {
  StartLibrary();
  multi_.reset(curl_multi_init());
}

bool Session::MayReach(const sockaddr& address, const Url& url) {
  const bool is_private =
      options_.is_private ? options_.is_private(address) : IsPrivateAddress(address);
  if (url.HasSameOrigin(named_)) {
    is_named_private_ = is_private;
    return true;
  }
  return !is_private || is_named_private_;
}

Result<Reply> Session::Send(Request request, std::size_t max_body_bytes, const StopToken& stop,
                            bool is_cut) {
  if (stop.StopRequested()) return Fail(stop.ToError());
  const std::chrono::milliseconds stall = options_.stall * request.patience;
  Reply reply;
  bool was_cut = false;
  const std::string url = Shown(request.url);
  Transfer transfer(*this, std::move(request), nullptr, [&](std::string_view bytes) -> Status {
    const std::size_t room = max_body_bytes - reply.body.size();
    reply.body += bytes.substr(0, room);
    if (bytes.size() <= room) return {};
    was_cut = true;
    return Fail(Code::kUpstream, "the answer of " + url + " is too long");
  });
  if (!multi_ || transfer.handle() == nullptr)
    return Fail(Code::kNoMemory, "libcurl could not start");

  CURLM* const multi = multi_.get();
  CURLcode code = CURLE_ABORTED_BY_CALLBACK;
  bool is_stalled = false;
  {
    const StopCallback wake(stop, [multi] { curl_multi_wakeup(multi); });
    curl_multi_add_handle(multi, transfer.handle());
    for (int n_running = 1; n_running > 0 && !stop.StopRequested();) {
      if (curl_multi_perform(multi, &n_running) != CURLM_OK || n_running == 0) break;
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          transfer.last_activity() + stall - Clock::now());
      if (left.count() <= 0) {
        is_stalled = true;
        break;
      }
      curl_multi_poll(multi, nullptr, 0, static_cast<int>(std::min<long>(left.count() + 1, 60'000)),
                      nullptr);
    }
    int n_messages = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &n_messages)) {
      if (message->msg == CURLMSG_DONE) code = message->data.result;
    }
    curl_multi_remove_handle(multi, transfer.handle());
  }
  if (stop.StopRequested() && code != CURLE_OK) return Fail(stop.ToError());
  if (is_stalled) return Fail(transfer.Stalled());
  if (const Status status = transfer.Outcome(code); !status && !(was_cut && is_cut))
    return Fail(status.error());
  reply.head = transfer.head();
  return reply;
}

}  // namespace corral::registry::internal
