// What create has made by a worker: quantized, merged and converted models.
#include <gmock/gmock.h>
#include <unistd.h>

#include <thread>

#include "api/native/handler_test.h"
#include "core/files.h"
#include "core/text.h"

namespace corral::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CreateTest : public HandlerTest {
 protected:
  static gguf::Writer GgufOfType(std::uint32_t file_type) {
    gguf::Writer writer = SmallGguf(false);
    writer.SetUint32("general.file_type", file_type);
    return writer;
  }
  static constexpr std::uint32_t kF32 = 0, kF16 = 1, kQ8 = 7;

  std::string Upload(const std::string& bytes) {
    const std::string digest = models::Digest::OfBytes(bytes).ToString();
    EXPECT_EQ(Ask("POST", "/api/blobs/" + digest, bytes)->sent.status, 201);
    return digest;
  }
  bool HasBlob(const std::string& digest) {
    return Ask("HEAD", "/api/blobs/" + digest)->sent.status == 200;
  }
  // Every task makes this file.
  void TasksMake(std::string bytes) {
    tasks_.on_run = [bytes = std::move(bytes)](const worker::TaskLaunch& launch,
                                               const std::function<void(float)>& on_progress) {
      on_progress(0.5F);
      return WriteAll(launch.output_fd, bytes);
    };
  }
  std::shared_ptr<const models::Model> Load(const char* name) {
    auto model = store_->Load(*models::ModelName::Parse(name));
    return model ? *model : nullptr;
  }
  std::size_t BlobCount() const {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "models" / "blobs"))
      n += entry.is_regular_file() ? 1 : 0;
    return n;
  }
};

// The status lines of an answer, without repetitions.
std::vector<std::string> StatusLines(const std::string& written) {
  std::vector<std::string> lines;
  for (const std::string_view record : Split(written, '\n')) {
    if (record.empty()) continue;
    std::string status(record.substr(11, record.find('"', 11) - 11));  // {"status":"...
    if (lines.empty() || lines.back() != status) lines.push_back(std::move(status));
  }
  return lines;
}

TEST_F(CreateTest, TellsOfAFileAsOllamaDoes) {
  const std::string bytes = GgufOfType(kF16).Bytes();
  const std::string digest = Upload(bytes);
  const auto exchange =
      Ask("POST", "/api/create", R"({"model":"m","files":{"m.gguf":")" + digest + R"("}})");
  EXPECT_THAT(StatusLines(exchange->written),
              ElementsAre("parsing GGUF", "validating GGUF model", "verifying conversion",
                          "using existing layer " + digest, "writing manifest", "success"));
  const std::string size = std::to_string(bytes.size());
  EXPECT_THAT(
      exchange->written,
      HasSubstr(R"({"status":"validating GGUF model","digest":"0000000000000000000","total":)" +
                size + R"(,"completed":)" + size + "}\n"));
  EXPECT_TRUE(tasks_.launches().empty()) << "the file stays as it came";
}

TEST_F(CreateTest, TellsNothingOfValidationOfAFileThatIsMoreThanText) {
  gguf::Writer writer = GgufOfType(kF16);
  writer.AddTensor("v.blk.0.weight", {32}, std::vector<float>(32));
  const auto exchange =
      Ask("POST", "/api/create",
          R"({"model":"m","files":{"m.gguf":")" + Upload(writer.Bytes()) + R"("}})");
  EXPECT_THAT(StatusLines(exchange->written),
              ElementsAre("parsing GGUF", StartsWith("using existing layer"), "writing manifest",
                          "success"));
}

TEST_F(CreateTest, TellsOfAConversionAndOfWhatFollowsIt) {
  const std::string files = R"("files":{"model.safetensors":")" + Upload("weights") + R"("})";
  TasksMake(GgufOfType(kF16).Bytes());
  EXPECT_THAT(StatusLines(Ask("POST", "/api/create", R"({"model":"a",)" + files + "}")->written),
              ElementsAre("converting model", "parsing GGUF", "validating GGUF model",
                          "verifying conversion", StartsWith("using existing layer"),
                          "writing manifest", "success"));
  Upload("weights");
  tasks_.on_run = [](const worker::TaskLaunch& launch,
                     const std::function<void(float)>& on_progress) {
    on_progress(1.0F);
    const bool converts = launch.task.kind == Task::Kind::kConvert;
    return WriteAll(launch.output_fd, GgufOfType(converts ? kF16 : kQ8).Bytes());
  };
  EXPECT_THAT(
      StatusLines(Ask("POST", "/api/create", R"({"model":"b",)" + files + R"(,"quantize":"q8_0"})")
                      ->written),
      ElementsAre("converting model", "parsing GGUF", "quantizing F16 model to Q8_0",
                  "verifying conversion", StartsWith("using existing layer"), "writing manifest",
                  "success"));
}

TEST_F(CreateTest, QuantizesAnUploadedModelByAWorker) {
  const std::string digest = Upload(GgufOfType(kF16).Bytes());
  TasksMake(GgufOfType(kQ8).Bytes());
  const auto exchange =
      Ask("POST", "/api/create",
          R"({"model":"q","files":{"m.gguf":")" + digest + R"("},"quantize":"q8_0"})");
  EXPECT_THAT(
      exchange->written,
      HasSubstr(R"({"status":"quantizing F16 model to Q8_0","digest":"0000000000000000000",)"
                R"("total":)"));
  EXPECT_THAT(StatusLines(exchange->written),
              ElementsAre("parsing GGUF", "quantizing F16 model to Q8_0", "verifying conversion",
                          StartsWith("using existing layer"), "writing manifest", "success"));
  EXPECT_THAT(exchange->written, ::testing::EndsWith("{\"status\":\"success\"}\n"));
  ASSERT_EQ(tasks_.launches().size(), 1U);
  EXPECT_EQ(tasks_.launches()[0].task.file_type, "Q8_0");
  ASSERT_TRUE(Load("q"));
  EXPECT_EQ(Load("q")->config.file_type, "Q8_0");
  EXPECT_FALSE(HasBlob(digest)) << "the unquantized upload serves nobody any more";
}

TEST_F(CreateTest, QuantizesAModelOfTheStoreAndKeepsTheRestOfIt) {
  const std::string digest = Upload(GgufOfType(kF32).Bytes());
  Ask("POST", "/api/create",
      R"({"model":"base","files":{"m.gguf":")" + digest + R"("},"system":"S"})");
  TasksMake(GgufOfType(kQ8).Bytes());
  const auto exchange =
      Ask("POST", "/api/create", R"({"model":"q","from":"base","quantize":"Q4_K"})");
  EXPECT_THAT(exchange->written, HasSubstr("quantizing F32 model to Q4_K_M"));
  ASSERT_TRUE(Load("q"));
  EXPECT_EQ(Load("q")->system, "S");
  EXPECT_EQ(Load("q")->config.file_type, "Q8_0");
  EXPECT_NE(Load("q")->gguf, Load("base")->gguf);
  EXPECT_TRUE(HasBlob(digest));
}

TEST_F(CreateTest, LeavesAModelOfThatTypeAsItIs) {
  const std::string digest = Upload(GgufOfType(kF16).Bytes());
  const auto exchange =
      Ask("POST", "/api/create",
          R"({"model":"q","files":{"m.gguf":")" + digest + R"("},"quantize":"f16"})");
  EXPECT_THAT(exchange->written, HasSubstr("success"));
  EXPECT_TRUE(tasks_.launches().empty());
}

TEST_F(CreateTest, RefusesToQuantizeWhatIsQuantized) {
  const std::string digest = Upload(GgufOfType(kQ8).Bytes());
  const auto exchange = Ask(
      "POST", "/api/create",
      R"({"model":"q","files":{"m.gguf":")" + digest + R"("},"quantize":"q4_K_M","stream":false})");
  EXPECT_EQ(exchange->sent.status, 500);
  EXPECT_EQ(exchange->sent.body,
            R"({"error":"quantization is only supported for F16, BF16 and F32 models"})");
  EXPECT_FALSE(Load("q"));
}

TEST_F(CreateTest, SaysWhyAWorkerCouldNotAndLeavesNothing) {
  const std::string digest = Upload(GgufOfType(kF16).Bytes());
  const std::size_t n_before = BlobCount();
  tasks_.on_run = [](const worker::TaskLaunch& launch,
                     const std::function<void(float)>&) -> Status {
    (void)WriteAll(launch.output_fd, "half of it");
    return Fail(Code::kInvalidArgument, "failed to quantize: no");
  };
  const auto exchange = Ask(
      "POST", "/api/create",
      R"({"model":"q","files":{"m.gguf":")" + digest + R"("},"quantize":"q4_K_M","stream":false})");
  EXPECT_EQ(exchange->sent.status, 400);
  EXPECT_EQ(exchange->sent.body, R"({"error":"failed to quantize: no"})");
  EXPECT_FALSE(Load("q"));
  EXPECT_EQ(BlobCount(), n_before);
}

TEST_F(CreateTest, TrustsNoFileThatAWorkerMade) {
  const std::string digest = Upload(GgufOfType(kF16).Bytes());
  TasksMake("GGUF nonsense");
  const auto exchange = Ask(
      "POST", "/api/create",
      R"({"model":"q","files":{"m.gguf":")" + digest + R"("},"quantize":"q4_K_M","stream":false})");
  EXPECT_EQ(exchange->sent.status, 500);
  EXPECT_FALSE(Load("q"));
}

TEST_F(CreateTest, ConvertsASafetensorsFolder) {
  const std::string weights = Upload("weights");
  const std::string config = Upload("{}");
  TasksMake(GgufOfType(kF16).Bytes());
  const auto exchange = Ask("POST", "/api/create",
                            R"({"model":"c","files":{"model.safetensors":")" + weights +
                                R"(","config.json":")" + config + R"("},"quantize":"q8_0"})");
  EXPECT_THAT(exchange->written, StartsWith("{\"status\":\"converting model\"}\n"));
  EXPECT_THAT(exchange->written, HasSubstr("quantizing F16 model to Q8_0"));
  ASSERT_EQ(tasks_.launches().size(), 2U);
  const worker::TaskLaunch launch = tasks_.launches()[0];
  EXPECT_EQ(launch.task.kind, Task::Kind::kConvert);
  EXPECT_EQ(launch.task.input_names,
            (std::vector<std::string>{"config.json", "model.safetensors"}));
  EXPECT_EQ(launch.inputs.size(), 2U);
  ASSERT_TRUE(Load("c"));
  EXPECT_FALSE(HasBlob(weights));
  EXPECT_FALSE(HasBlob(config));
}

TEST_F(CreateTest, KeepsAnUploadThatAnotherClientWasPromised) {
  const std::string weights = Upload("weights");
  tasks_.on_run = [&](const worker::TaskLaunch& launch, const std::function<void(float)>&) {
    // While the model is converted, somebody else asks for the same upload.
    EXPECT_TRUE(store_->HasBlob(*models::Digest::Parse(weights)));
    return WriteAll(launch.output_fd, GgufOfType(kF16).Bytes());
  };
  Ask("POST", "/api/create", R"({"model":"c","files":{"model.safetensors":")" + weights + R"("}})");
  ASSERT_TRUE(Load("c"));
  EXPECT_TRUE(HasBlob(weights));
}

TEST_F(CreateTest, ConvertsAnAdapterForItsBase) {
  AddModel("base");
  gguf::Writer adapter;
  adapter.SetString("general.architecture", "llama");
  adapter.SetString("general.type", "adapter");
  adapter.SetString("adapter.type", "lora");
  adapter.SetFloat32("adapter.lora.alpha", 1.0F);
  TasksMake(adapter.Bytes());
  const std::string weights = Upload("adapter weights");
  const std::string config = Upload("{}");
  const auto exchange =
      Ask("POST", "/api/create",
          R"({"model":"a","from":"base","adapters":{"adapter_model.safetensors":")" + weights +
              R"(","adapter_config.json":")" + config + R"("}})");
  EXPECT_THAT(exchange->written, HasSubstr("{\"status\":\"converting adapter\"}\n"));
  EXPECT_THAT(exchange->written, HasSubstr("success"));
  ASSERT_EQ(tasks_.launches().size(), 1U);
  EXPECT_EQ(tasks_.launches()[0].task.input_names.back(), kBaseModel);
  EXPECT_EQ(tasks_.launches()[0].inputs.back(), Load("base")->gguf);
  ASSERT_TRUE(Load("a"));
  EXPECT_EQ(Load("a")->adapters.size(), 1U);
}

TEST_F(CreateTest, JoinsThePartsOfASplitModel) {
  const auto part = [](std::uint32_t no) {
    gguf::Writer writer = GgufOfType(kF16);
    writer.SetUint32("split.no", no);
    writer.SetUint32("split.count", 2);
    return writer.Bytes();
  };
  const std::string first = Upload(part(0));
  const std::string second = Upload(part(1));
  TasksMake(GgufOfType(kF16).Bytes());
  const auto exchange = Ask("POST", "/api/create",
                            R"({"model":"s","files":{"m-00002-of-00002.gguf":")" + second +
                                R"(","m-00001-of-00002.gguf":")" + first + R"("}})");
  EXPECT_THAT(exchange->written, HasSubstr("success"));
  ASSERT_EQ(tasks_.launches().size(), 1U);
  EXPECT_EQ(tasks_.launches()[0].task.kind, Task::Kind::kMerge);
  EXPECT_EQ(tasks_.launches()[0].inputs[0], store_->BlobPath(*models::Digest::Parse(first)));
  ASSERT_TRUE(Load("s"));
  EXPECT_FALSE(HasBlob(first));
  const auto refused =
      Ask("POST", "/api/create",
          R"({"model":"t","stream":false,"files":{"part2.gguf":")" + Upload(part(1)) + R"("}})");
  EXPECT_EQ(refused->sent.status, 400);
  EXPECT_THAT(refused->sent.body, HasSubstr("-00001-of-00002.gguf"));
}

TEST_F(CreateTest, StoresADraftModelAndShowsIt) {
  AddModel("base");
  const std::string draft = Upload(GgufOfType(kF16).Bytes());
  TasksMake(GgufOfType(kQ8).Bytes());
  Ask("POST", "/api/create",
      R"({"model":"d","from":"base","draft_files":{"d.gguf":")" + draft +
          R"("},"draft_quantize":"q8_0"})");
  ASSERT_TRUE(Load("d"));
  ASSERT_EQ(Load("d")->drafts.size(), 1U);
  EXPECT_THAT(models::ShowModelfile(*Load("d")),
              HasSubstr("\nDRAFT " + Load("d")->drafts[0].native() + "\n"));
  // Inherited, and replaced.
  Ask("POST", "/api/create", R"({"model":"e","from":"d"})");
  EXPECT_EQ(Load("e")->drafts, Load("d")->drafts);
  const std::string other = Upload(GgufOfType(kF32).Bytes());
  Ask("POST", "/api/create",
      R"({"model":"e","from":"d","draft_files":{"d.gguf":")" + other + R"("}})");
  ASSERT_EQ(Load("e")->drafts.size(), 1U);
  EXPECT_NE(Load("e")->drafts, Load("d")->drafts);
}

TEST_F(CreateTest, RefusesMoreCreatesAtOnceThanItHasThreadsFor) {
  AddModel("base");
  n_creates_->store(1000);
  const auto exchange = Ask("POST", "/api/create", R"({"model":"b","from":"base"})");
  EXPECT_EQ(exchange->sent.status, 503);
  EXPECT_EQ(n_creates_->load(), 1000);
}

}  // namespace
}  // namespace corral::api
