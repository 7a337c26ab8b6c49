#include "convert/sentencepiece.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace corral::convert {
namespace {

std::string RealModel() {
  std::ifstream file(std::string(CORRAL_CONVERT_DATA) + "/mistral/tokenizer.model",
                     std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

TEST(SentencePieceTest, ReadsTextsScoresAndTypes) {
  const auto pieces = ParseSentencePieces(RealModel());
  ASSERT_TRUE(pieces) << pieces.error().message;
  ASSERT_GT(pieces->size(), 261U);
  EXPECT_EQ((*pieces)[1].text, "</s>");
  EXPECT_EQ((*pieces)[1].type, SentencePiece::kControl);
  EXPECT_EQ((*pieces)[3].type, SentencePiece::kUnknown);
  EXPECT_EQ((*pieces)[4].text, "<start>");
  EXPECT_EQ((*pieces)[4].type, SentencePiece::kUserDefined);
  EXPECT_EQ((*pieces)[5].text, "<0x00>");
  EXPECT_EQ((*pieces)[5].type, SentencePiece::kByte);
  EXPECT_LT(pieces->back().score, 0.0F);
}

TEST(SentencePieceTest, RefusesWhatIsNoModel) {
  EXPECT_FALSE(ParseSentencePieces(""));
  EXPECT_FALSE(ParseSentencePieces("hello"));
  // A piece that says it is longer than the file.
  EXPECT_FALSE(ParseSentencePieces("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F"));
  EXPECT_FALSE(ParseSentencePieces("\x0A\x02\x0A\x05"));
  // A number without end.
  EXPECT_FALSE(ParseSentencePieces(std::string(64, '\xFF')));
}

}  // namespace
}  // namespace corral::convert
