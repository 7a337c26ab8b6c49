// Which handler answers a method and a path; what an unmatched one gets. Ollama's answers: gin 1.10
// with HandleMethodNotAllowed and RedirectTrailingSlash. Constant after construction, any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/http.h"

namespace corral::http {

struct RouteMatch {
  enum class Kind {
    kFound,
    kNotFound,     // 404
    kWrongMethod,  // 405, with `allow`
    kRedirect,     // the path without its one extra slash has this method
  };
  Kind kind = Kind::kNotFound;
  const Handler* handler = nullptr;  // kFound; lives as long as the table
  std::vector<std::pair<std::string, std::string>> params;
  std::string allow;  // "HEAD, GET": registered methods in the order HEAD, GET, POST, DELETE, PUT
  std::string redirect_path;  // kRedirect: decoded path without the slash
};

class RouteTable {
 public:
  explicit RouteTable(const Router& router) : routes_(router.routes()) {}

  // `path` is decoded. A literal part wins over "{name}", that over "{name...}".
  RouteMatch Match(std::string_view method, std::string_view path) const;

 private:
  const Router::Route* Find(std::string_view method, std::string_view path,
                            std::vector<std::pair<std::string, std::string>>* params) const;

  std::vector<Router::Route> routes_;
};

}  // namespace corral::http
