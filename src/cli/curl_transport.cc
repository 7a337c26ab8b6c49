#include "cli/curl_transport.h"

#include <curl/curl.h>
#include <sys/stat.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/text.h"

namespace corral::cli {
namespace {

struct FreeEasy {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct FreeMulti {
  void operator()(CURLM* handle) const { curl_multi_cleanup(handle); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// One exchange: what the callbacks see.
struct Exchange {
  const HttpRequest& request;
  const Transport::Receiver& receive;
  HttpHead head = {};
  Status result = {};  // what `receive` said
  std::unique_ptr<std::FILE, CloseFile> body_file = {};
  std::uint64_t n_sent = 0;
};

std::size_t OnHeader(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view line = TrimSpace({bytes, size * count});
  if (line.starts_with("HTTP/")) {
    const std::size_t blank = line.find(' ');
    exchange.head.status_line =
        blank == std::string_view::npos ? "" : std::string(line.substr(blank + 1));
    exchange.head.status = std::atoi(exchange.head.status_line.c_str());
  }
  return size * count;
}

std::size_t OnBody(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  exchange.result = exchange.receive(exchange.head, {bytes, size * count});
  return exchange.result ? size * count : CURL_WRITEFUNC_ERROR;
}

std::size_t OnRead(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::size_t n = std::fread(bytes, 1, size * count, exchange.body_file.get());
  if (n == 0 && std::ferror(exchange.body_file.get()) != 0) return CURL_READFUNC_ABORT;
  exchange.n_sent += n;
  if (exchange.request.on_sent) exchange.request.on_sent(exchange.n_sent);
  return n;
}

// A reply that comes early makes libcurl start the body over.
int OnSeek(void* user, curl_off_t offset, int origin) {
  auto& exchange = *static_cast<Exchange*>(user);
  if (origin != SEEK_SET || fseeko(exchange.body_file.get(), offset, SEEK_SET) != 0)
    return CURL_SEEKFUNC_FAIL;
  exchange.n_sent = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

// "Get", as Go's url.Error begins.
std::string MethodWord(const std::string& method) {
  std::string word = ToLowerAscii(method);
  if (!word.empty()) word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
  return word;
}

class CurlTransport final : public Transport {
 public:
  explicit CurlTransport(CurlOptions options) : options_(std::move(options)) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    multi_.reset(curl_multi_init());
    easy_.reset(curl_easy_init());
    if (options_.server.host.empty()) options_.server.host = "localhost";
    base_ = options_.server.Url();  // with the base path
  }

  Result<HttpHead> Send(const HttpRequest& request, const Receiver& receive,
                        StopToken stop) override {
    if (!multi_ || !easy_) return Fail(Code::kNoMemory, "libcurl could not start");
    if (stop.StopRequested()) return Fail(stop.ToError());
    Exchange exchange{.request = request, .receive = receive};
    CORRAL_TRY_STATUS(Prepare(exchange));
    const std::unique_ptr<curl_slist, FreeList> headers = Headers(request);
    curl_easy_setopt(easy_.get(), CURLOPT_HTTPHEADER, headers.get());
    const CURLcode code = Run(stop);
    if (stop.StopRequested() && code != CURLE_OK) return Fail(stop.ToError());
    if (!exchange.result) return Fail(exchange.result.error());
    if (code != CURLE_OK) return Fail(Code::kUpstream, Describe(request, code));
    return exchange.head;
  }

 private:
  Status Prepare(Exchange& exchange) {
    const HttpRequest& request = exchange.request;
    CURL* const easy = easy_.get();
    curl_easy_reset(easy);  // keeps the connections
    error_[0] = 0;
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_.data());
    curl_easy_setopt(easy, CURLOPT_URL, (base_ + request.path).c_str());
    curl_easy_setopt(easy, CURLOPT_PROXY,
                     options_.proxy.c_str());  // "" also turns off libcurl's own reading
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl_easy_setopt(easy, CURLOPT_NOBODY, request.method == "HEAD" ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
    if (!options_.abstract_socket.empty())
      curl_easy_setopt(easy, CURLOPT_ABSTRACT_UNIX_SOCKET, options_.abstract_socket.c_str());
    if (!options_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
    if (!request.body_file.empty()) return PrepareFile(exchange);
    if (request.method != "GET" && request.method != "HEAD") {
      curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
      curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                       static_cast<curl_off_t>(request.body.size()));
    }
    return {};
  }

  Status PrepareFile(Exchange& exchange) {
    CURL* const easy = easy_.get();
    const std::string name = exchange.request.body_file.string();
    exchange.body_file.reset(std::fopen(name.c_str(), "rbe"));
    struct stat facts {};
    if (!exchange.body_file || fstat(fileno(exchange.body_file.get()), &facts) != 0)
      return Fail(ErrnoError(errno, "open " + name));
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(facts.st_size));
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, &OnRead);
    curl_easy_setopt(easy, CURLOPT_READDATA, &exchange);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, &OnSeek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, &exchange);
    return {};
  }

  static std::unique_ptr<curl_slist, FreeList> Headers(const HttpRequest& request) {
    std::unique_ptr<curl_slist, FreeList> list;
    const auto add = [&list](const char* line) {
      curl_slist* longer = curl_slist_append(list.get(), line);
      if (longer == nullptr) return;
      static_cast<void>(list.release());
      list.reset(longer);
    };
    add(request.body_file.empty() ? "Content-Type: application/json"
                                  : "Content-Type: application/octet-stream");
    add(request.is_stream ? "Accept: application/x-ndjson" : "Accept: application/json");
    add("Expect:");  // no "100-continue", which costs a second with servers that ignore it
    return list;
  }

  // By the multi interface, which another thread can wake.
  CURLcode Run(const StopToken& stop) {
    const StopCallback wake(stop, [multi = multi_.get()] { curl_multi_wakeup(multi); });
    curl_multi_add_handle(multi_.get(), easy_.get());
    CURLcode result = CURLE_ABORTED_BY_CALLBACK;
    int n_running = 1;
    while (n_running > 0 && !stop.StopRequested()) {
      if (curl_multi_perform(multi_.get(), &n_running) != CURLM_OK) break;
      if (n_running > 0) curl_multi_poll(multi_.get(), nullptr, 0, 60'000, nullptr);
    }
    int n_messages = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &n_messages)) {
      if (message->msg == CURLMSG_DONE) result = message->data.result;
    }
    curl_multi_remove_handle(multi_.get(), easy_.get());
    return result;
  }

  // As Go words it: `Get "http://127.0.0.1:11434/api/tags": dial tcp: connect: connection refused`.
  std::string Describe(const HttpRequest& request, CURLcode code) {
    std::string text = MethodWord(request.method) + " " + GoQuote(base_ + request.path) + ": ";
    long os_error = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_OS_ERRNO, &os_error);
    if (code == CURLE_COULDNT_CONNECT && os_error == ECONNREFUSED)
      return text + "dial tcp " + options_.server.host + ":" +
             std::to_string(options_.server.port) + ": connect: connection refused";
    if (code == CURLE_PARTIAL_FILE || code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR)
      return text + "unexpected EOF";
    return text + (error_[0] != 0 ? error_.data() : curl_easy_strerror(code));
  }

  CurlOptions options_;
  std::string base_;
  std::array<char, CURL_ERROR_SIZE> error_{};
  std::unique_ptr<CURL, FreeEasy> easy_;
  std::unique_ptr<CURLM, FreeMulti> multi_;
};

}  // namespace

std::unique_ptr<Transport> MakeCurlTransport(CurlOptions options) {
  return std::make_unique<CurlTransport>(std::move(options));
}

}  // namespace corral::cli
