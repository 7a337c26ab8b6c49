// Which web pages may call the server: the Origin rules of Ollama (gin-contrib/cors 1.7 with the
// list of envconfig.AllowedOrigins), with two repairs: entries are trimmed, and a bad entry is
// skipped instead of ending the start. Constant after construction, any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corral::http {

class Origins {
 public:
  // `entries`: OLLAMA_ORIGINS; the fixed ones (localhost, app schemes) follow. `warnings` gets one
  // text a skipped entry.
  Origins(const std::vector<std::string>& entries, std::vector<std::string>* warnings);

  struct Decision {
    enum class Outcome {
      kContinue,   // answer as usual, with `headers`
      kForbidden,  // 403, empty body
      kPreflight,  // 204 with `headers`
    };
    Outcome outcome = Outcome::kContinue;
    std::vector<std::pair<std::string, std::string>> headers;
  };
  // `origin` and `host` as sent; an empty origin is no CORS request.
  Decision Check(std::string_view method, std::string_view origin, std::string_view host) const;

 private:
  void Add(std::string_view entry, std::vector<std::string>* warnings);
  bool IsAllowed(std::string_view origin) const;

  bool allows_all_ = false;
  std::vector<std::string> exact_;                              // lower case
  std::vector<std::pair<std::string, std::string>> wildcards_;  // before and after the star
};

}  // namespace corral::http
