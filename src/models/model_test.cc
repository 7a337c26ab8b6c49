#include "models/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::string_view kJinjaTools = "{% if tools %}{{ tools }}{% endif %}";
constexpr std::string_view kJinjaRoundTrip =
    "{% if tools %}{{ tool_calls }}{% endif %}{% if message.role == 'tool' %}<tool_response>{% "
    "endif %}";
constexpr std::string_view kGoRoundTrip =
    "{{ if .Tools }}{{ .Tools }}{{ end }}{{ range .Messages }}{{ if eq .Role \"tool\" }}{{ "
    ".Content }}{{ end }}"
    "{{ range .ToolCalls }}{{ .Function.Name }}{{ end }}{{ end }}";

class ModelTest : public ::testing::Test {
 protected:
  Model Make(std::string_view go_template, std::string_view jinja,
             const gguf::Writer& writer = TinyGguf()) {
    gguf::Writer with_jinja = writer;
    if (!jinja.empty()) with_jinja.SetString("tokenizer.chat_template", jinja);
    const fs::path file = folder_.path() / "model.gguf";
    EXPECT_TRUE(with_jinja.Write(file));
    Model model{.name = NameOf("m"), .manifest = {}};
    model.gguf = file;
    model.info = std::make_shared<const gguf::Info>(gguf::Read(file).value());
    if (!go_template.empty()) {
      model.template_text = std::string(go_template);
      if (auto parsed = templates::Template::Parse(go_template))
        model.parsed_template = std::move(*parsed);
    }
    return model;
  }
  TempFolder folder_;
};

TEST_F(ModelTest, PrefersTheGgufsTemplateWhenItCanDoMore) {
  const Model model = Make("CUSTOM {{ .Prompt }}", kJinjaTools);
  EXPECT_FALSE(model.UsesGoTemplate(std::nullopt));
  EXPECT_THAT(model.Capabilities(std::nullopt),
              ElementsAre(Capability::kCompletion, Capability::kTools));
}

TEST_F(ModelTest, UsesTheGoTemplateWhenTheSettingSaysSo) {
  const Model model = Make("CUSTOM {{ .Prompt }}", kJinjaTools);
  EXPECT_TRUE(model.UsesGoTemplate(true));
  EXPECT_THAT(model.Capabilities(true), ElementsAre(Capability::kCompletion));
}

TEST_F(ModelTest, UsesTheGgufsTemplateWhenTheSettingSaysSo) {
  const Model model = Make(kGoRoundTrip, "plain");
  EXPECT_TRUE(model.UsesGoTemplate(std::nullopt));
  EXPECT_FALSE(model.UsesGoTemplate(false));
  EXPECT_THAT(model.Capabilities(false), ElementsAre(Capability::kCompletion));
}

TEST_F(ModelTest, KeepsAGoTemplateWithTheToolRoundTrip) {
  EXPECT_TRUE(Make(kGoRoundTrip, kJinjaRoundTrip).UsesGoTemplate(std::nullopt));
}

TEST_F(ModelTest, PrefersTheOnlyTemplateWithTheToolRoundTrip) {
  EXPECT_FALSE(Make("{{ .Tools }}{{ range .Messages }}{{ end }}", kJinjaRoundTrip)
                   .UsesGoTemplate(std::nullopt));
  EXPECT_TRUE(
      Make("{{ .Tools }}{{ range .Messages }}{{ end }}", kJinjaTools).UsesGoTemplate(std::nullopt));
}

TEST_F(ModelTest, UsesTheGgufsTemplateWhenThereIsNoOther) {
  EXPECT_FALSE(Make("", kJinjaTools).UsesGoTemplate(std::nullopt));
  EXPECT_FALSE(Make("", kJinjaTools).UsesGoTemplate(true));
}

TEST_F(ModelTest, AParserOrHarmonyKeepsTheGoTemplate) {
  Model parser = Make("{{ .Prompt }}", kJinjaTools);
  parser.config.parser = "qwen3-thinking";
  EXPECT_TRUE(parser.UsesGoTemplate(false));
  EXPECT_THAT(parser.Capabilities(std::nullopt),
              ElementsAre(Capability::kCompletion, Capability::kTools, Capability::kThinking));
  Model harmony = Make("<|start|>{{ .Prompt }}<|end|>", kJinjaTools);
  harmony.config.model_family = "gptoss";
  EXPECT_TRUE(harmony.UsesGoTemplate(false));
  EXPECT_TRUE(harmony.Has(Capability::kThinking, std::nullopt));
}

TEST_F(ModelTest, ARendererMeansTheGgufsTemplateIfItHasOne) {
  Model model = Make("{{ .Prompt }}", "plain");
  model.config.renderer = "qwen3-coder";
  EXPECT_FALSE(model.UsesGoTemplate(std::nullopt));
  Model without = Make("{{ .Prompt }}", "");
  without.config.renderer = "qwen3-coder";
  EXPECT_FALSE(without.UsesGoTemplate(std::nullopt)) << "a renderer we know";
  without.config.renderer = "cogito";
  EXPECT_TRUE(without.UsesGoTemplate(std::nullopt)) << "one we do not know";
}

TEST_F(ModelTest, AParserThatIsNotKnownReadsNothing) {
  Model model = Make("{{ .Prompt }}", "");
  model.config.parser = "harmony";
  EXPECT_TRUE(model.Has(Capability::kTools, std::nullopt));
  model.config.parser = "cogito";
  EXPECT_THAT(model.Capabilities(std::nullopt), ElementsAre(Capability::kCompletion));
}

TEST_F(ModelTest, FindsCapabilitiesInTheGguf) {
  gguf::Writer embedding = TinyGguf();
  embedding.SetUint32("test.pooling_type", 1);
  EXPECT_THAT(Make("", "", embedding).Capabilities(std::nullopt),
              ElementsAre(Capability::kEmbedding));
  EXPECT_THAT(Make("", "<think></think>").Capabilities(std::nullopt),
              ElementsAre(Capability::kCompletion, Capability::kThinking));
}

TEST_F(ModelTest, SeesAndHearsByItsProjector) {
  gguf::Writer senses = TinyGguf();
  senses.SetUint32("test.vision.block_count", 2);
  Model model = Make("", "", senses);
  EXPECT_THAT(model.Capabilities(std::nullopt), ElementsAre(Capability::kCompletion))
      << "an encoder inside the model's file is not used";
  model.projectors.emplace_back("projector");
  EXPECT_THAT(model.Capabilities(std::nullopt),
              ElementsAre(Capability::kCompletion, Capability::kVision));
  gguf::Info hears;
  hears.metadata.push_back({"clip.has_audio_encoder", gguf::ValueType::kBool, true});
  model.projector_info = std::make_shared<const gguf::Info>(hears);
  EXPECT_THAT(model.Capabilities(std::nullopt),
              ElementsAre(Capability::kCompletion, Capability::kVision, Capability::kAudio));
}

TEST_F(ModelTest, InsertNeedsSuffixAndGoTemplates) {
  const Model model = Make("{{ .Prompt }}{{ .Suffix }}", "");
  EXPECT_TRUE(model.Has(Capability::kInsert, std::nullopt));
  EXPECT_TRUE(model.Has(Capability::kInsert, true));
  EXPECT_FALSE(model.Has(Capability::kInsert, false));
}

TEST_F(ModelTest, AStubHasWhatItsConfigSays) {
  Model stub{.name = NameOf("m"), .manifest = {}};
  EXPECT_THAT(stub.Capabilities(std::nullopt), IsEmpty());
  stub.config.capabilities = {"tools", "completion", "nonsense"};
  EXPECT_THAT(stub.Capabilities(std::nullopt),
              ElementsAre(Capability::kCompletion, Capability::kTools));
}

TEST_F(ModelTest, AWeightsFilesConfigAddsOnlyImage) {
  Model model = Make("", "");
  model.config.capabilities = {"tools", "image"};
  EXPECT_THAT(model.Capabilities(std::nullopt),
              ElementsAre(Capability::kCompletion, Capability::kImage));
}

}  // namespace
}  // namespace corral::models
