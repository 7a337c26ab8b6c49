#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

#include "http/http.h"
#include "http/internal/route_table.h"

namespace corral::http {
namespace {

using Params = std::vector<std::pair<std::string, std::string>>;

// "/api/tags/" is {"api", "tags", ""}; "/" is {""}.
std::vector<std::string_view> Split(std::string_view path) {
  if (!path.empty() && path.front() == '/') path.remove_prefix(1);
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

bool IsParam(std::string_view part) {
  return part.size() > 2 && part.front() == '{' && part.back() == '}';
}
bool IsRest(std::string_view part) {
  return part.size() > 5 && IsParam(part) && part.substr(part.size() - 4) == "...}";
}

// How a pattern fits, part by part: '0' literal, '1' one segment, '2' the rest. The least one is
// the most specific.
std::optional<std::string> Fit(const std::vector<std::string>& pattern,
                               const std::vector<std::string_view>& parts, Params* params) {
  std::string fit;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (i >= parts.size()) return std::nullopt;
    const std::string_view part = pattern[i];
    if (IsRest(part)) {
      const char* const begin = parts[i].data();
      const std::string_view last = parts.back();
      std::string rest(begin, static_cast<std::size_t>(last.data() + last.size() - begin));
      if (rest.empty()) return std::nullopt;
      params->emplace_back(part.substr(1, part.size() - 5), std::move(rest));
      fit.push_back('2');
      return fit;
    }
    if (IsParam(part)) {
      if (parts[i].empty()) return std::nullopt;
      params->emplace_back(part.substr(1, part.size() - 2), parts[i]);
      fit.push_back('1');
    } else if (part == parts[i]) {
      fit.push_back('0');
    } else {
      return std::nullopt;
    }
  }
  if (parts.size() != pattern.size()) return std::nullopt;
  return fit;
}

std::string_view FirstValue(const Params& pairs, std::string_view name) {
  for (const auto& [key, value] : pairs) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace

std::string_view Request::Header(std::string_view lower_case_name) const {
  return FirstValue(headers, lower_case_name);
}

std::string_view Request::Param(std::string_view name) const { return FirstValue(params, name); }

void Router::Add(std::vector<std::string> methods, std::string pattern, Handler handler) {
  std::vector<std::string> parts;
  for (const std::string_view part : Split(pattern)) parts.emplace_back(part);
  routes_.push_back({std::move(methods), std::move(parts), std::move(handler)});
}

const Router::Route* RouteTable::Find(std::string_view method, std::string_view path,
                                      Params* params) const {
  const std::vector<std::string_view> parts = Split(path);
  const Router::Route* best = nullptr;
  std::string best_fit;
  for (const Router::Route& route : routes_) {
    if (std::find(route.methods.begin(), route.methods.end(), method) == route.methods.end()) {
      continue;
    }
    Params found;
    std::optional<std::string> fit = Fit(route.parts, parts, &found);
    if (!fit || (best != nullptr && *fit >= best_fit)) continue;
    best = &route;
    best_fit = std::move(*fit);
    *params = std::move(found);
  }
  return best;
}

RouteMatch RouteTable::Match(std::string_view method, std::string_view path) const {
  RouteMatch match;
  if (path.empty() || path.front() != '/') return match;
  if (const Router::Route* route = Find(method, path, &match.params)) {
    match.kind = RouteMatch::Kind::kFound;
    match.handler = &route->handler;
    return match;
  }
  Params unused;
  if (path.size() > 1 && path.back() == '/') {
    const std::string_view shorter = path.substr(0, path.size() - 1);
    if (Find(method, shorter, &unused) != nullptr) {
      match.kind = RouteMatch::Kind::kRedirect;
      match.redirect_path = shorter;
      return match;
    }
  }
  constexpr std::array<std::string_view, 5> kOrder = {"HEAD", "GET", "POST", "DELETE", "PUT"};
  for (const std::string_view other : kOrder) {
    if (other == method || Find(other, path, &unused) == nullptr) continue;
    if (!match.allow.empty()) match.allow += ", ";
    match.allow += other;
  }
  if (!match.allow.empty()) match.kind = RouteMatch::Kind::kWrongMethod;
  return match;
}

}  // namespace corral::http
