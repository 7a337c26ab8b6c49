#include "convert/convert.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "convert/adapter.h"
#include "convert/assemble.h"
#include "convert/families.h"
#include "convert/safetensors.h"
#include "gguf/merge.h"

namespace corral::convert {
namespace {

constexpr std::size_t kMostNameBytes = 63;         // GGML_MAX_NAME - 1
constexpr std::uint32_t kFileTypeFloat16 = 1;      // llama.cpp's LLAMA_FTYPE_MOSTLY_F16
constexpr std::uint32_t kQuantizationVersion = 2;  // GGML_QNT_VERSION

// Of all files of weights. Files in subfolders belong to other parts of a model, unless there are
// no others.
Result<std::vector<SafeTensor>> ReadTensors(const Inputs& inputs) {
  auto files = inputs.EndingWith(".safetensors");
  const auto in_subfolder = [](const auto& file) {
    return file.first.find('/') != std::string::npos;
  };
  if (!std::all_of(files.begin(), files.end(), in_subfolder))
    files.erase(std::remove_if(files.begin(), files.end(), in_subfolder), files.end());
  if (files.empty()) return Refuse("the model has no safetensors file");
  std::vector<SafeTensor> tensors;
  std::set<std::string> names;
  for (const auto& [file, fd] : files) {
    auto part = ReadSafetensors(fd);
    if (!part) return Fail(std::move(part).error().Within(file));
    for (SafeTensor& tensor : *part) {
      if (!names.insert(tensor.name).second)
        return Refuse("tensor " + tensor.name + " is in two files");
      tensors.push_back(std::move(tensor));
    }
  }
  // An index names what must be there.
  CORRAL_TRY(const Json index, inputs.ReadJsonIfThere("model.safetensors.index.json"));
  if (const auto map = index.find("weight_map"); map != index.end() && map->is_object()) {
    for (const auto& [name, file] : map->items()) {
      if (!names.contains(name)) {
        return Refuse("tensor " + name + " is missing: " +
                      (file.is_string() ? file.get<std::string>() : "a file") + " is not complete");
      }
    }
  }
  return tensors;
}

// gguf-py/gguf/utility.py (model_weight_count_rounded_notation): "135M", "1.2B".
std::string SizeLabel(std::uint64_t n_parameters) {
  const auto n = static_cast<double>(n_parameters);
  const std::pair<double, char> scales[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}};
  double scaled = n * 1e-3;
  char suffix = 'K';
  for (const auto& [scale, name] : scales) {
    if (n <= scale) continue;
    scaled = n / scale;
    suffix = name;
    break;
  }
  const double rounded = std::nearbyint(scaled);
  const int n_digits = rounded < 1 ? 0 : rounded < 10 ? 1 : 2;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f%c", 2 - n_digits, scaled, suffix);
  return text.data();
}

// What generation_config.json says of sampling.
Status SetSampling(const Inputs& inputs, gguf::Header* header) {
  CORRAL_TRY(const Json config, inputs.ReadJsonIfThere("generation_config.json"));
  if (const auto top_k = NumberOf(config, "top_k"); top_k && std::fabs(*top_k) < 1e9) {
    const auto value = static_cast<std::int32_t>(*top_k);
    header->SetRaw("general.sampling.top_k", gguf::ValueType::kInt32,
                   std::string_view(reinterpret_cast<const char*>(&value), sizeof(value)));
  }
  const std::pair<const char*, const char*> numbers[] = {
      {"general.sampling.top_p", "top_p"},
      {"general.sampling.min_p", "min_p"},
      {"general.sampling.temp", "temperature"},
      {"general.sampling.penalty_repeat", "repetition_penalty"}};
  for (const auto& [key, from] : numbers) {
    if (const auto value = NumberOf(config, from))
      header->SetFloat32(key, static_cast<float>(*value));
  }
  return {};
}

Result<OutputTensor> ToOutput(const Family& family, const SafeTensor& source, std::string mapped,
                              std::uint64_t n_heads, std::uint64_t n_kv_heads,
                              std::size_t n_tokens) {
  CORRAL_TRY_STATUS(CheckSource(source));
  if (mapped.size() > kMostNameBytes)
    return Refuse("tensor " + source.name + ": its name is too long");
  OutputTensor tensor{.name = std::move(mapped), .shape = source.shape};
  tensor.type = OutputType(tensor.name, tensor.shape.size());
  tensor.adds_one = family.adds_one_to_norms && source.name.ends_with("norm.weight");
  tensor.interleave_heads = InterleavedHeads(family, tensor.name, n_heads, n_kv_heads);
  CORRAL_TRY_STATUS(CheckInterleaving(tensor));
  // Gemma 3 pads its embeddings; rows without a token are cut.
  if (family.architecture == "gemma3" && tensor.name == "token_embd.weight" &&
      !tensor.shape.empty())
    tensor.shape[0] = std::min<std::uint64_t>(tensor.shape[0], n_tokens);
  tensor.source = source;
  return tensor;
}

Status ConvertModel(const Inputs& inputs, const std::string& name, int output,
                    const std::function<void(float)>& on_progress) {
  CORRAL_TRY(Json config, inputs.ReadJson("config.json"));
  std::string hf_architecture;
  if (const auto list = config.find("architectures");
      list != config.end() && list->is_array() && !list->empty() && (*list)[0].is_string())
    hf_architecture = (*list)[0].get<std::string>();
  const Family* family = FindFamily(hf_architecture);
  if (family == nullptr) return Refuse("unsupported architecture \"" + hf_architecture + "\"");
  if (const auto found = config.find("quantization_config");
      found != config.end() && !found->is_null()) {
    return Refuse("the model's weights are quantized (" + TextOf(*found, "quant_method") +
                  "): convert from the original ones");
  }
  CORRAL_TRY(Json defaults, ParseJson(family->defaults, "defaults"));
  const Parameters given(config, defaults);
  CORRAL_TRY(const std::uint32_t hidden_size, given.NeedUint({"hidden_size"}));
  CORRAL_TRY(const std::uint32_t n_heads, given.NeedUint({"num_attention_heads"}));
  if (n_heads == 0) return Refuse("config.json: num_attention_heads is 0");
  if (family->fills_head_dim) {
    defaults["head_dim"] = hidden_size / n_heads;
    if (!defaults.contains("num_key_value_heads")) defaults["num_key_value_heads"] = n_heads;
  }
  const Parameters parameters(std::move(config), defaults);
  CORRAL_TRY(const auto kv_heads, parameters.Uint({"num_key_value_heads"}));
  CORRAL_TRY(const auto vocab_size, parameters.Uint({"vocab_size"}));
  CORRAL_TRY(const Vocabulary vocabulary,
             ReadVocabulary(inputs, family->vocabulary, vocab_size.value_or(0)));

  gguf::Header header;
  header.SetString("general.architecture", family->architecture);
  header.SetString("general.type", "model");
  CORRAL_TRY_STATUS(SetSampling(inputs, &header));
  if (!name.empty()) header.SetString("general.name", name);

  CORRAL_TRY(std::vector<OutputTensor> tensors, ExtraTensors(*family, parameters, &header));
  CORRAL_TRY(const std::vector<SafeTensor> sources, ReadTensors(inputs));
  for (const SafeTensor& source : sources) {
    auto mapped = MapTensorName(*family, source.name);
    if (!mapped) {
      return Refuse("tensor " + source.name.substr(0, 200) + " is not one that a " +
                    hf_architecture + " has");
    }
    if (mapped->empty()) continue;
    CORRAL_TRY(OutputTensor tensor, ToOutput(*family, source, *std::move(mapped), n_heads,
                                             kv_heads.value_or(n_heads), vocabulary.tokens.size()));
    tensors.push_back(std::move(tensor));
  }
  std::uint64_t n_parameters = 0;
  for (const OutputTensor& tensor : tensors)
    n_parameters += tensor.SizeBytes() / (tensor.type == kTypeFloat32 ? 4 : 2);
  header.SetString("general.size_label", SizeLabel(n_parameters));
  CORRAL_TRY_STATUS(SetFamilyKeys(*family, inputs, parameters, vocabulary, &header));
  header.SetUint32("general.file_type", kFileTypeFloat16);
  header.SetUint32("general.quantization_version", kQuantizationVersion);
  return Assemble(std::move(header), tensors, output, on_progress);
}

}  // namespace

Status Run(const Task& task, const TaskFiles& files,
           const std::function<void(float)>& on_progress) {
  if (task.kind == Task::Kind::kMerge) return gguf::Merge(files.inputs, files.output, on_progress);
  const Inputs inputs(task.input_names, files.inputs);
  if (task.kind == Task::Kind::kConvert)
    return ConvertModel(inputs, task.name, files.output, on_progress);
  if (task.kind == Task::Kind::kConvertAdapter)
    return ConvertAdapter(inputs, task.name, files.output, on_progress);
  return Fail(Code::kInternal, "not a conversion");
}

}  // namespace corral::convert
