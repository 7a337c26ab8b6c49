#include "engine/media_marks.h"

#include <gtest/gtest.h>

#include <vector>

namespace corral::engine {
namespace {

TEST(MediaMarks, AreNoTokensAndNotTheAbsentOne) {
  for (const std::int32_t id : {0, 1, 77, kMediaIds - 1}) {
    EXPECT_TRUE(IsMark(FirstMark(id)));
    EXPECT_TRUE(IsFirstMark(FirstMark(id)));
    EXPECT_TRUE(IsMark(NextMark(id)));
    EXPECT_FALSE(IsFirstMark(NextMark(id)));
  }
  EXPECT_FALSE(IsMark(-1));
  EXPECT_FALSE(IsMark(0));
}

TEST(MediaMarks, DifferForEveryContent) {
  EXPECT_NE(FirstMark(0), FirstMark(1));
  EXPECT_NE(NextMark(0), NextMark(1));
  EXPECT_NE(NextMark(0), FirstMark(1));
  EXPECT_LT(NextMark(kMediaIds - 1), 0) << "the numbers have not run over";
}

TEST(MediaMarks, SayWhereASequenceMayBeCut) {
  // Text, an image of three positions, the same again, text.
  const std::vector<Token> tokens = {
      7, FirstMark(5), NextMark(5), NextMark(5), FirstMark(5), NextMark(5), NextMark(5), 8};
  EXPECT_EQ(CutBesideMedia(tokens, 0), 0U);
  EXPECT_EQ(CutBesideMedia(tokens, 1), 1U);
  EXPECT_EQ(CutBesideMedia(tokens, 2), 1U);
  EXPECT_EQ(CutBesideMedia(tokens, 3), 1U);
  EXPECT_EQ(CutBesideMedia(tokens, 4), 4U);
  EXPECT_EQ(CutBesideMedia(tokens, 6), 4U);
  EXPECT_EQ(CutBesideMedia(tokens, 7), 7U);
  EXPECT_EQ(CutBesideMedia(tokens, 8), 8U);
}

TEST(MediaMarks, KeepAnImageAtAPromptsEndForEvaluation) {
  const std::vector<Token> image_last = {7, 8, FirstMark(5), NextMark(5), NextMark(5)};
  EXPECT_EQ(ReusablePart(image_last).size(), 2U);
  const std::vector<Token> text_last = {7, FirstMark(5), NextMark(5), 8};
  EXPECT_EQ(ReusablePart(text_last).size(), 3U);
  EXPECT_TRUE(ReusablePart({}).empty());
}

}  // namespace
}  // namespace corral::engine
