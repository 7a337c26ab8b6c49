// HTTP requests to one registry and to where it sends us, over libcurl.
//
// Which addresses may be reached (CVE-2026-5530): the host that the user named may be anywhere.
// From a registry on the public net no redirect and no realm leads to a private address: looked at
// when the socket is opened, so that no name and no late change of the name's address gets around
// it. A registry on a private address may send us to another one.
//
// No redirect is followed here, nothing is decompressed (no Accept-Encoding is sent), bodies have
// limits. One thread at a time; calls wait, and end early when their token stops.
#pragma once

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/stop.h"
#include "registry/internal/url.h"
#include "registry/registry.h"

namespace corral::registry::internal {

// A body that is not in memory. One thread at a time.
class BodySource {
 public:
  virtual ~BodySource() = default;
  virtual std::int64_t size() const = 0;
  // From the start again.
  virtual void Rewind() = 0;
  // The next bytes; 0 at the end. Errors: kIo.
  virtual Result<std::size_t> Read(std::span<char> buffer) = 0;
};

struct Request {
  std::string method = "GET";
  Url url = {};
  std::vector<std::string> headers = {};  // "Name: value"; no line ends in them
  std::string body = {};                  // of POST, PUT and PATCH; may be empty
  BodySource* body_source = nullptr;      // instead of `body`; outlives the exchange
  int patience = 1;                       // times Options::stall that the server may be silent
};

struct Head {
  int status = 0;
  std::string status_line = {};  // "404 Not Found"
  std::map<std::string, std::string, std::less<>> headers =
      {};  // lower-case names; the last counts

  std::string_view Header(std::string_view lower_case_name) const;
  bool IsRedirect() const { return status >= 300 && status < 400 && !Header("location").empty(); }
};

struct Reply {
  Head head;
  std::string body;
};

class Session;

// One exchange on its way: a libcurl handle and what it calls back. Neither movable nor copyable:
// libcurl has its address.
class Transfer {
 public:
  using OnHead = std::function<Status(const Head&)>;       // once, before the body
  using OnBody = std::function<Status(std::string_view)>;  // an error ends the transfer with it

  Transfer(Session& session, Request request, OnHead on_head, OnBody on_body);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  CURL* handle() const { return handle_.get(); }
  Clock::time_point last_activity() const { return last_activity_; }
  void MarkActive() { last_activity_ = Clock::now(); }
  // What came of it, after libcurl has said that it is over. Errors: the callbacks'; kForbidden (an
  // address that may not be reached), kUpstream with Go's text: `Get "https://…": dial tcp: …`.
  Status Outcome(CURLcode code) const;
  // The error of a transfer that gave no byte for too long.
  Error Stalled() const;
  const Head& head() const { return head_; }

 private:
  friend class Session;
  struct FreeHandle {
    void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  };
  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  static std::size_t ReceiveHeader(char* bytes, std::size_t size, std::size_t count, void* self);
  static std::size_t ReceiveBody(char* bytes, std::size_t size, std::size_t count, void* self);
  static std::size_t ReadBody(char* bytes, std::size_t size, std::size_t count, void* self);
  static int SeekBody(void* self, curl_off_t offset, int origin);
  static curl_socket_t OpenSocket(void* self, curlsocktype purpose, curl_sockaddr* address);
  void Configure();
  std::string Describe(CURLcode code) const;

  Session& session_;
  const Request request_;
  const OnHead on_head_;
  const OnBody on_body_;
  Head head_;
  bool is_head_told_ = false;
  bool is_proxied_ = false;
  bool is_address_refused_ = false;
  Status callback_status_;
  Clock::time_point last_activity_;
  std::array<char, CURL_ERROR_SIZE> error_text_{};
  std::unique_ptr<curl_slist, FreeList> headers_;
  std::unique_ptr<curl_slist, FreeList> resolve_;
  std::unique_ptr<CURL, FreeHandle> handle_;
};

class Session {
 public:
  // `named`: the registry as the user or a setting names it. `options` must outlive the session.
  Session(const Options& options, Url named);

  // The whole reply. A body longer than `max_body_bytes` is an error, or is cut there if
  // `is_cut`: the rest is not read. Errors: as Transfer::Outcome, kCancelled and so on (stop).
  Result<Reply> Send(Request request, std::size_t max_body_bytes, const StopToken& stop,
                     bool is_cut = false);

  const Options& options() const { return options_; }
  const Url& named() const { return named_; }

 private:
  friend class Transfer;
  struct FreeMulti {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
  };
  bool MayReach(const sockaddr& address, const Url& url);

  const Options& options_;
  const Url named_;
  bool is_named_private_ = false;  // what a connection to `named` showed
  std::unique_ptr<CURLM, FreeMulti> multi_;
};

}  // namespace corral::registry::internal
