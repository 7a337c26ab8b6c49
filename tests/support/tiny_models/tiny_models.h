// Tiny models with random weights, for tests that need a real engine and no download. Same bytes on
// every machine.
//
// The text they produce is noise, but noise of words: the logits of fragments and raw bytes are
// lowered by a constant dimension of the hidden state. Thread-safe (pure functions).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/writer.h"

namespace corral::testing {

// A TinyAdapter that has been added to the weights.
struct MergedAdapter {
  unsigned seed = 0;
  float scale = 1;
};

struct TinyLlamaOptions {
  // Adds a ChatML template, with its two tokens in the vocabulary.
  bool has_chat_template = false;
  // The end-of-text token never wins: generation goes on to num_predict or the end of the context.
  bool is_endless = false;
  // A Jinja template in place of ChatML, and the texts in it that are tokens of their own. They are
  // never generated unless a grammar leaves nothing else.
  std::string chat_template = {};
  std::vector<std::string> control_tokens = {};
  // Tokens: after each of them the model says the next one, unless a grammar forbids it.
  std::vector<std::string> script = {};
  std::vector<MergedAdapter> merged = {};
  // Heads, 64 wide together, and half as many for keys and values: quantized cells need heads of
  // 32, and of 64 to be shifted.
  std::uint64_t n_heads = 4;
};

// Architecture llama: 2 blocks, 64 wide, 4 heads (2 for keys and values), context 2,048, F32.
// SentencePiece vocabulary: <unk> <s> </s>, all bytes, printable ASCII, some words. A text gets <s>
// in front.
gguf::Writer TinyLlama(const TinyLlamaOptions& options = {});

// A LoRA adapter for it, of rank 4: another one for each seed. Strong enough that the text differs.
// `architecture`: for another one of the models here (llama, gemma3, mamba, jamba, qwen2vl).
gguf::Writer TinyAdapter(unsigned seed, std::string_view architecture = "llama");
// One for a narrower model: well formed, but it fits no model here.
gguf::Writer UnfitAdapter();

// Models whose memory is not that of every position: TinyLlama's vocabulary and sizes in other
// architectures. They never end by themselves.
//
// gemma3: 4 blocks, every second one sees kTinyWindow positions only.
inline constexpr int kTinyWindow = 32;
gguf::Writer TinyWindow();
// mamba: 2 recurrent blocks.
gguf::Writer TinyRecurrent();
// jamba: 4 blocks, recurrent and attention in turn.
gguf::Writer TinyHybrid();

// qwen2vl: 2 blocks, with positions of two dimensions (M-RoPE).
gguf::Writer TinyTwoDimensional();

// Projectors, for language models of 64 dimensions.
//
// A CLIP encoder and an MLP, as LLaVA: 32 x 32 pixels, 16 tokens a picture.
gguf::Writer TinyLlavaProjector(std::uint64_t text_width = 64);
// Gemma 3: 64 x 64 pixels, 16 tokens that all see each other.
gguf::Writer TinyGemmaProjector();
// Qwen2-VL, for TinyTwoDimensional: pictures of any size, a token for 8 x 8 pixels, at least 1,024.
gguf::Writer TinyQwenProjector();
// Hears, without an encoder: a token for 40 ms of sound at 16 kHz.
gguf::Writer TinySoundProjector();

// Architecture bert: 2 blocks, 32 wide, 4 heads, F32. WordPiece vocabulary over ASCII, lower case.
// `pooling_type` as llama.cpp numbers them: 0 none, 1 mean, 2 first, 3 last.
gguf::Writer TinyBert(std::uint32_t pooling_type = 1, std::uint32_t n_context = 128);
// The same with rank pooling and a head of one label.
gguf::Writer TinyReranker();
// Architecture qwen3: a decoder that ranks, with a head of two labels, "yes" first, and a prompt of
// its own for a pair. Of TinyLlama's vocabulary.
gguf::Writer TinyDecoderReranker();

}  // namespace corral::testing
