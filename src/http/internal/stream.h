// The byte stream below a connection. Plain TCP; TLS joins here as a second kind of socket behind
// the same calls, and nothing above this file knows a socket type.
//
// Not thread-safe: one strand. One read and one write may be under way at the same time.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <span>
#include <string_view>

#include "http/http.h"

namespace corral::http {

class Stream {
 public:
  struct IoResult {
    boost::system::error_code error;
    std::size_t n_bytes = 0;
  };

  explicit Stream(boost::asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}

  Task<IoResult> ReadSome(std::span<char> into);
  // A prefix of `first` + `second`, which stay valid until it returns.
  Task<IoResult> WriteSome(std::string_view first, std::string_view second);

  bool HasUnreadBytes() const;
  void CancelPending();  // the read and the write under way end with operation_aborted

  void ShutdownSend();  // the peer sees the end of the answers; reading goes on
  void Close();         // what was written still goes out
  void Abort();         // what was written is dropped, the peer sees a reset

 private:
  boost::asio::ip::tcp::socket socket_;
};

}  // namespace corral::http
