#include "models/partial.h"

#include <gtest/gtest.h>

#include "models/internal/partial_files.h"

namespace corral::models {
namespace {

using Range = ByteRanges::Range;
using Ranges = std::vector<Range>;

ByteRanges Of(const Ranges& ranges) {
  ByteRanges all;
  for (const Range& range : ranges) all.Add(range.begin, range.end);
  return all;
}

TEST(ByteRanges, JoinWhatTouches) {
  EXPECT_EQ(Of({{10, 20}, {30, 40}}).ranges(), (Ranges{{10, 20}, {30, 40}}));
  EXPECT_EQ(Of({{30, 40}, {10, 20}, {20, 30}}).ranges(), (Ranges{{10, 40}}));
  EXPECT_EQ(Of({{10, 20}, {15, 17}, {0, 12}}).ranges(), (Ranges{{0, 20}}));
  EXPECT_EQ(Of({{1, 2}, {3, 4}, {5, 6}, {0, 9}}).ranges(), (Ranges{{0, 9}}));
  EXPECT_EQ(Of({{5, 5}, {6, 2}}).ranges(), Ranges{});
  EXPECT_EQ(Of({{10, 20}, {30, 40}}).TotalBytes(), 20);
}

TEST(ByteRanges, KnowWhereARunEndsAndTheGapBehindIt) {
  const ByteRanges ranges = Of({{0, 10}, {20, 30}});
  EXPECT_EQ(ranges.RunEnd(0), 10);
  EXPECT_EQ(ranges.RunEnd(9), 10);
  EXPECT_EQ(ranges.RunEnd(10), 10);
  EXPECT_EQ(ranges.RunEnd(25), 30);
  EXPECT_EQ(ranges.FirstGap(0, 100), (Range{10, 20}));
  EXPECT_EQ(ranges.FirstGap(12, 100), (Range{12, 20}));
  EXPECT_EQ(ranges.FirstGap(20, 100), (Range{30, 100}));
  EXPECT_EQ(ranges.FirstGap(0, 15), (Range{10, 15}));
  EXPECT_EQ(ranges.FirstGap(0, 10), std::nullopt);
  EXPECT_EQ(ByteRanges().FirstGap(0, 0), std::nullopt);
}

// Numbers of Ollama's server/download.go.
TEST(PlanParts, IsOllamas) {
  EXPECT_EQ(PlanParts(561), (Ranges{{0, 561}}));
  EXPECT_EQ(PlanParts(100'000'000), (Ranges{{0, 100'000'000}}));
  EXPECT_EQ(PlanParts(100'000'001), (Ranges{{0, 100'000'000}, {100'000'000, 100'000'001}}));
  EXPECT_EQ(PlanParts(2'019'377'376).size(), 16U);
  EXPECT_EQ(PlanParts(2'019'377'376)[1], (Range{126'211'086, 252'422'172}));
  EXPECT_EQ(PlanParts(1'600'000'015).size(), 17U);
  EXPECT_EQ(PlanParts(1'600'000'015).back(), (Range{1'600'000'000, 1'600'000'015}));
  EXPECT_EQ(PlanParts(40'000'000'000).size(), 40U);
  EXPECT_EQ(PlanParts(0), Ranges{});
}

TEST(PartState, IsWrittenAsOllamaWritesIt) {
  EXPECT_EQ(internal::EncodePart(0, {0, 126'211'086}, {}),
            "{\"N\":0,\"Offset\":0,\"Size\":126211086,\"Completed\":0}\n");
  EXPECT_EQ(internal::EncodePart(1, {100, 200}, Of({{0, 150}})),
            "{\"N\":1,\"Offset\":100,\"Size\":100,\"Completed\":50}\n");
  EXPECT_EQ(
      internal::EncodePart(1, {100, 200}, Of({{90, 110}, {150, 160}, {180, 300}})),
      "{\"N\":1,\"Offset\":100,\"Size\":100,\"Completed\":10,\"Ranges\":[[150,160],[180,200]]}\n");
}

TEST(PartState, IsReadBackAndOtherwiseNotBelieved) {
  ByteRanges present;
  internal::AddPart(internal::EncodePart(1, {100, 200}, Of({{90, 110}, {150, 160}})), 1000,
                    &present);
  EXPECT_EQ(present.ranges(), (Ranges{{100, 110}, {150, 160}}));
  for (const char* text : {"", "{", "null", "[]", R"({"N":0,"Offset":0,"Size":10})",
                           R"({"N":0,"Offset":-1,"Size":10,"Completed":5})",
                           R"({"N":0,"Offset":0,"Size":10,"Completed":11})",
                           R"({"N":0,"Offset":990,"Size":11,"Completed":5})",
                           R"({"N":0,"Offset":9223372036854775807,"Size":10,"Completed":5})",
                           R"({"N":0,"Offset":18446744073709551615,"Size":10,"Completed":5})",
                           R"({"N":0,"Offset":0.5,"Size":10,"Completed":5})",
                           R"({"N":0,"Offset":"0","Size":10,"Completed":5})"}) {
    ByteRanges none;
    internal::AddPart(text, 1000, &none);
    EXPECT_EQ(none, ByteRanges()) << text;
  }
  ByteRanges odd;
  internal::AddPart(
      R"({"N":0,"Offset":10,"Size":10,"Completed":1,"Ranges":[[0,5],[15,99],[13],7,[18,19]]})",
      1000, &odd);
  EXPECT_EQ(odd.ranges(), (Ranges{{10, 11}, {18, 19}}));
}

TEST(PartState, GroupsAreKnownByTheirNames) {
  const std::string digest = "sha256-" + std::string(64, 'a');
  EXPECT_EQ(internal::PartialGroup(digest + "-partial"), digest + "-partial");
  EXPECT_EQ(internal::PartialGroup(digest + "-partial-12"), digest + "-partial");
  for (const std::string& name : {digest, digest + "-partial-", digest + "-partial-x",
                                  digest + "-partialx", std::string("sha256-aa-partial")}) {
    EXPECT_EQ(internal::PartialGroup(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace corral::models
