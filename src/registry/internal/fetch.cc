#include "registry/internal/fetch.h"

#include <pthread.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/text.h"

namespace corral::registry::internal {

namespace {

constexpr std::size_t kHashBytes = 1U << 20;
constexpr std::chrono::milliseconds kLongestWait{500};

// `bytes 100-199/1234` begins at `begin` and is of a whole of `size_bytes`.
bool IsRangeFrom(std::string_view content_range, std::int64_t begin, std::int64_t size_bytes) {
  const std::string prefix = "bytes " + std::to_string(begin) + "-";
  const std::string suffix = "/" + std::to_string(size_bytes);
  return content_range.starts_with(prefix) &&
         (content_range.ends_with(suffix) || content_range.ends_with("/*"));
}

}  // namespace

struct Fetch::Part {
  std::int64_t position = 0;  // of the next byte
  std::int64_t end = 0;
  bool is_whole = false;  // the whole blob in one stream: the server knows no ranges
  bool is_fatal = false;  // an error of ours (the disk), not of the net
  std::unique_ptr<Transfer> transfer;
};

Fetch::Fetch(Remote& remote, models::PartialBlob& partial, const models::Digest& digest,
             std::int64_t size_bytes, std::atomic<std::int64_t>& completed)
    : remote_(remote),
      partial_(partial),
      digest_(digest),
      size_bytes_(size_bytes),
      completed_(completed),
      options_(remote.session().options()),
      multi_(curl_multi_init()) {
  present_ = partial.found();
  completed_ = present_.TotalBytes();
}

Fetch::~Fetch() = default;

Result<Sha256::Hash> Fetch::Run(const StopToken& stop) {
  if (!multi_) return Fail(Code::kNoMemory, "libcurl could not start");
  Status status;
  {
    std::jthread hasher([this](const std::stop_token& token) { HashLoop(token); });
    std::jthread saver([this](const std::stop_token& token) { SaveLoop(token); });
    ::pthread_setname_np(hasher.native_handle(), "blob-hash");
    ::pthread_setname_np(saver.native_handle(), "blob-save");
    {
      const StopCallback wake(stop, [this] { curl_multi_wakeup(multi_.get()); });
      status = Work(stop);
    }
    for (const Part& part : parts_) curl_multi_remove_handle(multi_.get(), part.transfer->handle());
    parts_.clear();
    const MutexLock lock(mutex_);
    is_over_ = true;
    arrived_.NotifyAll();
    ended_.NotifyAll();
  }
  if (status) return hash_.Finish();
  models::ByteRanges present;
  {
    const MutexLock lock(mutex_);
    present = present_;
  }
  if (const Status saved = partial_.Save(present); !saved) {
    Log(LogLevel::kWarn, "cannot save the state of a download",
        {{"digest", digest_.ToString()}, {"error", saved.error().message}});
  }
  return Fail(std::move(status).error());
}

Status Fetch::Work(const StopToken& stop) {
  for (;;) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    bool is_complete = false;
    {
      const MutexLock lock(mutex_);
      if (!hash_status_) return hash_status_;
      if (hashed_ == size_bytes_) return {};
      is_complete = present_.RunEnd(0) == size_bytes_;
    }
    const Clock::time_point now = Clock::now();
    if (!is_complete && now >= not_before_) {
      if (!source_) {
        Status found = FindSource(stop);
        if (!found) CORRAL_TRY_STATUS(Retry(std::move(found).error()));
        continue;
      }
      CORRAL_TRY_STATUS(StartParts());
    }
    int n_running = 0;
    if (curl_multi_perform(multi_.get(), &n_running) != CURLM_OK)
      return Fail(Code::kInternal, "libcurl failed");
    CORRAL_TRY_STATUS(CollectParts());
    auto wait = kLongestWait;
    if (not_before_ > now) {
      wait = std::min(wait, std::chrono::duration_cast<std::chrono::milliseconds>(
                                not_before_ - now + std::chrono::milliseconds(1)));
    }
    wait = std::min(wait, options_.stall / 4 + std::chrono::milliseconds(1));
    curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(wait.count()), nullptr);
  }
}

Status Fetch::FindSource(const StopToken& stop) {
  CORRAL_TRY(source_, remote_.FindBlob(digest_, size_bytes_, stop));
  // The wait was not the requests' fault.
  for (const Part& part : parts_) part.transfer->MarkActive();
  return Arrived(0, std::exchange(source_->first_bytes, {}));
}

std::optional<models::ByteRanges::Range> Fetch::NextRange() {
  if (parts_.size() >= static_cast<std::size_t>(options_.n_streams)) return std::nullopt;
  models::ByteRanges taken;
  std::int64_t hashed = 0;
  {
    const MutexLock lock(mutex_);
    taken = present_;
    hashed = hashed_;
  }
  for (const Part& part : parts_) taken.Add(part.position, part.end);
  const std::int64_t limit = std::min(size_bytes_, hashed + options_.window_bytes);
  auto gap = taken.FirstGap(hashed, limit);
  if (gap) gap->end = std::min(gap->end, gap->begin + options_.chunk_bytes);
  return gap;
}

Status Fetch::StartParts() {
  if (!source_->has_ranges) {
    return parts_.empty() ? Start({0, size_bytes_}) : Status();
  }
  while (const auto range = NextRange()) CORRAL_TRY_STATUS(Start(*range));
  return {};
}

Status Fetch::Start(models::ByteRanges::Range range) {
  Part& part = parts_.emplace_back();
  part.position = range.begin;
  part.end = range.end;
  part.is_whole = !source_->has_ranges;
  Request request;
  request.url = source_->url;
  request.headers = source_->headers;
  if (!part.is_whole) {
    request.headers.push_back("Range: bytes=" + std::to_string(range.begin) + "-" +
                              std::to_string(range.end - 1));
  }
  part.transfer = std::make_unique<Transfer>(
      remote_.session(), std::move(request),
      [this, &part](const Head& head) { return CheckHead(part, head); },
      [this, &part](std::string_view bytes) { return Take(part, bytes); });
  if (part.transfer->handle() == nullptr ||
      curl_multi_add_handle(multi_.get(), part.transfer->handle()) != CURLM_OK) {
    parts_.pop_back();
    return Fail(Code::kNoMemory, "libcurl could not start");
  }
  return {};
}

Status Fetch::CheckHead(const Part& part, const Head& head) const {
  const int expected = part.is_whole ? 200 : 206;
  if (head.status != expected)
    return Fail(Code::kUpstream, "unexpected status code " + std::to_string(head.status));
  if (!part.is_whole && !IsRangeFrom(head.Header("content-range"), part.position, size_bytes_))
    return Fail(Code::kUpstream, "the registry answers a range request with another range");
  return {};
}

Status Fetch::Take(Part& part, std::string_view bytes) {
  if (static_cast<std::int64_t>(bytes.size()) > part.end - part.position)
    return Fail(Code::kUpstream, "the registry sends more bytes than it was asked for");
  if (Status arrived = Arrived(part.position, bytes); !arrived) {
    part.is_fatal = true;
    return arrived;
  }
  part.position += static_cast<std::int64_t>(bytes.size());
  return {};
}

Status Fetch::Arrived(std::int64_t offset, std::string_view bytes) {
  CORRAL_TRY_STATUS(partial_.WriteAt(offset, bytes));
  const MutexLock lock(mutex_);
  const std::int64_t n_before = present_.TotalBytes();
  present_.Add(offset, offset + static_cast<std::int64_t>(bytes.size()));
  const std::int64_t n_now = present_.TotalBytes();
  if (n_now > n_before) n_failures_ = 0;
  completed_ = n_now;
  arrived_.NotifyAll();
  return {};
}

Status Fetch::CollectParts() {
  int n_messages = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &n_messages)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    const auto part = std::find_if(parts_.begin(), parts_.end(), [message](const Part& candidate) {
      return candidate.transfer->handle() == message->easy_handle;
    });
    curl_multi_remove_handle(multi_.get(), message->easy_handle);
    Status status = part->transfer->Outcome(code);
    const bool is_fatal = part->is_fatal;
    const bool is_short = status && part->position < part->end;
    parts_.erase(part);
    if (is_fatal) return status;
    if (is_short) status = Fail(Code::kUpstream, "unexpected EOF");
    if (!status) CORRAL_TRY_STATUS(Retry(std::move(status).error()));
  }
  const Clock::time_point now = Clock::now();
  for (auto part = parts_.begin(); part != parts_.end();) {
    if (now - part->transfer->last_activity() < options_.stall) {
      ++part;
      continue;
    }
    Log(LogLevel::kInfo,
        digest_.hex().substr(0, 12) + " part " + std::to_string(part->position) +
            " stalled; retrying. If this persists, press ctrl-c to exit, then 'ollama pull' to "
            "find a faster connection.");
    Error error = part->transfer->Stalled();
    curl_multi_remove_handle(multi_.get(), part->transfer->handle());
    part = parts_.erase(part);
    CORRAL_TRY_STATUS(Retry(std::move(error)));
  }
  return {};
}

Status Fetch::Retry(Error error) {
  const bool is_final = error.code == Code::kNotFound || error.code == Code::kUnauthorized ||
                        error.code == Code::kForbidden || error.code == Code::kCorrupt ||
                        error.code == Code::kIo || error.code == Code::kCancelled ||
                        error.code == Code::kBusy;
  if (is_final) return Fail(std::move(error));
  // Requests that fail together, in one outage, count as one.
  const Clock::time_point now = Clock::now();
  source_.reset();  // the address may have expired, or its server be gone
  if (n_failures_ > 0 && now < not_before_) return {};
  ++n_failures_;
  if (n_failures_ >= options_.max_tries)
    return Fail(std::move(error).Within("max retries exceeded"));
  not_before_ = now + options_.retry_delay * (1 << std::min(n_failures_ - 1, 10));
  Log(LogLevel::kInfo, "a part of a download failed and is tried again",
      {{"digest", digest_.ToString()}, {"error", error.message}});
  return {};
}

void Fetch::HashLoop(const std::stop_token& stop) {
  std::vector<char> buffer(kHashBytes);
  for (;;) {
    std::int64_t position = 0;
    std::int64_t run_end = 0;
    {
      const MutexLock lock(mutex_);
      while (!is_over_ && !stop.stop_requested() && present_.RunEnd(hashed_) == hashed_)
        arrived_.Wait(mutex_);
      if (is_over_ || stop.stop_requested()) return;
      position = hashed_;
      run_end = present_.RunEnd(hashed_);
    }
    const auto n_wanted =
        std::min<std::size_t>(buffer.size(), static_cast<std::size_t>(run_end - position));
    Result<std::size_t> n_read = partial_.ReadAt(position, std::span(buffer.data(), n_wanted));
    if (n_read && *n_read == 0) n_read = Fail(Code::kIo, "a partial download became shorter");
    if (n_read) hash_.Update({buffer.data(), *n_read});
    bool is_finished = false;
    {
      const MutexLock lock(mutex_);
      if (!n_read) {
        hash_status_ = Fail(n_read.error());
      } else {
        hashed_ += static_cast<std::int64_t>(*n_read);
      }
      is_finished = !hash_status_ || hashed_ == size_bytes_;
    }
    // Run may ask for more, or is at its end.
    curl_multi_wakeup(multi_.get());
    if (is_finished) return;
  }
}

void Fetch::SaveLoop(const std::stop_token& stop) {
  for (;;) {
    models::ByteRanges present;
    {
      const MutexLock lock(mutex_);
      const Deadline next = Clock::now() + options_.save_interval;
      while (!is_over_ && !stop.stop_requested() && ended_.WaitUntil(mutex_, next)) {
      }
      if (is_over_ || stop.stop_requested()) return;
      present = present_;
    }
    if (const Status saved = partial_.Save(present); !saved) {
      Log(LogLevel::kWarn, "cannot save the state of a download",
          {{"digest", digest_.ToString()}, {"error", saved.error().message}});
    }
  }
}

}  // namespace corral::registry::internal
