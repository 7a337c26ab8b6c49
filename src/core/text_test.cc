#include "core/text.h"

#include <gtest/gtest.h>

#include <string>

namespace corral {
namespace {

using std::string_literals::operator""s;

TEST(Utf8, DecodesEveryLength) {
  EXPECT_EQ(DecodeRune("a").value, U'a');
  EXPECT_EQ(DecodeRune("\u00e9x").value, U'\u00e9');
  EXPECT_EQ(DecodeRune("\u20ac").size, 3U);
  EXPECT_EQ(DecodeRune("\U0001F600").value, U'\U0001F600');
  EXPECT_EQ(DecodeRune("\0"s).value, U'\0');
  EXPECT_EQ(DecodeRune("").size, 0U);
}

TEST(Utf8, RefusesWhatRfc3629Refuses) {
  EXPECT_TRUE(IsValidUtf8(""));
  EXPECT_TRUE(IsValidUtf8("a\u00e9\u20ac\U0001F600\U0010FFFF"));
  for (const char* bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3", "\xE2\x82",
        "\xF0\x9F\x98", "\xE2\x28\xA1"}) {
    EXPECT_FALSE(IsValidUtf8(bad)) << HexEncode(bad);
    EXPECT_EQ(DecodeRune(bad).size, 1U) << HexEncode(bad);
    EXPECT_EQ(DecodeRune(bad).value, kReplacementRune);
  }
}

TEST(Utf8, ReplacesEachInvalidByte) {
  EXPECT_EQ(ReplaceInvalidUtf8("a\xFF\xFE"
                               "b"),
            "a\uFFFD\uFFFD"
            "b");
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82"), "\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\u20ac"), "\u20ac");
}

TEST(Utf8, AppendsWhatItDecodes) {
  for (const char32_t rune : {U'\0', U'a', U'\u007f', U'\u0080', U'\u07ff', U'\u0800', U'\uffff',
                              U'\U00010000', U'\U0010FFFF'}) {
    std::string text;
    AppendRune(text, rune);
    EXPECT_TRUE(DecodeRune(text).is_valid);
    EXPECT_EQ(DecodeRune(text).value, rune);
    EXPECT_EQ(DecodeRune(text).size, text.size());
  }
  std::string surrogate;
  AppendRune(surrogate, 0xD800);
  AppendRune(surrogate, 0x110000);
  EXPECT_EQ(surrogate, "\uFFFD\uFFFD");
}

TEST(Utf8, FindsTheIncompleteEnd) {
  EXPECT_EQ(IncompleteUtf8Suffix(""), 0U);
  EXPECT_EQ(IncompleteUtf8Suffix("abc"), 0U);
  EXPECT_EQ(IncompleteUtf8Suffix("a\u20ac"), 0U);
  EXPECT_EQ(IncompleteUtf8Suffix("a\xC3"), 1U);
  EXPECT_EQ(IncompleteUtf8Suffix("a\xE2"), 1U);
  EXPECT_EQ(IncompleteUtf8Suffix("a\xE2\x82"), 2U);
  EXPECT_EQ(IncompleteUtf8Suffix("\xF0\x9F\x98"), 3U);
  EXPECT_EQ(IncompleteUtf8Suffix("\xF0\x9F\x98\x80"), 0U);
  // These can't become valid any more: nothing to wait for.
  EXPECT_EQ(IncompleteUtf8Suffix("a\xFF"), 0U);
  EXPECT_EQ(IncompleteUtf8Suffix("a\xED\xA0"), 0U);
  EXPECT_EQ(IncompleteUtf8Suffix("\x80\x80\x80\x80"), 0U);
}

TEST(Text, TrimsUnicodeBlanks) {
  EXPECT_EQ(TrimSpace(" \t\r\n\v\f a b \u00a0\u3000\u2028"), "a b");
  EXPECT_EQ(TrimSpace("\u0085x\u0085"), "x");
  EXPECT_EQ(TrimSpace(" \u2003 "), "");
  EXPECT_EQ(TrimSpace("\x85x\xA0"), "\x85x\xA0");  // bytes that are no UTF-8 are no blanks
  EXPECT_EQ(TrimSpace("\u200b"), "\u200b");        // zero width: no blank to Unicode
}

TEST(Text, SplitsAtEverySeparator) {
  EXPECT_EQ(Split("a,,b,", ','), (std::vector<std::string_view>{"a", "", "b", ""}));
  EXPECT_EQ(Split("", ','), (std::vector<std::string_view>{""}));
}

TEST(Text, ParsesWholeNumbersOnly) {
  EXPECT_EQ(ParseUint("0"), 0U);
  EXPECT_EQ(ParseUint("18446744073709551615"), UINT64_MAX);
  for (const char* bad :
       {"", "18446744073709551616", "-1", "+1", " 1", "1 ", "0x10", "1.5", "1_000"}) {
    EXPECT_EQ(ParseUint(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(ParseInt("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(ParseInt("+7"), 7);
  EXPECT_EQ(ParseInt("-0"), 0);
  for (const char* bad : {"", "-", "+", "+-1", "--1", "9223372036854775808", "1a"}) {
    EXPECT_EQ(ParseInt(bad), std::nullopt) << bad;
  }
}

TEST(Hex, GoesBothWays) {
  EXPECT_EQ(HexEncode("\x00\xff\x1a"s), "00ff1a");
  EXPECT_EQ(HexDecode("00FF1a").value(), "\x00\xff\x1a"s);
  EXPECT_EQ(HexDecode("").value(), "");
  EXPECT_FALSE(HexDecode("abc"));
  EXPECT_EQ(HexDecode("0g").error().message, "invalid hex digit at input byte 1");
}

TEST(Base64, HasTheVectorsOfRfc4648) {
  const std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"},
                                                          {"\xfb\xff\xfe", "+//+"}};
  for (const auto& [plain, encoded] : kVectors) {
    EXPECT_EQ(Base64Encode(plain), encoded);
    EXPECT_EQ(Base64Decode(encoded).value(), plain);
  }
}

TEST(Base64, SkipsLineEndsAsGoDoes) {
  EXPECT_EQ(Base64Decode("Zm9v\r\nYmFy\n").value(), "foobar");
  EXPECT_EQ(Base64Decode("Z\ng=\n=\n").value(), "f");
}

// Positions from Go's encoding/base64 tests (base64_test.go, TestDecodeCorrupt).
TEST(Base64, SaysWhereAsGoDoes) {
  const std::pair<const char*, int> kVectors[] = {
      {"!!!!", 0},  {"====", 0},    {"x===", 1},        {"=AAA", 0},    {"A=AA", 1},
      {"AA=A", 2},  {"AA==A", 4},   {"AAA=AAAA", 4},    {"AAAAA", 4},   {"AAAAAA", 4},
      {"A=", 1},    {"A==", 1},     {"AA=", 3},         {"AA==\n", -1}, {"AAA=", -1},
      {"AAAA", -1}, {"AAAAAA=", 7}, {"YWJjZA=====", 8}, {"A!\n", 1},    {"A=\n", 1}};
  for (const auto& [text, offset] : kVectors) {
    const auto decoded = Base64Decode(text);
    if (offset < 0) {
      EXPECT_TRUE(decoded) << text;
      continue;
    }
    ASSERT_FALSE(decoded) << text;
    EXPECT_EQ(decoded.error().message,
              "illegal base64 data at input byte " + std::to_string(offset))
        << text;
    EXPECT_EQ(decoded.error().code, Code::kInvalidArgument);
  }
}

TEST(GoQuote, EscapesAsStrconvQuote) {
  EXPECT_EQ(GoQuote("plain"), R"("plain")");
  EXPECT_EQ(GoQuote("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(GoQuote("\a\b\f\n\r\t\v"), R"("\a\b\f\n\r\t\v")");
  EXPECT_EQ(GoQuote("\x01\x7f"), R"("\x01\x7f")");
  EXPECT_EQ(GoQuote("caf\u00e9 \u20ac \U0001F600"), "\"caf\u00e9 \u20ac \U0001F600\"");
  EXPECT_EQ(GoQuote("\u00a0\u200b\u2028\ufeff"), R"("\u00a0\u200b\u2028\ufeff")");
  EXPECT_EQ(GoQuote("\U000E0001"), R"("\U000e0001")");
  EXPECT_EQ(GoQuote("\xff\xc3"), R"("\xff\xc3")");
}

}  // namespace
}  // namespace corral
