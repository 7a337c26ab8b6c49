#include "support/tiny_models/tiny_models.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/tiny_models/parts.h"

namespace corral::testing {
namespace {

// llama.cpp's llama_token_type
constexpr std::int32_t kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6;

constexpr std::string_view kWordStart = "\xe2\x96\x81";  // U+2581, in both tokenizers

constexpr std::array<std::string_view, 40> kWords = {
    "the",  "and",  "you",   "that",  "was",  "for",   "are",  "with",  "his",   "they",
    "this", "have", "from",  "one",   "had",  "word",  "but",  "not",   "what",  "all",
    "were", "when", "your",  "can",   "said", "there", "use",  "each",  "which", "she",
    "how",  "will", "other", "about", "out",  "many",  "then", "hello", "world", "sky"};

constexpr float kNever = -40.0F;
constexpr float kRarely = -6.0F;

}  // namespace

Vocabulary LlamaVocabulary(const TinyLlamaOptions& options) {
  Vocabulary vocabulary;
  vocabulary.Add("<unk>", 0, kUnknown, kNever);
  vocabulary.Add("<s>", 0, kControl, kNever);
  vocabulary.Add("</s>", 0, kControl, options.is_endless ? kNever : 1.0F);
  for (int byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    std::string token = "<0x00>";
    token[3] = kHex[static_cast<std::size_t>(byte) / 16];
    token[4] = kHex[static_cast<std::size_t>(byte) % 16];
    vocabulary.Add(std::move(token), 0, kByte, kNever);
  }
  if (options.has_chat_template) {
    vocabulary.Add("<|im_start|>", 0, kControl, kNever);
    vocabulary.Add("<|im_end|>", 0, kControl, kNever);
  }
  for (const std::string& token : options.control_tokens)
    vocabulary.Add(token, 0, kControl, kNever);
  vocabulary.Add(std::string(kWordStart), -50, kNormal, kRarely);
  for (char c = 0x21; c < 0x7f; ++c) vocabulary.Add(std::string(1, c), -50, kNormal, kRarely);
  // Two symbols merge when their sum is a token: each word brings its beginnings along.
  for (const std::string_view word : kWords) {
    for (std::size_t length = 1; length <= word.size(); ++length) {
      const bool is_whole = length == word.size();
      vocabulary.Add(std::string(kWordStart) + std::string(word.substr(0, length)),
                     static_cast<float>(length) - 40.0F, kNormal, is_whole ? 0.0F : kRarely);
    }
  }
  return vocabulary;
}

void SetVocabulary(gguf::Writer& writer, const Vocabulary& vocabulary) {
  writer.SetString("tokenizer.ggml.model", "llama");
  writer.SetStrings("tokenizer.ggml.tokens", vocabulary.tokens);
  writer.SetFloat32s("tokenizer.ggml.scores", vocabulary.scores);
  writer.SetInt32s("tokenizer.ggml.token_type", vocabulary.types);
  writer.SetUint32("tokenizer.ggml.unknown_token_id", 0);
  writer.SetUint32("tokenizer.ggml.bos_token_id", 1);
  writer.SetUint32("tokenizer.ggml.eos_token_id", 2);
  writer.SetBool("tokenizer.ggml.add_bos_token", true);
  writer.SetBool("tokenizer.ggml.add_eos_token", false);
}

namespace {

constexpr std::string_view kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

}  // namespace

gguf::Writer TinyLlama(const TinyLlamaOptions& options) {
  constexpr std::uint64_t kWidth = 64, kHidden = 128, kBlocks = 2;
  const std::uint64_t n_heads_kv = std::max<std::uint64_t>(options.n_heads / 2, 1);
  const std::uint64_t width_kv = kWidth / options.n_heads * n_heads_kv;
  const Vocabulary vocabulary = LlamaVocabulary(options);
  const std::uint64_t n_tokens = vocabulary.tokens.size();

  gguf::Writer writer;
  writer.SetString("general.architecture", "llama");
  writer.SetString("general.name", "tiny-llama");
  writer.SetUint32("general.file_type", 0);
  writer.SetUint32("llama.context_length", 2048);
  writer.SetUint32("llama.embedding_length", kWidth);
  writer.SetUint32("llama.block_count", kBlocks);
  writer.SetUint32("llama.feed_forward_length", kHidden);
  writer.SetUint32("llama.attention.head_count", static_cast<std::uint32_t>(options.n_heads));
  writer.SetUint32("llama.attention.head_count_kv", static_cast<std::uint32_t>(n_heads_kv));
  writer.SetFloat32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  writer.SetUint32("llama.rope.dimension_count",
                   static_cast<std::uint32_t>(kWidth / options.n_heads));
  writer.SetFloat32("llama.rope.freq_base", 10000.0F);
  writer.SetUint32("llama.vocab_size", static_cast<std::uint32_t>(n_tokens));
  SetVocabulary(writer, vocabulary);
  if (!options.chat_template.empty()) {
    writer.SetString("tokenizer.chat_template", options.chat_template);
  } else if (options.has_chat_template) {
    writer.SetString("tokenizer.chat_template", std::string(kChatMl));
  }

  // The first dimension of the hidden state is kConstant in every embedding and nothing writes to
  // it: what the output matrix has there is a bias.
  constexpr float kConstant = 4.0F;
  Random random(20260101);
  const auto matrix = [&](std::string name, std::uint64_t from, std::uint64_t to, float gain) {
    std::vector<float> weights =
        random.Normals(from * to, gain / std::sqrt(static_cast<float>(from)));
    Merge(options.merged, name, from, to, &weights);
    writer.AddTensor(std::move(name), {from, to}, weights);
  };
  const auto matrix_back = [&](std::string name, std::uint64_t from) {
    std::vector<float> weights =
        random.Normals(from * kWidth, 1.0F / std::sqrt(static_cast<float>(from)));
    for (std::uint64_t i = 0; i < from; ++i) weights[i] = 0.0F;
    writer.AddTensor(std::move(name), {from, kWidth}, weights);
  };

  std::vector<float> embeddings = random.Normals(kWidth * n_tokens, 1.0F);
  std::vector<float> output = random.Normals(kWidth * n_tokens, 0.35F);
  for (std::uint64_t token = 0; token < n_tokens; ++token) {
    embeddings[token * kWidth] = kConstant;
    output[token * kWidth] = vocabulary.biases[token] / 2.0F;
  }
  for (std::size_t i = 1; i < options.script.size(); ++i) {
    constexpr float kSure = 4.0F;
    const std::uint64_t said = vocabulary.Find(options.script[i - 1]) * kWidth;
    const std::uint64_t next = vocabulary.Find(options.script[i]) * kWidth;
    for (std::uint64_t k = 1; k < kWidth; ++k) output[next + k] += kSure * embeddings[said + k];
    output[next] = 0.0F;
  }
  writer.AddTensor("token_embd.weight", {kWidth, n_tokens}, embeddings);
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    AddConstant(writer, block + "attn_norm.weight", kWidth, 1.0F);
    matrix(block + "attn_q.weight", kWidth, kWidth, 1.5F);
    matrix(block + "attn_k.weight", kWidth, width_kv, 1.5F);
    matrix(block + "attn_v.weight", kWidth, width_kv, 1.0F);
    matrix_back(block + "attn_output.weight", kWidth);
    AddConstant(writer, block + "ffn_norm.weight", kWidth, 1.0F);
    matrix(block + "ffn_gate.weight", kWidth, kHidden, 1.0F);
    matrix(block + "ffn_up.weight", kWidth, kHidden, 1.0F);
    matrix_back(block + "ffn_down.weight", kHidden);
  }
  AddConstant(writer, "output_norm.weight", kWidth, 1.0F);
  writer.AddTensor("output.weight", {kWidth, n_tokens}, output);
  return writer;
}

namespace {

gguf::Writer Bert(std::uint32_t pooling_type, std::uint32_t n_context) {
  const bool is_reranker = pooling_type == 4;
  constexpr std::uint64_t kWidth = 32, kHeads = 4, kHidden = 64, kBlocks = 2;
  Vocabulary vocabulary;
  for (const std::string_view special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    vocabulary.Add(std::string(special), 0, kControl, 0);
  }
  for (char c = 0x21; c < 0x7f; ++c) {
    if (c >= 'A' && c <= 'Z') continue;
    vocabulary.Add(std::string(kWordStart) + c, 0, kNormal, 0);
    const bool is_letter_or_digit = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (is_letter_or_digit) vocabulary.Add(std::string(1, c), 0, kNormal, 0);
  }
  for (const std::string_view word : kWords) {
    vocabulary.Add(std::string(kWordStart) + std::string(word), 0, kNormal, 0);
  }
  const std::uint64_t n_tokens = vocabulary.tokens.size();

  gguf::Writer writer;
  writer.SetString("general.architecture", "bert");
  writer.SetString("general.name", "tiny-bert");
  writer.SetUint32("general.file_type", 0);
  writer.SetUint32("bert.context_length", n_context);
  writer.SetUint32("bert.embedding_length", kWidth);
  writer.SetUint32("bert.block_count", kBlocks);
  writer.SetUint32("bert.feed_forward_length", kHidden);
  writer.SetUint32("bert.attention.head_count", kHeads);
  writer.SetFloat32("bert.attention.layer_norm_epsilon", 1e-12F);
  writer.SetBool("bert.attention.causal", false);
  writer.SetUint32("bert.pooling_type", pooling_type);
  writer.SetString("tokenizer.ggml.model", "bert");
  writer.SetUint32("tokenizer.ggml.token_type_count", 2);
  writer.SetStrings("tokenizer.ggml.tokens", vocabulary.tokens);
  writer.SetInt32s("tokenizer.ggml.token_type", vocabulary.types);
  writer.SetUint32("tokenizer.ggml.padding_token_id", 0);
  writer.SetUint32("tokenizer.ggml.unknown_token_id", 1);
  writer.SetUint32("tokenizer.ggml.cls_token_id", 2);
  writer.SetUint32("tokenizer.ggml.bos_token_id", 2);
  writer.SetUint32("tokenizer.ggml.seperator_token_id", 3);  // spelt so in llama.cpp
  writer.SetUint32("tokenizer.ggml.mask_token_id", 4);

  Random random(20260102);
  const auto matrix = [&](const std::string& name, std::uint64_t from, std::uint64_t to) {
    writer.AddTensor(name + ".weight", {from, to},
                     random.Normals(from * to, 1.0F / std::sqrt(static_cast<float>(from))));
    AddConstant(writer, name + ".bias", to, 0.0F);
  };
  const auto norm = [&](const std::string& name) {
    AddConstant(writer, name + ".weight", kWidth, 1.0F);
    AddConstant(writer, name + ".bias", kWidth, 0.0F);
  };

  writer.AddTensor("token_embd.weight", {kWidth, n_tokens},
                   random.Normals(kWidth * n_tokens, 1.0F));
  writer.AddTensor("token_types.weight", {kWidth, 2}, random.Normals(kWidth * 2, 0.1F));
  writer.AddTensor("position_embd.weight", {kWidth, n_context},
                   random.Normals(kWidth * n_context, 0.2F));
  norm("token_embd_norm");
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    matrix(block + "attn_q", kWidth, kWidth);
    matrix(block + "attn_k", kWidth, kWidth);
    matrix(block + "attn_v", kWidth, kWidth);
    matrix(block + "attn_output", kWidth, kWidth);
    norm(block + "attn_output_norm");
    matrix(block + "ffn_up", kWidth, kHidden);
    matrix(block + "ffn_down", kHidden, kWidth);
    norm(block + "layer_output_norm");
  }
  if (is_reranker) {
    matrix("cls", kWidth, kWidth);
    matrix("cls.output", kWidth, 1);
  }
  return writer;
}

}  // namespace

gguf::Writer TinyBert(std::uint32_t pooling_type, std::uint32_t n_context) {
  return Bert(pooling_type, n_context);
}
gguf::Writer TinyReranker() { return Bert(4, 128); }

}  // namespace corral::testing
