#include "cli/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace corral::cli {
namespace {

using ::testing::HasSubstr;

constexpr Timestamp kNow{1'800'000'000, 0};

Timestamp Ago(std::int64_t seconds) { return {kNow.seconds - seconds, 0}; }

TEST(ListTable, IsAHeaderWithoutModels) {
  EXPECT_EQ(ListTable({}, "", kNow), "NAME    ID    SIZE    MODIFIED \n");
}

TEST(ListTable, ShowsAModel) {
  EXPECT_EQ(ListTable({{"model1", "sha256:abc123def", 1024, Ago(24 * 3600), false}}, "", kNow),
            "NAME      ID              SIZE      MODIFIED     \n"
            "model1    sha256:abc12    1.0 KB    24 hours ago    \n");
}

TEST(ListTable, HasADashForTheSizeOfARemoteModel) {
  EXPECT_EQ(ListTable({{"m", "abc12", 1024, Ago(60), true}}, "", kNow),
            "NAME    ID       SIZE    MODIFIED           \n"
            "m       abc12    -       About a minute ago    \n");
}

TEST(ListTable, FiltersByPrefixWithoutRegardToCase) {
  const std::vector<ListedModel> models = {{"Llama:latest", "a", 1, Ago(0), false},
                                           {"qwen:latest", "b", 1, Ago(0), false}};
  EXPECT_THAT(ListTable(models, "llAMA", kNow), HasSubstr("Llama:latest"));
  EXPECT_THAT(ListTable(models, "llAMA", kNow), ::testing::Not(HasSubstr("qwen")));
}

TEST(PsTable, SaysWhereAModelComputes) {
  EXPECT_EQ(ProcessorText({"m", "", 100, 52, 0, {}}), "48%/52% CPU/GPU");
  EXPECT_EQ(ProcessorText({"m", "", 100, 0, 0, {}}), "100% CPU");
  EXPECT_EQ(ProcessorText({"m", "", 100, 100, 0, {}}), "100% GPU");
  EXPECT_EQ(ProcessorText({"m", "", 100, 101, 0, {}}), "Unknown");
  EXPECT_EQ(ProcessorText({"m", "", 0, 1, 0, {}}), "Unknown");
}

TEST(PsTable, ShowsUntilWhenAModelStays) {
  EXPECT_EQ(PsTable({{"model1", "abc12", 1024, 532, 4096, Ago(-270)}}, "", kNow),
            "NAME      ID       SIZE      PROCESSOR          CONTEXT    UNTIL              \n"
            "model1    abc12    1.0 KB    48%/52% CPU/GPU    4096       4 minutes from now    \n");
  EXPECT_THAT(PsTable({{"m", "a", 1, 0, 1, Ago(1)}}, "", kNow), HasSubstr("Stopping...    \n"));
  EXPECT_THAT(PsTable({{"m", "a", 1, 0, 1, Timestamp::GoZero()}}, "", kNow),
              HasSubstr("Never    \n"));
  EXPECT_THAT(PsTable({{"m", "a", 1, 0, 1, Ago(-200LL * 365 * 86400)}}, "", kNow),
              HasSubstr("Forever    \n"));
}

// The expected layouts below were printed by tablewriter 0.0.5 with Ollama's settings.
TEST(Section, PadsEveryColumnAlsoTheLast) {
  EXPECT_EQ(Section("Parameters", {{"", "stop", "\"<|im_start|>\""},
                                   {"", "stop", "\"a", "long", "thing", "of", "words\""},
                                   {"", "temperature", "0.7"}}),
            "  Parameters\n"
            "    stop           \"<|im_start|>\"    \n"
            "    stop           \"a                long    thing    of    words\"    \n"
            "    temperature    0.7               \n"
            "\n");
}

TEST(Section, WrapsCellsAtBlanksAfter30Columns) {
  EXPECT_EQ(
      Section("Metadata",
              {{"", "general.name",
                "a very long text value that goes over thirty columns by a good deal and more"},
               {"", "k.averyveryveryveryveryverylongkeyname.indeed", "1"}}),
      "  Metadata\n"
      "    general.name                                     a very long text value that       \n"
      "                                                       goes over thirty columns by a     \n"
      "                                                       good deal and more                \n"
      "    k.averyveryveryveryveryverylongkeyname.indeed    1                                 \n"
      "\n");
}

TEST(Section, WrapsTextsAfter100Columns) {
  EXPECT_EQ(Section("License",
                    {{"",
                      "Apache License is a very long licence text that runs on and on for more "
                      "than one hundred "
                      "columns so that it has to wrap somewhere near here, right?"}},
                    100),
            "  License\n"
            "    Apache License is a very long licence text that runs on and on for more than one "
            "hundred columns so "
            "    \n"
            "      that it has to wrap somewhere near here, right?                                 "
            "                   "
            "     \n"
            "\n");
}

TEST(Section, KeepsEmptyCellsAndCountsWideCharacters) {
  EXPECT_EQ(Section("Empty", {{"", "x", ""}, {"", "", "y"}}),
            "  Empty\n    x         \n         y    \n\n");
  EXPECT_EQ(Section("wide", {{"", "日本語", "y"}, {"", "a", "z"}}),
            "  wide\n    日本語    y    \n    a         z    \n\n");
}

TEST(ShowText, WithoutModelInfoShowsTheDetails) {
  ShowReply reply;
  reply.family = "test";
  reply.parameter_size = "7B";
  reply.quantization_level = "FP16";
  EXPECT_EQ(ShowText(reply, false),
            "  Model\n    architecture    test    \n    parameters      7B      \n    quantization "
            "   FP16    \n\n");
}

TEST(ShowText, ShowsCapabilitiesParametersAndTheHeadsOfTexts) {
  ShowReply reply;
  reply.model_info = InfoMap{{"general.architecture", std::string("llama")},
                             {"general.parameter_count", 134515008.0},
                             {"llama.context_length", 131072.0},
                             {"llama.embedding_length", 576.0}};
  reply.quantization_level = "Q4_1";
  reply.capabilities = {"completion"};
  reply.parameters =
      "stop                           \"<|im_end|>\"\ntemperature                    0.7";
  reply.system = "One.\n\n  Two.\nThree.";
  EXPECT_EQ(ShowText(reply, false),
            "  Model\n"
            "    architecture        llama      \n"
            "    parameters          134.52M    \n"
            "    context length      131072     \n"
            "    embedding length    576        \n"
            "    quantization        Q4_1       \n"
            "\n"
            "  Capabilities\n"
            "    completion    \n"
            "\n"
            "  Parameters\n"
            "    stop           \"<|im_end|>\"    \n"
            "    temperature    0.7             \n"
            "\n"
            "  System\n"
            "    One.    \n"
            "    Two.    \n"
            "    ...     \n"
            "\n");
}

TEST(ShowText, VerboseAddsMetadataAndTensors) {
  ShowReply reply;
  reply.model_info = InfoMap{{"a.flag", true},
                             {"a.list", InfoArray{{"1", "2", "3", "4", "5", "6"}}},
                             {"a.none", std::monostate()},
                             {"a.number", 1234567.0},
                             {"a.short", InfoArray{{"x"}}}};
  reply.tensors = {{"token_embd.weight", "F16", {64, 32000}}};
  EXPECT_THAT(ShowText(reply, true), HasSubstr("  Metadata\n"
                                               "    a.flag      true                  \n"
                                               "    a.list      [1 2 3 ...+3 more]    \n"
                                               "    a.none      <nil>                 \n"));
  EXPECT_THAT(ShowText(reply, true),
              HasSubstr("  Tensors\n    token_embd.weight    F16    [64 32000]    \n\n"));
  EXPECT_EQ(ShowText(reply, false).find("Tensors"), std::string::npos);
}

TEST(TimingsText, LeavesOutWhatIsZero) {
  Timings timings;
  EXPECT_EQ(TimingsText(timings), "");
  timings.total = std::chrono::milliseconds(1500);
  timings.prompt_tokens = 10;
  timings.prompt_eval = std::chrono::milliseconds(100);
  timings.eval_tokens = 30;
  timings.eval = std::chrono::milliseconds(350);
  EXPECT_EQ(TimingsText(timings),
            "total duration:       1.5s\n"
            "prompt eval count:    10 token(s)\n"
            "prompt eval duration: 100ms\n"
            "prompt eval rate:     100.00 tokens/s\n"
            "eval count:           30 token(s)\n"
            "eval duration:        350ms\n"
            "eval rate:            85.71 tokens/s\n");
}

TEST(NumberText, IsGosShortestForm) {
  EXPECT_EQ(NumberText(0.7), "0.7");
  EXPECT_EQ(NumberText(4096), "4096");
  EXPECT_EQ(NumberText(999999), "999999");
  EXPECT_EQ(NumberText(1000000), "1e+06");
  EXPECT_EQ(NumberText(1048576), "1.048576e+06");
  EXPECT_EQ(NumberText(0.0001), "0.0001");
  EXPECT_EQ(NumberText(0.00001), "1e-05");
  EXPECT_EQ(NumberText(-2.5), "-2.5");
}

}  // namespace
}  // namespace corral::cli
