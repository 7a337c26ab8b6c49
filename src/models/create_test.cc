#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/text.h"
#include "models/internal/model_reader.h"
#include "models/store.h"
#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string DigestText(std::string_view bytes) { return Digest::OfBytes(bytes).ToString(); }

class CreateTest : public StoreTest {
 protected:
  CreateTest() { Open(); }

  std::string ErrorOf(const CreateSpec& spec, Code code = Code::kInvalidArgument) {
    const Status status = store_->Create(
        spec, [](const std::string&) {}, StopToken());
    if (status) return "";
    EXPECT_EQ(status.error().code, code) << status.error().message;
    return status.error().message;
  }
  // Of one file.
  std::string ErrorOfFile(const std::string& path, std::string_view bytes) {
    CreateSpec spec{NameOf("bad")};
    spec.files = {{path, Upload(bytes)}};
    const std::string error = ErrorOf(spec);
    EXPECT_THAT(Listed(), ElementsAre());
    return error;
  }
};

TEST_F(CreateTest, WritesOllamasManifestOfAPlainFile) {
  const std::string gguf = TinyGguf().Bytes();
  CreateSpec spec{NameOf("m")};
  spec.files = {{"model.gguf", Upload(gguf)}};
  EXPECT_THAT(Create(spec),
              ElementsAre("using existing layer " + DigestText(gguf), "writing manifest"));
  const std::string config =
      "{\"model_format\":\"gguf\",\"model_family\":\"test\",\"model_families\":[\"test\"],\"model_"
      "type\":\"0\","
      "\"file_type\":\"unknown\",\"architecture\":\"amd64\",\"os\":\"linux\"}\n";
  EXPECT_EQ(
      ReadAll(Manifest("m")),
      "{\"schemaVersion\":2,\"mediaType\":\"application/"
      "vnd.docker.distribution.manifest.v2+json\",\"config\":{"
      "\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\"digest\":\"" +
          DigestText(config) + "\",\"size\":" + std::to_string(config.size()) +
          "},\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"" +
          DigestText(gguf) + "\",\"size\":" + std::to_string(gguf.size()) +
          ",\"from\":\"model.gguf\"}]}\n");
  EXPECT_EQ(ReadAll(Blob(Digest::OfBytes(config))), config);
}

TEST_F(CreateTest, WritesEveryLayerAsOllamaDoes) {
  const std::string gguf = TinyGguf().Bytes();
  CreateSpec spec{NameOf("m")};
  spec.files = {{"model.gguf", Upload(gguf)}};
  spec.template_text = "{{ .System }} {{ .Prompt }}";
  spec.system = "Say hi!";
  spec.licenses = {"MIT", "", "BSD"};
  spec.params = {{"num_ctx", std::int64_t{4096}},
                 {"stop", std::vector<std::string>{"<|eot_id|>"}},
                 {"temperature", 0.7}};
  spec.messages = {{"user", "Hi"}};
  spec.requires_version = "0.14.0";
  EXPECT_THAT(Create(spec),
              ElementsAre("using existing layer " + DigestText(gguf),
                          "creating new layer "
                          "sha256:fe7ac77b725cda2ccad03f88a880ecdfd7a33192d6cae08fce2c0ee1455991ed",
                          "creating new layer "
                          "sha256:f29e82a8284dbdf5910b1555580ff60b04238b8da9d5e51159ada67a4d0d5851",
                          "creating new layer " + DigestText("MIT"),
                          "creating new layer " + DigestText("BSD"),
                          "creating new layer "
                          "sha256:19ef79b5c08166d8e12f089056f15790bb5c646007f27315fb2e355cf480fe4b",
                          "creating new layer "
                          "sha256:110b1ae3e7b6103dbf92d6b607f9975fb4fe060f94c0fe890799e35936056f60",
                          "writing manifest"));
  const auto model = Load("m");
  EXPECT_EQ(model->template_text, "{{ .System }} {{ .Prompt }}");
  EXPECT_EQ(model->system, "Say hi!");
  EXPECT_THAT(model->licenses, ElementsAre("MIT", "BSD"));
  EXPECT_EQ(model->params, spec.params);
  EXPECT_EQ(model->messages, spec.messages);
  EXPECT_EQ(model->config.requires_version, "0.14.0");
  EXPECT_EQ(model->gguf, Blob(Digest::OfBytes(gguf)));
  ASSERT_TRUE(model->info);
  EXPECT_EQ(model->info->Architecture(), "test");
}

TEST_F(CreateTest, ATemplateLayerIsItsTextAlone) {
  Open();
  CreateSpec spec{NameOf("m")};
  spec.files = {{"model.gguf", Upload(TinyGguf().Bytes())}};
  spec.template_text = "{{ .Prompt }}";
  EXPECT_THAT(Create(spec),
              ::testing::Contains(
                  "creating new layer "
                  "sha256:b507b9c2f6ca642bffcd06665ea7c91f235fd32daeefdf875a0f938db05fb315"));
}

TEST_F(CreateTest, MergesParametersOverTheBases) {
  CreateSpec base{NameOf("base")};
  base.params = {{"stop", std::vector<std::string>{"A", "B"}},
                 {"temperature", std::int64_t{1}},
                 {"top_k", std::int64_t{10}}};
  CreateFrom("base", TinyGguf().Bytes(), base);
  CreateSpec spec{NameOf("m")};
  spec.from = NameOf("base");
  spec.params = {{"temperature", 0.6}, {"top_p", 0.7}};
  Create(spec);
  EXPECT_EQ(internal::EncodeParams(Load("m")->params),
            "{\"stop\":[\"A\",\"B\"],\"temperature\":0.6,\"top_k\":10,\"top_p\":0.7}\n");
  spec.params = {{"stop", std::vector<std::string>{"C"}}};
  Create(spec);
  EXPECT_EQ(Load("m")->params.at("stop"), ParamValue(std::vector<std::string>{"C"}));
}

TEST_F(CreateTest, TakesOverWhatTheBaseHas) {
  CreateSpec base{NameOf("base")};
  base.template_text = "{{ .Prompt }}";
  base.system = "S";
  base.licenses = {"L1"};
  base.messages = {{"user", "Hi"}};
  base.renderer = "r";
  base.parser = "p";
  base.requires_version = "1.0.0";
  const std::string gguf = TinyGguf().Bytes();
  CreateFrom("base", gguf, base);
  CreateSpec spec{NameOf("m")};
  spec.from = NameOf("BASE");
  spec.system = "";
  spec.licenses = {"L2"};
  EXPECT_THAT(
      Create(spec),
      ElementsAre(
          "using existing layer " + DigestText(gguf),
          "using existing layer " + DigestText("{{ .Prompt }}"),
          "using existing layer " + DigestText("S"), "using existing layer " + DigestText("L1"),
          "using existing layer " + DigestText("[{\"role\":\"user\",\"content\":\"Hi\"}]\n"),
          "creating new layer " + DigestText("L2"), "writing manifest"));
  const auto model = Load("m");
  EXPECT_EQ(model->system, "S");
  EXPECT_THAT(model->licenses, ElementsAre("L1", "L2"));
  EXPECT_EQ(model->config.renderer, "r");
  EXPECT_EQ(model->config.parser, "p");
  EXPECT_EQ(model->config.requires_version, "1.0.0");
  EXPECT_EQ(model->config.model_family, "test");
  for (const Layer& layer : model->manifest.layers) {
    if (layer.digest != Digest::OfBytes("L2")) {
      EXPECT_EQ(layer.from, "base:latest");
    }
  }
}

TEST_F(CreateTest, ReplacesSystemTemplateAndMessages) {
  CreateSpec base{NameOf("base")};
  base.template_text = "{{ .Prompt }}";
  base.system = "S";
  base.messages = {{"user", "Hi"}};
  CreateFrom("base", TinyGguf().Bytes(), base);
  CreateSpec spec{NameOf("m")};
  spec.from = NameOf("base");
  spec.template_text = "X {{ .Prompt }}";
  spec.system = "T";
  spec.messages = {{"assistant", "Yo"}};
  Create(spec);
  const auto model = Load("m");
  EXPECT_EQ(model->template_text, "X {{ .Prompt }}");
  EXPECT_EQ(model->system, "T");
  EXPECT_EQ(model->messages, spec.messages);
  EXPECT_EQ(model->manifest.layers.size(), 4U);
}

TEST_F(CreateTest, KeepsTheBasesParamsLayerByteForByte) {
  CreateFrom("base", TinyGguf().Bytes());
  const std::string params = "{ \"temperature\": 1.0, \"odd\": {} }";
  const std::string config = ReadAll(Blob(Load("base")->manifest.config->digest));
  std::vector<Layer> layers = Load("base")->manifest.layers;
  layers.push_back({std::string(kMediaPrefix) + "params", Upload(params), 1, {}, {}});
  WriteAll(Manifest("base"), EncodeManifest(*Load("base")->manifest.config, layers));
  CreateSpec spec{NameOf("m")};
  spec.from = NameOf("base");
  Create(spec);
  EXPECT_EQ(Load("m")->manifest.Find("params")->digest, Digest::OfBytes(params));
}

TEST_F(CreateTest, DetectsATemplateThatSpellsOutTheEndOfSequenceOnlyIfItIsTheModelsOwn) {
  constexpr std::string_view kJinja =
      "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\n' + "
      "message['content'] + eos_token }}{% elif message['role'] == 'system' %}{{ '<|system|>\n' + "
      "message['content'] + eos_token }}{% elif message['role'] == 'assistant' %}{{ "
      "'<|assistant|>\n' + message['content'] + eos_token }}{% endif %}{% if loop.last and "
      "add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}";
  const templates::Bundled* zephyr = templates::DetectBundled(kJinja);
  ASSERT_NE(zephyr, nullptr);
  ASSERT_EQ(zephyr->eos, "</s>");
  gguf::Writer writer = TinyGguf();
  writer.SetString("tokenizer.chat_template", kJinja);
  gguf::Writer other = writer;
  writer.SetUint32("tokenizer.ggml.eos_token_id", 2);  // </s>
  other.SetUint32("tokenizer.ggml.eos_token_id", 1);   // <s>

  CreateSpec spec{NameOf("m")};
  spec.files = {{"model.gguf", Upload(writer.Bytes())}};
  EXPECT_THAT(Create(spec), Contains("using autodetected template zephyr"));
  spec.files = {{"model.gguf", Upload(other.Bytes())}};
  EXPECT_THAT(Create(spec), ::testing::Not(Contains(HasSubstr("autodetected"))));
  EXPECT_EQ(Load("m")->template_text, std::nullopt);
}

TEST_F(CreateTest, DetectsABundledTemplate) {
  const auto& all = templates::AllBundled();
  const auto chatml = std::find_if(all.begin(), all.end(),
                                   [](const auto& bundled) { return bundled.name == "chatml"; });
  ASSERT_NE(chatml, all.end());
  constexpr std::string_view kJinja =
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
      "+ '<|im_end|>' + "
      "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  gguf::Writer writer = TinyGguf();
  writer.SetString("tokenizer.chat_template", kJinja);
  ASSERT_NE(templates::DetectBundled(kJinja), nullptr);
  CreateSpec spec{NameOf("m")};
  spec.files = {{"model.gguf", Upload(writer.Bytes())}};
  EXPECT_THAT(Create(spec), Contains("using autodetected template chatml"));
  EXPECT_EQ(Load("m")->template_text, chatml->text);
  std::vector<std::string> stop(chatml->stop.begin(), chatml->stop.end());
  EXPECT_EQ(Load("m")->params.at("stop"), ParamValue(stop));

  spec.template_text = "{{ .Prompt }}";
  spec.params = {{"stop", std::vector<std::string>{"X"}}};
  EXPECT_THAT(Create(spec), ::testing::Not(Contains(HasSubstr("autodetected"))));
  EXPECT_EQ(Load("m")->template_text, "{{ .Prompt }}");
  EXPECT_EQ(Load("m")->params.at("stop"), ParamValue(std::vector<std::string>{"X"}));
}

TEST_F(CreateTest, GivesSomeArchitecturesTheirRenderer) {
  CreateFrom("m", TinyGguf("gemma4").Bytes());
  EXPECT_EQ(Load("m")->config.renderer, "gemma4");
  EXPECT_EQ(Load("m")->config.parser, "gemma4");
  EXPECT_EQ(Load("m")->params.at("stop"), ParamValue(std::vector<std::string>{"<turn|>"}));
  CreateSpec spec{NameOf("n")};
  spec.parser = "mine";
  CreateFrom("n", TinyGguf("nemotron_h").Bytes(), spec);
  EXPECT_EQ(Load("n")->config.renderer, "nemotron-3-nano");
  EXPECT_EQ(Load("n")->config.parser, "mine");
}

TEST_F(CreateTest, TakesInfoOverTheFiles) {
  CreateSpec spec{NameOf("m")};
  spec.model_family = "fam";
  spec.parameter_size = "7B";
  spec.quantization_level = "Q4_0";
  spec.base_name = "base";
  spec.capabilities = {"completion"};
  spec.context_length = 5;
  spec.embedding_length = 6;
  CreateFrom("m", TinyGguf().Bytes(), spec);
  const ModelConfig config = Load("m")->config;
  EXPECT_EQ(config.model_family, "fam");
  EXPECT_THAT(config.model_families, ElementsAre("test"));
  EXPECT_EQ(config.model_type, "7B");
  EXPECT_EQ(config.file_type, "Q4_0");
  EXPECT_EQ(config.base_name, "base");
  EXPECT_EQ(config.context_length, 5);
  EXPECT_EQ(config.embedding_length, 6);
}

TEST_F(CreateTest, TakesAProjectorBesideTheModel) {
  gguf::Writer projector;
  projector.SetString("general.architecture", "clip");
  projector.SetString("general.type", "projector");
  projector.SetBool("clip.has_audio_encoder", true);
  CreateSpec spec{NameOf("m")};
  spec.files = {{"mmproj.gguf", Upload(projector.Bytes())},
                {"model.gguf", Upload(TinyGguf().Bytes())}};
  const auto lines = Create(spec);
  ASSERT_EQ(lines.back(), "writing manifest");
  const auto model = Load("m");
  EXPECT_EQ(model->projectors.size(), 1U);
  ASSERT_TRUE(model->projector_info);
  EXPECT_THAT(model->Capabilities(std::nullopt),
              ElementsAre(Capability::kCompletion, Capability::kVision, Capability::kAudio));
}

TEST_F(CreateTest, TakesAnAdapterOverABase) {
  gguf::Writer adapter;
  adapter.SetString("general.architecture", "test");
  adapter.SetString("general.type", "adapter");
  CreateFrom("base", TinyGguf().Bytes());
  CreateSpec spec{NameOf("m")};
  spec.from = NameOf("base");
  spec.adapters = {{"lora.gguf", Upload(adapter.Bytes())}};
  ASSERT_EQ(Create(spec).back(), "writing manifest");
  EXPECT_EQ(Load("m")->adapters.size(), 1U);
  spec.adapters.push_back(spec.adapters.front());
  EXPECT_EQ(ErrorOf(spec), "only one adapter is currently supported");
  spec.adapters = {{"lora.gguf", Upload(TinyGguf("test", 1).Bytes())}};
  EXPECT_EQ(ErrorOf(spec), "file \"lora.gguf\" is no adapter");
}

TEST_F(CreateTest, SaysWhatIsWrongWithTheRequest) {
  CreateSpec spec{NameOf("m")};
  EXPECT_EQ(ErrorOf(spec), "neither 'from' or 'files' was specified");
  spec.from = NameOf("nobody");
  EXPECT_EQ(ErrorOf(spec, Code::kNotFound), "model 'nobody:latest' not found");
  spec.from.reset();
  spec.files = {{"model.gguf", Digest::OfBytes("never uploaded")}};
  EXPECT_THAT(ErrorOf(spec), StartsWith("blob sha256:"));
  spec.files = {{"model.gguf", Upload(TinyGguf().Bytes())}};
  spec.template_text = "{{ .Prompt";
  EXPECT_THAT(ErrorOf(spec), StartsWith("template error: template: :1:"));
  spec.template_text.reset();
  spec.files.push_back({"second.gguf", Upload(TinyGguf("test", 1).Bytes())});
  EXPECT_EQ(ErrorOf(spec), "only one GGUF file may hold a model");
  EXPECT_THAT(Listed(), ElementsAre());
}

TEST_F(CreateTest, RefusesFilesThatAreNoModel) {
  EXPECT_EQ(ErrorOfFile("model.gguf", "no such format"), "supplied file was not in GGUF format");
  EXPECT_EQ(ErrorOfFile("model.gguf", ""), "supplied file was not in GGUF format");
  EXPECT_EQ(ErrorOfFile("model.bin", "no such format"), "unknown type");
  EXPECT_THAT(ErrorOfFile("model.safetensors", "{}"), HasSubstr("must be converted first"));
  EXPECT_THAT(ErrorOfFile("model.gguf", "GGUF"), StartsWith("file \"model.gguf\": "));
  gguf::Writer split = TinyGguf();
  split.SetUint32("split.count", 2);
  EXPECT_THAT(ErrorOfFile("m-00001-of-00002.gguf", split.Bytes()),
              HasSubstr("all its parts are needed"));
  gguf::Writer hostile;
  hostile.SetString("general.architecture", "test");
  hostile.SetUint32("test.context_length", 2048);
  hostile.SetUint32("test.embedding_length", 64);
  hostile.SetUint32("test.block_count", 1U << 30);
  hostile.SetString("tokenizer.ggml.model", "none");
  EXPECT_THAT(ErrorOfFile("model.gguf", hostile.Bytes()), HasSubstr("block_count"));
}

TEST_F(CreateTest, RefusesEveryTruncationOfAFile) {
  gguf::Writer writer = TinyGguf();
  writer.AddTensor("output_norm.weight", {8}, std::vector<float>(8, 1.0F));
  const std::string gguf = writer.Bytes();
  for (std::size_t n = 0; n < gguf.size(); n += 11) {
    CreateSpec spec{NameOf("bad")};
    spec.files = {{"model.gguf", Upload(gguf.substr(0, n))}};
    const std::string error = ErrorOf(spec);
    EXPECT_NE(error, "") << n;
  }
  EXPECT_THAT(Listed(), ElementsAre());
}

TEST_F(CreateTest, ReplacesAModelAndRemovesWhatOnlyItUsed) {
  CreateSpec spec{NameOf("m")};
  spec.system = "old";
  CreateFrom("m", TinyGguf("test", 1).Bytes(), spec);
  spec.system = "new";
  CreateFrom("m", TinyGguf("test", 2).Bytes(), spec);
  EXPECT_FALSE(fs::exists(Blob(Digest::OfBytes("old"))));
  EXPECT_FALSE(fs::exists(Blob(Digest::OfBytes(TinyGguf("test", 1).Bytes()))));
  EXPECT_EQ(Load("m")->system, "new");
  EXPECT_EQ(Blobs().size(), 3U);
}

TEST_F(CreateTest, KeepsWhatAReplacedModelUsedWithoutPrune) {
  Open({.is_prune_enabled = false});
  CreateSpec spec{NameOf("m")};
  spec.system = "old";
  CreateFrom("m", TinyGguf().Bytes(), spec);
  spec.system = "new";
  CreateFrom("m", TinyGguf().Bytes(), spec);
  EXPECT_TRUE(fs::exists(Blob(Digest::OfBytes("old"))));
}

TEST_F(CreateTest, ReplacesAModelFromItself) {
  CreateFrom("m", TinyGguf().Bytes());
  CreateSpec spec{NameOf("M:LATEST")};
  spec.from = NameOf("m");
  spec.system = "S";
  ASSERT_EQ(Create(spec).back(), "writing manifest");
  EXPECT_THAT(Listed(), ElementsAre("m:latest"));
  EXPECT_EQ(Load("m")->system, "S");
}

TEST_F(CreateTest, ABaseThatIsNotWholeIsSaidSo) {
  CreateFrom("base", TinyGguf().Bytes());
  fs::remove(Load("base")->gguf);
  CreateSpec spec{NameOf("m")};
  spec.from = NameOf("base");
  EXPECT_THAT(ErrorOf(spec, Code::kCorrupt),
              StartsWith("model 'base:latest' is not whole: blob sha256:"));
}

TEST_F(CreateTest, StopsWhenTold) {
  StopSource stop;
  CreateSpec spec{NameOf("m")};
  spec.files = {{"model.gguf", Upload(TinyGguf().Bytes())}};
  spec.system = "never used";
  const std::size_t n_blobs = Blobs().size();
  stop.RequestStop(StopReason::kClientGone);
  const Status status = store_->Create(
      spec, [](const std::string&) {}, stop.token());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kCancelled);
  EXPECT_THAT(Listed(), ElementsAre());
  EXPECT_EQ(Blobs().size(), n_blobs);
}

TEST_F(CreateTest, LeavesNoNewLayersWhenItFails) {
  CreateSpec spec{NameOf("m")};
  spec.files = {{"model.gguf", Upload(TinyGguf().Bytes())}};
  spec.system = "S";
  // A folder where the manifest should be.
  fs::create_directories(Manifest("m") / "x");
  const std::size_t n_blobs = Blobs().size();
  EXPECT_THAT(ErrorOf(spec), HasSubstr("'m:latest' cannot be stored"));
  EXPECT_EQ(Blobs().size(), n_blobs);
}

}  // namespace
}  // namespace corral::models
