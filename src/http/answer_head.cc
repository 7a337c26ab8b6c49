#include "http/internal/answer_head.h"

#include <array>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <utility>

#include "http/internal/head.h"

namespace corral::http {

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Request Entity Too Large";  // Go's name
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Entity";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

std::string FormatHttpDate(std::chrono::system_clock::time_point time) {
  constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 64> text{};
  // Not strftime: its names follow the locale.
  std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                kDays.at(static_cast<std::size_t>(utc.tm_wday)), utc.tm_mday,
                kMonths.at(static_cast<std::size_t>(utc.tm_mon)), utc.tm_year + 1900, utc.tm_hour,
                utc.tm_min, utc.tm_sec);
  return text.data();
}

AnswerHead::AnswerHead(bool is_http_11, int status) {
  bytes_.reserve(256);
  bytes_ += is_http_11 ? "HTTP/1.1 " : "HTTP/1.0 ";
  bytes_ += std::to_string(status);
  bytes_ += ' ';
  bytes_ += ReasonPhrase(status);
  bytes_ += "\r\n";
}

Status AnswerHead::Add(std::string_view name, std::string_view value) {
  if (!IsToken(name) || !IsFieldValue(value)) {
    return Fail(Code::kInternal, "a response header holds a byte that is not allowed");
  }
  bytes_ += name;
  bytes_ += ": ";
  bytes_ += value;
  bytes_ += "\r\n";
  return {};
}

std::string AnswerHead::Finish() && {
  bytes_ += "\r\n";
  return std::move(bytes_);
}

bool IsFramingField(std::string_view name) {
  constexpr std::array<std::string_view, 6> kNames = {
      "connection", "content-length", "transfer-encoding", "date", "keep-alive", "upgrade"};
  for (const std::string_view field : kNames) {
    if (EqualsIgnoringCase(name, field)) return true;
  }
  return false;
}

}  // namespace corral::http
