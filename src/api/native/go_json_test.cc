#include "api/native/go_json.h"

#include <gtest/gtest.h>

namespace corral::api {
namespace {

std::string SyntaxError(std::string_view body) {
  const auto value = FirstValue(body);
  return value ? "ok: " + std::string(*value) : value.error().message;
}

TEST(FirstValue, WantsABody) {
  EXPECT_EQ(SyntaxError(""), "missing request body");
  EXPECT_EQ(SyntaxError(" \r\n\t"), "missing request body");
}

TEST(FirstValue, SaysWhenABodyIsCutShort) {
  for (const std::string_view body : {"{", "[", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "\"a",
                                      "\"\\", "\"\\u12", "tru", "-", "1.", "1e", "1e+", "[1,"}) {
    EXPECT_EQ(SyntaxError(body), "unexpected EOF") << body;
  }
}

TEST(FirstValue, HasGosTextsForWrongCharacters) {
  EXPECT_EQ(SyntaxError("hello"), "invalid character 'h' looking for beginning of value");
  EXPECT_EQ(SyntaxError("{,}"), "invalid character ',' looking for beginning of object key string");
  EXPECT_EQ(SyntaxError("{\"a\":1,}"),
            "invalid character '}' looking for beginning of object key string");
  EXPECT_EQ(SyntaxError("{\"a\" 1}"), "invalid character '1' after object key");
  EXPECT_EQ(SyntaxError("{\"a\":1 2}"), "invalid character '2' after object key:value pair");
  EXPECT_EQ(SyntaxError("[1 2]"), "invalid character '2' after array element");
  EXPECT_EQ(SyntaxError("[1}"), "invalid character '}' after array element");
  EXPECT_EQ(SyntaxError("[,]"), "invalid character ',' looking for beginning of value");
  EXPECT_EQ(SyntaxError("trux"), "invalid character 'x' in literal true (expecting 'e')");
  EXPECT_EQ(SyntaxError("nul1"), "invalid character '1' in literal null (expecting 'l')");
  EXPECT_EQ(SyntaxError("-x"), "invalid character 'x' in numeric literal");
  EXPECT_EQ(SyntaxError("1.x"), "invalid character 'x' after decimal point in numeric literal");
  EXPECT_EQ(SyntaxError("1ex"), "invalid character 'x' in exponent of numeric literal");
  EXPECT_EQ(SyntaxError("\"\n\""), "invalid character '\\n' in string literal");
  EXPECT_EQ(SyntaxError("\"\\x\""), "invalid character 'x' in string escape code");
  EXPECT_EQ(SyntaxError("\"\\u12g4\""),
            "invalid character 'g' in \\u hexadecimal character escape");
  EXPECT_EQ(SyntaxError("'a'"), "invalid character '\\'' looking for beginning of value");
  EXPECT_EQ(SyntaxError("{\"a\":1}}"), "ok: {\"a\":1}");
  EXPECT_EQ(SyntaxError("\xC3\xA9"), "invalid character 'Ã' looking for beginning of value");
  EXPECT_EQ(SyntaxError(std::string_view("\0", 1)),
            "invalid character '\\x00' looking for beginning of value");
}

TEST(FirstValue, IgnoresWhatFollows) {
  EXPECT_EQ(SyntaxError(" {\"a\":[1,{}]} trailing"), "ok: {\"a\":[1,{}]}");
  EXPECT_EQ(SyntaxError("12abc"), "ok: 12");
  EXPECT_EQ(SyntaxError("01"), "ok: 0");
  EXPECT_EQ(SyntaxError("null,"), "ok: null");
  EXPECT_EQ(SyntaxError("-0.5e+10]"), "ok: -0.5e+10");
}

TEST(FirstValue, LimitsNesting) {
  const std::string deep(kMaxJsonDepth, '[');
  EXPECT_EQ(SyntaxError(deep), "unexpected EOF");
  EXPECT_EQ(SyntaxError(deep + "["), "exceeded max depth");
  EXPECT_EQ(SyntaxError(std::string(10'000'000, '[')), "exceeded max depth");
}

TEST(UnquoteJson, ReadsEscapesAndSurrogates) {
  EXPECT_EQ(UnquoteJson(R"("a\n\t\"\\\/\b\f\r\u00e9\ud83d\ude00")"), "a\n\t\"\\/\b\f\ré😀");
  EXPECT_EQ(UnquoteJson(R"("\ud83d \ude00 \ud83d\ud83d\ude00")"), "\uFFFD \uFFFD \uFFFD😀");
  EXPECT_EQ(UnquoteJson("\"\xff\xC3\""), "\uFFFD\uFFFD");
}

TEST(CompactJson, DropsBlanksAndRepairsStrings) {
  EXPECT_EQ(CompactJson("{ \"a b\" : [ 1.50 , true,null ] ,\n\"c\":\"\xff \\u0041\\\"\" }"),
            "{\"a b\":[1.50,true,null],\"c\":\"\uFFFD A\\\"\"}");
}

struct Inner {
  std::string text;
  bool flag = false;
};
struct Outer {
  std::string name;
  std::int64_t number = 7;
  std::optional<bool> maybe;
  std::vector<Inner> list;
};

Result<Outer> ReadOuter(std::string_view body) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  Outer out;
  const std::vector<JsonField> fields = {
      {"name", [&](Decoder& d) { d.Read(&out.name); }},
      {"number", [&](Decoder& d) { d.Read(&out.number); }},
      {"maybe", [&](Decoder& d) { d.Read(&out.maybe); }},
      {"list", [&](Decoder& d) {
         out.list.clear();
         d.ReadArray("[]api.Inner", [&](Decoder& element) {
           Inner inner;
           const std::vector<JsonField> inner_fields = {
               {"text", [&](Decoder& at) { at.Read(&inner.text); }},
               {"flag", [&](Decoder& at) { at.Read(&inner.flag); }}};
           element.ReadStruct("api.Inner", inner_fields);
           out.list.push_back(inner);
         });
       }}};
  Decoder decoder(value);
  decoder.ReadStruct("api.Outer", fields);
  CORRAL_TRY_STATUS(decoder.status());
  return out;
}

std::string TypeError(std::string_view body) {
  const auto outer = ReadOuter(body);
  return outer ? "ok" : outer.error().message;
}

TEST(Decoder, MatchesNamesWithoutCaseAndLetsTheLastWin) {
  const auto outer =
      ReadOuter(R"({"NAME":"a","zzz":{"name":["deep"]},"Name":"b","number":1,"number":2})");
  ASSERT_TRUE(outer);
  EXPECT_EQ(outer->name, "b");
  EXPECT_EQ(outer->number, 2);
}

TEST(Decoder, TakesNullAsAbsent) {
  const auto outer = ReadOuter(R"({"name":null,"number":null,"maybe":null,"list":null})");
  ASSERT_TRUE(outer);
  EXPECT_EQ(outer->number, 7);
  EXPECT_FALSE(outer->maybe.has_value());
  EXPECT_TRUE(ReadOuter("null"));
}

TEST(Decoder, ReadsNestedListsAndEscapedKeys) {
  const auto outer = ReadOuter(
      R"( { "li\u0073t" : [ { "text" : "x" } , null , {"flag":true} ] , "maybe" : false } )");
  ASSERT_TRUE(outer);
  ASSERT_EQ(outer->list.size(), 3U);
  EXPECT_EQ(outer->list[0].text, "x");
  EXPECT_TRUE(outer->list[2].flag);
  EXPECT_EQ(outer->maybe, std::optional(false));
}

TEST(Decoder, HasGosTextsForWrongTypes) {
  EXPECT_EQ(TypeError("[]"), "json: cannot unmarshal array into Go value of type api.Outer");
  EXPECT_EQ(TypeError("1"), "json: cannot unmarshal number into Go value of type api.Outer");
  EXPECT_EQ(TypeError(R"({"name":1})"),
            "json: cannot unmarshal number into Go struct field Outer.name of type string");
  EXPECT_EQ(TypeError(R"({"number":1.5})"),
            "json: cannot unmarshal number 1.5 into Go struct field Outer.number of type int");
  EXPECT_EQ(TypeError(R"({"number":"1"})"),
            "json: cannot unmarshal string into Go struct field Outer.number of type int");
  EXPECT_EQ(TypeError(R"({"number":99999999999999999999})"),
            "json: cannot unmarshal number 99999999999999999999 into Go struct field Outer.number "
            "of type int");
  EXPECT_EQ(TypeError(R"({"maybe":{}})"),
            "json: cannot unmarshal object into Go struct field Outer.maybe of type bool");
  EXPECT_EQ(TypeError(R"({"list":[{"text":[]}]})"),
            "json: cannot unmarshal array into Go struct field Outer.list.text of type string");
}

TEST(Decoder, ReportsTheFirstWrongTypeAndReadsOn) {
  EXPECT_EQ(TypeError(R"({"name":[{"a":[1,"]"]}],"number":true})"),
            "json: cannot unmarshal array into Go struct field Outer.name of type string");
}

TEST(Decoder, StopsAtTooManyElements) {
  std::string body = "{\"list\":[0";
  for (std::size_t i = 0; i < kMaxJsonElements; ++i) body += ",0";
  EXPECT_EQ(TypeError(body + "]}"), "too many elements in an array");
}

TEST(Decoder, ReadsFloatsAsGoReadsAFloat32) {
  const auto read = [](std::string_view text) {
    Decoder decoder(text);
    float value = 7;
    const JsonField field = {"x", [&](Decoder& at) { at.Read(&value); }};
    decoder.ReadStruct("api.T", std::span(&field, 1));
    return decoder.status() ? std::to_string(value) : decoder.status().error().message;
  };
  EXPECT_EQ(read(R"({"x":0.5})"), "0.500000");
  EXPECT_EQ(read(R"({"x":-3})"), "-3.000000");
  EXPECT_EQ(read(R"({"x":1e-400})"), "0.000000");
  EXPECT_EQ(read(R"({"x":null})"), "7.000000");
  EXPECT_EQ(read(R"({"x":1e39})"),
            "json: cannot unmarshal number 1e39 into Go struct field T.x of type float32");
  EXPECT_EQ(read(R"({"x":"1"})"),
            "json: cannot unmarshal string into Go struct field T.x of type float32");
}

}  // namespace
}  // namespace corral::api
