// Every token that is shown comes with its log-probability, once, and with its text or before it:
// also where stop strings and the reader of the answer hold text back.
#include <algorithm>
#include <string>
#include <vector>

#include "bench.h"

namespace corral::engine {
namespace {

std::string TextOf(const std::vector<TokenLogprob>& logprobs, std::size_t n = std::string::npos) {
  std::string text;
  for (std::size_t i = 0; i < std::min(n, logprobs.size()); ++i) text += logprobs[i].token;
  return text;
}

GenerateJob Chat(std::string go_template, int num_predict = 24) {
  GenerateJob job = Greedy("", num_predict);
  job.is_chat = true;
  job.prompt.kind = PromptSource::Kind::kMessages;
  job.prompt.go_template = std::move(go_template);
  job.prompt.think = Think{true, ""};
  ChatMessage question;
  question.role = "user";
  question.content = Words(20, 4);
  job.prompt.messages = {question};
  return job;
}

// A template that puts `open` and `close` around thinking.
std::string ThinkingBetween(const std::string& open, const std::string& close) {
  return "{{ range .Messages }}{{ if .Thinking }}" + open + "{{ .Thinking }}" + close +
         "{{ end }}{{ .Content }}{{ end }}";
}

std::string Bare(const std::string& token) { return token.substr(token.find_first_not_of(' ')); }

class EngineLogprobs : public ::testing::Test {
 protected:
  EngineLogprobs() : bench_(EndlessModel()) {
    plain_ = bench_.Run(Chat("{{ range .Messages }}{{ .Content }}{{ end }}"));
    EXPECT_EQ(plain_.logprobs.size(), 24U) << plain_.error().message;
    EXPECT_EQ(TextOf(plain_.logprobs), plain_.text);
  }

  // The first `n` tokens of the plain answer, and no others.
  void ExpectFirst(const Story& story, std::size_t n) const {
    ASSERT_TRUE(story.IsFinished()) << story.error().message;
    ASSERT_EQ(story.logprobs.size(), n) << TextOf(story.logprobs) << " / " << plain_.text;
    for (std::size_t i = 0; i < n; ++i)
      EXPECT_EQ(story.logprobs[i].token, plain_.logprobs[i].token) << i;
  }
  std::string Token(std::size_t i) const { return plain_.logprobs.at(i).token; }

  Bench bench_;
  Story plain_;
};

TEST_F(EngineLogprobs, ComeWithTheirTextWhereItMayBecomeAStopString) {
  // Each token may begin it, and none does.
  for (const std::string& begin : {Token(0), Token(3).substr(1), plain_.text.substr(0, 60),
                                   plain_.text.substr(plain_.text.size() - 12)}) {
    GenerateJob job = Chat("{{ range .Messages }}{{ .Content }}{{ end }}");
    job.sampling.stop = {begin + "\x01"};
    const Story story = bench_.Run(job);
    EXPECT_EQ(story.text, plain_.text);
    ExpectFirst(story, plain_.logprobs.size());
    std::string text;
    std::vector<TokenLogprob> told;
    for (const Piece& piece : story.pieces) {
      text += piece.text;
      told.insert(told.end(), piece.logprobs.begin(), piece.logprobs.end());
      EXPECT_TRUE(TextOf(told).starts_with(text)) << "a text without its tokens";
      EXPECT_LT(TextOf(told, told.size() - 1).size(), text.size()) << "a token without its text";
    }
  }
}

TEST_F(EngineLogprobs, OfAStopStringsOwnTokensAreNotTold) {
  int n_places = 0;
  for (std::size_t i = 3; i + 1 < plain_.logprobs.size(); ++i) {
    const std::string& token = Token(i);
    // The last character of a token and the beginning of the next one.
    const std::string stop = token.substr(token.size() - 1) + Token(i + 1).substr(0, 3);
    const std::size_t at = plain_.text.find(stop);
    if (token.size() < 5 || at + 1 != TextOf(plain_.logprobs, i + 1).size()) continue;
    ++n_places;
    GenerateJob job = Chat("{{ range .Messages }}{{ .Content }}{{ end }}");
    // The second holds back more of the token than the first does.
    for (const std::vector<std::string>& stops :
         {std::vector<std::string>{stop}, {stop, token.substr(token.size() - 3) + "\x01"}}) {
      job.sampling.stop = stops;
      const Story story = bench_.Run(job);
      EXPECT_EQ(story.text, plain_.text.substr(0, at));
      ExpectFirst(story, i + 1);
    }
    // And one that is all of the next token.
    if (plain_.text.find(Token(i + 1)) != at + 1) continue;
    job.sampling.stop = {Token(i + 1)};
    ExpectFirst(bench_.Run(job), i + 1);
  }
  EXPECT_GT(n_places, 0) << "else the test could not fail";
}

TEST_F(EngineLogprobs, OfThinkingAndItsMarksAreTold) {
  const std::string open = Bare(Token(0) + Token(1)), close = Bare(Token(6) + Token(7));
  const Story story = bench_.Run(Chat(ThinkingBetween(open, close)));
  ASSERT_FALSE(story.thinking.empty()) << story.text;
  ASSERT_FALSE(story.text.empty()) << story.thinking;
  ExpectFirst(story, plain_.logprobs.size());
  std::size_t n_shown = 0, n_told = 0;
  for (const Piece& piece : story.pieces) {
    n_shown += piece.thinking.size() + piece.text.size();
    n_told += TextOf(piece.logprobs).size();
    EXPECT_LE(n_shown, n_told) << "a text without its tokens";
  }
}

TEST_F(EngineLogprobs, OfWhatIsHeldToTheEndAreTold) {
  // All of the answer may become the opening mark.
  const std::string template_text = ThinkingBetween(Bare(plain_.text) + "!", "</think>");
  const Story story = bench_.Run(Chat(template_text));
  EXPECT_TRUE(story.thinking.empty());
  EXPECT_EQ(Bare(story.text), Bare(plain_.text));
  ExpectFirst(story, plain_.logprobs.size());

  // The same where a stop string ends it.
  GenerateJob job = Chat(template_text);
  std::size_t n = 2;
  while (n + 2 < plain_.logprobs.size() &&
         plain_.text.find(Token(n) + Token(n + 1)) != TextOf(plain_.logprobs, n).size())
    ++n;
  job.sampling.stop = {Token(n) + Token(n + 1)};
  const std::size_t at = plain_.text.find(job.sampling.stop[0]);
  ASSERT_EQ(at, TextOf(plain_.logprobs, n).size()) << plain_.text;
  const Story stopped = bench_.Run(job);
  EXPECT_EQ(Bare(stopped.text), Bare(plain_.text.substr(0, at)));
  ExpectFirst(stopped, n);
}

}  // namespace
}  // namespace corral::engine
