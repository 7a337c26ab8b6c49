// Models from and to registries: Ollama's, hf.co, and any that speaks the OCI distribution
// protocol.
//
// Protocol: docs/formats/registry.md. Progress lines and error texts are Ollama's. Thread-safe.
// Each pull and push runs on a thread of its own; the download of a blob is shared by all that
// want it, in this process (one Download) and between processes (the lock of the partial file,
// models/partial.h). It ends when the last of them leaves; what has arrived stays for the next
// pull.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/settings.h"
#include "core/stop.h"
#include "models/name.h"
#include "models/store.h"

namespace corral::registry {

struct Options {
  // Of every request: "ollama/0.1 (amd64 linux) ...". Registries look at the version.
  std::string user_agent = "ollama/0.0.0";
  std::string mirror = {};               // address of a mirror of the default registry; empty: none
  std::string ca_file = {};              // more authorities to trust, PEM
  std::filesystem::path key_file = {};   // ~/.ollama/id_ed25519; made on first need; empty: no key
  std::filesystem::path auth_file = {};  // passwords, as Docker's config.json; empty: none
  // Hosts (with their ports) that models may come from and go to; empty: all.
  std::vector<std::string> allowed = {};
  // Variables of proxies: HTTPS_PROXY and so on.
  Environment environment = [](std::string_view) { return std::nullopt; };

  int n_streams = 16;                                   // connections a download
  std::int64_t chunk_bytes = 16LL << 20;                // of one range request
  std::int64_t window_bytes = 256LL << 20;              // how far ahead of the hash
  std::chrono::milliseconds stall{30'000};              // no byte for so long: the request is over
  std::chrono::milliseconds retry_delay{1'000};         // before the first retry; doubles
  int max_tries = 6;                                    // in a row without a new byte
  std::chrono::milliseconds save_interval{2'000};       // between two saves of a download's state
  std::chrono::milliseconds progress_interval{60};      // between two progress lines of a blob
  std::chrono::milliseconds other_owner_interval{250};  // between two looks at another's download

  // For tests. Names and their addresses, as libcurl's CURLOPT_RESOLVE; what counts as a private
  // address (empty: internal/address.h).
  std::vector<std::string> resolve = {};
  std::function<bool(const sockaddr&)> is_private = {};
};

// One progress line of pull and push.
struct Progress {
  std::string status;
  std::string digest = {};  // "sha256:…"; empty: none
  std::int64_t total = 0;
  std::int64_t completed = 0;
  // More lines of this blob will come: a reader that is slow may leave this one out.
  bool is_passing = false;
};

struct TransferRequest {
  models::ModelName name;
  bool is_insecure = false;  // plain HTTP
};

class Registry {
 public:
  using OnProgress = std::function<void(Progress)>;  // on the transfer's thread; must not wait
  using OnEnd = std::function<void(Status)>;         // the last call; on the same thread

  // `store` must outlive the registry.
  Registry(models::Store& store, Options options);
  // Stops what runs (kShutdown) and waits for it.
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // kForbidden if Options::allowed does not have the name's registry (and, of the default one,
  // there is no mirror to pull from).
  Status CheckAllowed(const models::ModelName& name, bool is_push) const;

  // Starts on a thread of its own; all results come by the callbacks. The lines begin with "pulling
  // manifest" and, if all goes well, end with "success". At most kMaxTransfers at once. Errors:
  // kBusy (too many, or stopping; `on_end` is not called).
  Status StartPull(TransferRequest request, StopToken stop, OnProgress on_progress, OnEnd on_end);

  // As StartPull; the lines begin with "retrieving manifest".
  Status StartPush(TransferRequest request, StopToken stop, OnProgress on_progress, OnEnd on_end);

  // The work of StartPull on this thread. Errors: kNotFound, kUnauthorized, kUpstream, kCorrupt,
  // kForbidden, kIo, and what `stop` says.
  Status Pull(const TransferRequest& request, const StopToken& stop, const OnProgress& on_progress);

  // The work of StartPush. Errors also: kNotFound `model "x" not found`.
  Status Push(const TransferRequest& request, const StopToken& stop, const OnProgress& on_progress);

  static constexpr std::size_t kMaxTransfers = 32;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corral::registry
