// A registry for tests: manifests, blobs and uploads in memory over the real HTTP server, and on
// demand the wrong answers. It writes down what it was asked.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/http.h"
#include "models/manifest.h"
#include "models/name.h"

namespace corral::testing {

class ToyRegistry {
 public:
  ToyRegistry();  // on a free port of 127.0.0.1

  std::uint16_t port() const { return server_->port(); }
  std::string host() const { return "127.0.0.1:" + std::to_string(port()); }

  // Puts a blob in and gives its layer. `served`: other bytes than the digest says.
  models::Layer AddBlob(std::string_view bytes, std::string_view kind = "license",
                        std::optional<std::string> served = std::nullopt);
  // Puts a manifest of these layers in.
  std::string AddModel(const std::string& name, const std::vector<models::Layer>& layers);
  void AddManifest(const std::string& name, std::string text);

  // Answers every request instead, if it returns something. Runs on the server's thread.
  using Rule = std::function<std::optional<http::Response>(const http::Request&)>;
  void SetRule(Rule rule);
  void IgnoreRanges() { ignores_ranges_ = true; }

  struct Seen {
    std::string method, path, query, authorization, range, user_agent;
    std::string content_range, body;
  };
  std::vector<Seen> seen() const;
  // What was pushed; nullopt if it is not there.
  std::optional<std::string> BlobOf(const models::Digest& digest) const;
  std::optional<std::string> ManifestOf(const std::string& name) const;
  // The bytes of all unfinished uploads become these.
  void SetUploads(const std::string& bytes);
  // Bytes of blobs that went out.
  std::uint64_t n_served() const { return n_served_.load(); }

 private:
  http::Task<void> Answer(http::Exchange& exchange);
  http::Response AnswerTo(const http::Request& request, const std::string& body);
  http::Response Blob(const http::Request& request);
  http::Response Upload(const http::Request& request, const std::string& body);

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, std::string, std::less<>> blobs_;      // digest -> bytes
  std::map<std::string, std::string, std::less<>> manifests_;  // "library/m/latest" -> text
  std::map<std::string, std::string, std::less<>> uploads_;    // path -> bytes
  std::vector<Seen> seen_;
  Rule rule_;
  std::atomic<bool> ignores_ranges_{false};
  std::atomic<std::uint64_t> n_served_{0};
  std::unique_ptr<http::Server> server_;  // last: its threads use the rest
};

}  // namespace corral::testing
