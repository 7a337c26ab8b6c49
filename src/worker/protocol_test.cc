#include "worker/protocol.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <random>
#include <thread>

#include "core/files.h"

namespace corral::worker {
namespace {

// What DecodeFrame gets of an encoded frame.
Result<Frame> Again(const Frame& frame) {
  const std::string bytes = EncodeFrame(frame);
  return DecodeFrame(static_cast<std::uint8_t>(bytes[4]), std::string_view(bytes).substr(5));
}

GenerateJob FullJob() {
  GenerateJob job;
  job.prompt.kind = PromptSource::Kind::kMessages;
  job.prompt.text = "text";
  job.prompt.suffix = "suffix";
  job.prompt.messages.push_back(
      {"user", "hello", "hm", {std::string("\0\xFF", 2)}, {{"id", "f", "{\"a\":1}", 3}}, "t", "c"});
  job.prompt.go_template = "{{ .Prompt }}";
  job.prompt.tools_json = "[]";
  job.prompt.think = Think{true, "high"};
  job.prompt.context = {1, 2, -3};
  job.sampling.seed = -7;
  job.sampling.stop = {"a", ""};
  job.sampling.top_p = 0.25F;
  job.format_json = "\"json\"";
  job.num_ctx = 123;
  job.truncate = false;
  job.want_context = true;
  return job;
}

TEST(Protocol, CarriesEveryFieldOfAGenerateJob) {
  const auto frame = Again(GenerateFrame{JobId{42}, FullJob()});
  ASSERT_TRUE(frame) << frame.error().message;
  const auto& got = std::get<GenerateFrame>(*frame);
  EXPECT_EQ(got.job, JobId{42});
  EXPECT_EQ(got.body.prompt.kind, PromptSource::Kind::kMessages);
  ASSERT_EQ(got.body.prompt.messages.size(), 1U);
  const ChatMessage& message = got.body.prompt.messages[0];
  EXPECT_EQ(message.images, std::vector<std::string>{std::string("\0\xFF", 2)});
  ASSERT_EQ(message.tool_calls.size(), 1U);
  EXPECT_EQ(message.tool_calls[0].arguments_json, "{\"a\":1}");
  EXPECT_EQ(message.tool_calls[0].index, 3);
  ASSERT_TRUE(got.body.prompt.think);
  EXPECT_EQ(got.body.prompt.think->level, "high");
  EXPECT_EQ(got.body.prompt.context, (std::vector<Token>{1, 2, -3}));
  EXPECT_EQ(got.body.sampling.seed, -7);
  EXPECT_EQ(got.body.sampling.stop, (std::vector<std::string>{"a", ""}));
  EXPECT_FLOAT_EQ(got.body.sampling.top_p, 0.25F);
  EXPECT_EQ(got.body.num_ctx, 123);
  EXPECT_FALSE(got.body.truncate);
  EXPECT_TRUE(got.body.want_context);
  EXPECT_EQ(EncodeFrame(*frame), EncodeFrame(GenerateFrame{JobId{42}, FullJob()}));
}

TEST(Protocol, CarriesAnswers) {
  Piece piece{
      "text", "thinking", {{"id", "name", "{}", 0}}, {{"tok", -0.5F, {{"other", -1.5F, {}}}}}};
  const auto frame = Again(PieceFrame{JobId{7}, piece});
  ASSERT_TRUE(frame);
  const auto& got = std::get<PieceFrame>(*frame);
  EXPECT_EQ(got.piece.thinking, "thinking");
  ASSERT_EQ(got.piece.logprobs.size(), 1U);
  EXPECT_FLOAT_EQ(got.piece.logprobs[0].top[0].logprob, -1.5F);

  Embeddings embeddings{{{1.0F, -2.0F}, {}}, 9};
  const auto vectors = Again(EmbeddingsFrame{JobId{8}, embeddings});
  ASSERT_TRUE(vectors);
  EXPECT_EQ(std::get<EmbeddingsFrame>(*vectors).embeddings.vectors, embeddings.vectors);
}

TEST(Protocol, RefusesEveryShortenedPayload) {
  const std::string bytes = EncodeFrame(GenerateFrame{JobId{1}, FullJob()});
  for (std::size_t n = 5; n < bytes.size(); ++n) {
    EXPECT_FALSE(
        DecodeFrame(static_cast<std::uint8_t>(bytes[4]), std::string_view(bytes).substr(5, n - 5)))
        << n;
  }
}

TEST(Protocol, RefusesAPayloadThatIsTooLongAndAnUnknownKind) {
  std::string bytes = EncodeFrame(CancelFrame{JobId{1}});
  bytes += 'x';
  EXPECT_EQ(DecodeFrame(static_cast<std::uint8_t>(bytes[4]), std::string_view(bytes).substr(5))
                .error()
                .code,
            Code::kCorrupt);
  EXPECT_FALSE(DecodeFrame(200, ""));
}

TEST(Protocol, SurvivesRandomBytes) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const auto kind = static_cast<std::uint8_t>(random() % std::variant_size_v<Frame>);
    const auto frame = DecodeFrame(kind, bytes);
    EXPECT_TRUE(!frame || frame->index() == kind);
  }
}

TEST(FrameReader, CutsFramesOutOfAnyStream) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd left(pair[0]);
  const UniqueFd right(pair[1]);
  std::string bytes;
  for (std::uint64_t i = 0; i < 50; ++i)
    bytes += EncodeFrame(CreditFrame{JobId{i}, static_cast<std::int32_t>(i)});
  std::jthread writer([&] {
    for (std::size_t i = 0; i < bytes.size(); i += 7)
      EXPECT_TRUE(WriteAll(left.get(), std::string_view(bytes).substr(i, 7)));
    left.Reset();
  });
  FrameReader reader(right.get());
  for (std::uint64_t i = 0; i < 50; ++i) {
    auto frame = reader.Next();
    ASSERT_TRUE(frame && *frame);
    EXPECT_EQ(std::get<CreditFrame>(**frame).job, JobId{i});
  }
  auto end = reader.Next();
  ASSERT_TRUE(end);
  EXPECT_FALSE(*end);
}

TEST(FrameReader, TakesWhatIsWholeWithoutReading) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd left(pair[0]);
  const UniqueFd right(pair[1]);
  FrameReader reader(right.get());
  EXPECT_FALSE(*reader.Take());
  const std::string bytes = EncodeFrame(CancelFrame{JobId{1}});
  ASSERT_TRUE(WriteAll(left.get(), bytes + bytes.substr(0, 6)));
  ASSERT_TRUE(*reader.Fill());
  EXPECT_TRUE(*reader.Take());
  EXPECT_FALSE(*reader.Take()) << "half a frame";
  ASSERT_TRUE(WriteAll(left.get(), bytes.substr(6)));
  ASSERT_TRUE(*reader.Fill());
  EXPECT_TRUE(*reader.Take());
  left.Reset();
  EXPECT_FALSE(*reader.Fill());
}

// A file with these bytes, open.
UniqueFd FileWith(const std::string& bytes) {
  UniqueFd file(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return file;
}

TEST(FrameReader, HandsOutTheFilesOfEachFrame) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd left(pair[0]);
  const UniqueFd right(pair[1]);
  constexpr int kFrames = 20;
  std::jthread writer([&] {
    for (int i = 0; i < kFrames; ++i) {
      GenerateFrame frame;
      // Every third one is longer than a socket takes at once.
      frame.body.prompt.text = std::string(i % 3 == 0 ? std::size_t{1} << 20 : 10, 'x');
      frame.body.adapters.resize(static_cast<std::size_t>(i) % 4);
      std::vector<UniqueFd> files;
      std::vector<int> descriptors;
      for (std::size_t k = 0; k < frame.body.adapters.size(); ++k) {
        files.push_back(FileWith(std::to_string(i * 10 + static_cast<int>(k))));
        descriptors.push_back(files.back().get());
      }
      EXPECT_TRUE(WriteWithFiles(left.get(), EncodeFrame(frame), descriptors));
    }
    left.Reset();
  });
  FrameReader reader(right.get(), /*takes_files=*/true);
  for (int i = 0; i < kFrames; ++i) {
    auto frame = reader.Next();
    ASSERT_TRUE(frame && *frame);
    const auto files = reader.TakeFiles(std::get<GenerateFrame>(**frame).body.adapters.size());
    ASSERT_TRUE(files);
    ASSERT_EQ(files->size(), static_cast<std::size_t>(i) % 4);
    for (std::size_t k = 0; k < files->size(); ++k) {
      char bytes[8] = {};
      EXPECT_GT(::pread((*files)[k].get(), bytes, sizeof(bytes), 0), 0);
      EXPECT_EQ(std::string(bytes), std::to_string(i * 10 + static_cast<int>(k)));
    }
  }
  EXPECT_EQ(reader.TakeFiles(1).error().code, Code::kCorrupt);
}

TEST(FrameReader, SaysThatAFrameWasCut) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd left(pair[0]);
  const UniqueFd right(pair[1]);
  ASSERT_TRUE(WriteAll(left.get(), EncodeFrame(CancelFrame{JobId{1}}).substr(0, 8)));
  left.Reset();
  EXPECT_EQ(FrameReader(right.get()).Next().error().code, Code::kCorrupt);
}

TEST(FrameReader, RefusesAnAbsurdLengthBeforeReadingIt) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd left(pair[0]);
  const UniqueFd right(pair[1]);
  ASSERT_TRUE(WriteAll(left.get(), std::string("\xFF\xFF\xFF\xFF\x03", 5)));
  EXPECT_EQ(FrameReader(right.get()).Next().error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace corral::worker
