#include "api/json_writer.h"

#include <gtest/gtest.h>

#include <limits>

namespace corral::api {
namespace {

template <class T>
std::string Written(T value) {
  JsonWriter writer;
  writer.Value(value);
  return writer.Take();
}

TEST(JsonWriter, SeparatesFieldsAndElements) {
  JsonWriter writer;
  writer.BeginObject()
      .Field("a", 1)
      .Key("b")
      .BeginArray()
      .Value("x")
      .BeginObject()
      .EndObject()
      .Value(true)
      .EndArray();
  writer.Key("c")
      .Null()
      .FieldUnlessEmpty("d", "")
      .FieldUnlessZero("e", 0)
      .FieldUnlessZero("f", -2)
      .EndObject();
  EXPECT_EQ(writer.Take(), R"({"a":1,"b":["x",{},true],"c":null,"f":-2})");
}

TEST(JsonWriter, EscapesWhatJsonMustAndKeepsTheRest) {
  EXPECT_EQ(Written("a\"b\\c\n\r\t\b\f\x01/<é€😀"), R"("a\"b\\c\n\r\t\b\f\u0001/<é€😀")");
}

TEST(JsonWriter, ReplacesBrokenUtf8) {
  EXPECT_EQ(Written(std::string("a\xC3(\xED\xA0\x80\xF0\x9F")),
            "\"a\uFFFD(\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\"");
}

TEST(JsonWriter, WritesFloatsWithTheFewestDigitsOfTheirWidth) {
  EXPECT_EQ(Written(0.1F), "0.1");
  EXPECT_EQ(Written(static_cast<double>(0.1F)), "0.10000000149011612");
  EXPECT_EQ(Written(-0.0F), "-0");
  EXPECT_EQ(Written(3.0), "3");
  EXPECT_EQ(Written(12345678901.0), "12345678901");
}

TEST(JsonWriter, UsesExponentsWhereGoDoes) {
  EXPECT_EQ(Written(0.000001F), "0.000001");
  EXPECT_EQ(Written(1e-7F), "1e-7");
  EXPECT_EQ(Written(1.5e-12F), "1.5e-12");
  EXPECT_EQ(Written(1e20), "100000000000000000000");
  EXPECT_EQ(Written(1e21), "1e+21");
}

TEST(JsonWriter, WritesNullForWhatIsNoNumber) {
  EXPECT_EQ(Written(std::numeric_limits<double>::quiet_NaN()), "null");
  EXPECT_EQ(Written(std::numeric_limits<float>::infinity()), "null");
}

}  // namespace
}  // namespace corral::api
