// Conversions compared with what llama.cpp's own converter made of the same folders
// (testdata/record.py), and what is refused.
#include "convert/convert.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/files.h"
#include "core/sha256.h"
#include "gguf/reader.h"
#include "gguf/types.h"

namespace corral::convert {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// The files of a folder, open; in memory, so that a test can change them.
class Folder {
 public:
  Folder() = default;
  explicit Folder(const std::string& name) {
    const fs::path root = fs::path(CORRAL_CONVERT_DATA) / name;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (!entry.is_regular_file() || entry.path().filename() == "expected.json") continue;
      std::ifstream file(entry.path(), std::ios::binary);
      std::ostringstream text;
      text << file.rdbuf();
      files[entry.path().lexically_relative(root).generic_string()] = text.str();
    }
  }
  std::map<std::string, std::string> files;

  // Changes one key of a JSON file.
  void Set(const std::string& file, const std::string& key, const Json& value) {
    Json json = Json::parse(files.at(file));
    json[key] = value;
    files[file] = json.dump();
  }
};

UniqueFd InMemory(std::string_view bytes) {
  UniqueFd fd(::memfd_create("corral-test", MFD_CLOEXEC));
  EXPECT_TRUE(WriteAll(fd.get(), bytes));
  return fd;
}

struct Converted {
  Status status;
  UniqueFd output;
};

Converted Convert(const Folder& folder, Task::Kind kind = Task::Kind::kConvert,
                  const UniqueFd* base = nullptr) {
  Task task;
  task.kind = kind;
  TaskFiles files;
  std::vector<UniqueFd> open;
  for (const auto& [name, bytes] : folder.files) {
    open.push_back(InMemory(bytes));
    task.input_names.push_back(name);
    files.inputs.push_back(open.back().get());
  }
  if (base != nullptr) {
    task.input_names.emplace_back(kBaseModel);
    files.inputs.push_back(base->get());
  }
  Converted converted{{}, InMemory("")};
  files.output = converted.output.get();
  float last = 0;
  converted.status = Run(task, files, [&last](float fraction) {
    EXPECT_GE(fraction, last);
    last = fraction;
  });
  if (converted.status) {
    EXPECT_EQ(last, 1.0F);
  }
  return converted;
}

Json ToJson(const gguf::Value& value) {
  if (const auto* array = std::get_if<gguf::Array>(&value)) {
    Json list = Json::array();
    for (const gguf::Value& element : array->elements) list.push_back(ToJson(element));
    return list;
  }
  return std::visit(
      [](const auto& plain) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(plain)>, gguf::Array>) {
          return nullptr;
        } else {
          return plain;
        }
      },
      value);
}

std::string TypeName(gguf::ValueType type) {
  std::string name(gguf::ValueTypeName(type));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

// As record.py describes a file, less what the other converter makes of the folder's name.
Json Describe(int fd) {
  const auto info = gguf::ReadFd(fd, {.limits = {}, .keep_arrays = true});
  if (!info) return info.error().message;
  Json keys = Json::object();
  for (const gguf::KeyValue& key : info->metadata) {
    std::string type = TypeName(key.type);
    if (const auto* array = std::get_if<gguf::Array>(&key.value))
      type += "/" + TypeName(array->type);
    keys[key.key] = {{"type", type}, {"value", ToJson(key.value)}};
  }
  Json tensors = Json::object();
  for (const gguf::TensorInfo& tensor : info->tensors) {
    std::string data(tensor.size_bytes, '\0');
    EXPECT_EQ(::pread(fd, data.data(), data.size(),
                      static_cast<off_t>(info->data_offset + tensor.offset)),
              static_cast<ssize_t>(data.size()));
    tensors[tensor.name] = {{"type", gguf::TensorTypeName(tensor.type)},
                            {"shape", tensor.dims},
                            {"sha256", Sha256Hex(data)}};
  }
  return {{"keys", keys}, {"tensors", tensors}};
}

Json Expected(const std::string& name) {
  std::ifstream file(fs::path(CORRAL_CONVERT_DATA) / name / "expected.json");
  Json expected = Json::parse(file);
  for (const char* key : {"general.name", "general.basename", "general.finetune", "general.version",
                          "general.organization"})
    expected["keys"].erase(key);
  return expected;
}

// Says which key or tensor differs, not all of them.
void ExpectSame(const Json& actual, const Json& expected) {
  ASSERT_TRUE(actual.is_object()) << actual;
  for (const char* part : {"keys", "tensors"}) {
    for (const auto& [name, value] : expected[part].items()) {
      if (!actual[part].contains(name)) {
        ADD_FAILURE() << part << ": " << name << " is missing";
        continue;
      }
      const std::string a = actual[part][name].dump();
      const std::string e = value.dump();
      EXPECT_EQ(a, e) << part << ": " << name;
    }
    for (const auto& [name, value] : actual[part].items())
      EXPECT_TRUE(expected[part].contains(name))
          << part << ": " << name << " is too much: " << value;
  }
}

class FamilyTest : public testing::TestWithParam<const char*> {};

TEST_P(FamilyTest, ConvertsToTheSameKeysAndTensorsAsLlamaCppsConverter) {
  const Converted converted = Convert(Folder(GetParam()));
  ASSERT_TRUE(converted.status) << converted.status.error().message;
  ExpectSame(Describe(converted.output.get()), Expected(GetParam()));
  const auto info = gguf::ReadFd(converted.output.get());
  ASSERT_TRUE(info);
  EXPECT_TRUE(gguf::CheckLoadable(*info));
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyTest,
                         testing::Values("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3",
                                         "gemma3_vision", "phi3", "bert"),
                         [](const auto& family) { return std::string(family.param); });

class AdapterTest : public testing::TestWithParam<const char*> {};

TEST_P(AdapterTest, ConvertsToTheSameKeysAndTensorsAsLlamaCppsConverter) {
  const std::string base_name = GetParam();
  const Converted base = Convert(Folder(base_name));
  ASSERT_TRUE(base.status) << base.status.error().message;
  const Converted adapter =
      Convert(Folder(base_name + "_adapter"), Task::Kind::kConvertAdapter, &base.output);
  ASSERT_TRUE(adapter.status) << adapter.status.error().message;
  ExpectSame(Describe(adapter.output.get()), Expected(base_name + "_adapter"));
  const Status fits = gguf::CheckAdapter(gguf::ReadFd(adapter.output.get()).value(),
                                         gguf::ReadFd(base.output.get()).value());
  EXPECT_TRUE(fits) << fits.error().message;
}

INSTANTIATE_TEST_SUITE_P(Families, AdapterTest, testing::Values("llama", "gemma2"),
                         [](const auto& family) { return std::string(family.param); });

std::string RefusalOf(const Folder& folder) {
  const Converted converted = Convert(folder);
  if (converted.status) return "converted";
  EXPECT_EQ(converted.status.error().code, Code::kInvalidArgument);
  return converted.status.error().message;
}

TEST(ConvertTest, NamesAnArchitectureThatItCannotConvert) {
  Folder folder("llama");
  folder.Set("config.json", "architectures", Json::array({"FalconForCausalLM"}));
  EXPECT_EQ(RefusalOf(folder), "unsupported architecture \"FalconForCausalLM\"");
  folder.Set("config.json", "architectures", nullptr);
  EXPECT_EQ(RefusalOf(folder), "unsupported architecture \"\"");
}

TEST(ConvertTest, RefusesAPreTokenizerThatHasNoName) {
  Folder folder("llama");
  folder.Set("tokenizer.json", "pre_tokenizer", {{"type", "Whitespace"}});
  EXPECT_THAT(RefusalOf(folder), testing::HasSubstr("pre-tokenizer"));
}

TEST(ConvertTest, RefusesQuantizedWeights) {
  Folder folder("llama");
  folder.Set("config.json", "quantization_config", {{"quant_method", "gptq"}});
  EXPECT_THAT(RefusalOf(folder), testing::HasSubstr("gptq"));
}

TEST(ConvertTest, SaysWhichTensorAnIndexMisses) {
  Folder folder("llama");
  folder.files["model.safetensors.index.json"] =
      R"({"weight_map": {"model.layers.9.mlp.up_proj.weight": "model-00002-of-00002.safetensors"}})";
  EXPECT_THAT(RefusalOf(folder), testing::HasSubstr("model-00002-of-00002.safetensors"));
}

TEST(ConvertTest, RefusesConfigurationsThatAreNoNumbers) {
  for (const auto& [key, value] : std::map<std::string, Json>{{"hidden_size", "big"},
                                                              {"num_attention_heads", 0},
                                                              {"num_attention_heads", -4},
                                                              {"vocab_size", 1e300},
                                                              {"num_hidden_layers", 1.5},
                                                              {"head_dim", 1e18}}) {
    Folder folder("llama");
    folder.Set("config.json", key, value);
    EXPECT_THAT(RefusalOf(folder), testing::StartsWith("config.json")) << key << value;
  }
}

TEST(ConvertTest, RefusesABombOfNestedJson) {
  Folder folder("llama");
  folder.files["config.json"] = std::string(100'000, '[');
  EXPECT_THAT(RefusalOf(folder), testing::HasSubstr("config.json"));
}

TEST(ConvertTest, EveryCutOfAFileIsRefusedOrConverted) {
  for (const char* file : {"model.safetensors", "tokenizer.json", "config.json"}) {
    const Folder whole("llama");
    const std::size_t size = whole.files.at(file).size() - 1;  // a newline is not missed
    for (std::size_t length = 0; length < size; length += 1 + size / 97) {
      Folder folder = whole;
      folder.files[file].resize(length);
      const Converted converted = Convert(folder);
      EXPECT_FALSE(converted.status) << file << " of " << length;
    }
  }
  const Folder whole("mistral");
  const std::size_t size = whole.files.at("tokenizer.model").size();
  for (std::size_t length = 0; length < size; length += 1 + size / 97) {
    Folder folder = whole;
    folder.files["tokenizer.model"].resize(length);
    (void)Convert(folder);  // must return
  }
}

}  // namespace
}  // namespace corral::convert
