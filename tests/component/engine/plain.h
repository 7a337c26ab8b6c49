// llama.cpp with nothing of ours around it: what comes after a prompt that is evaluated alone and
// without a cache. The measure for what the engine does with many at once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/job.h"

struct llama_adapter_lora;
struct llama_context;
struct llama_model;
struct llama_vocab;
struct mtmd_context;
struct mtmd_input_chunk;
struct mtmd_input_chunks;

namespace corral::engine {

using Distribution = std::map<std::string, double>;  // by the token's text

// Kullback and Leibler: how far `q` is from `p`, in nats.
double Divergence(const Distribution& p, const Distribution& q);

// A prompt: `[img]` in the text for each picture, of these seeds. It ends with text.
struct Ask {
  std::string text;
  std::vector<unsigned> pictures = {};
  std::vector<AdapterUse> adapters = {};
};
// Of a picture's file, as a client sends it.
std::string PictureFile(unsigned seed);

class Plain {
 public:
  // What it is made of, as bytes of GGUF. An adapter's name is what `AdapterUse::file` says.
  struct Files {
    std::string model;
    std::string projector = {};  // empty: none
    std::map<std::string, std::string> adapters = {};
    int least_cells = -1;  // of a picture; -1: as the projector says
  };
  explicit Plain(const Files& files, int num_ctx = 1024);
  ~Plain();
  Plain(const Plain&) = delete;
  Plain& operator=(const Plain&) = delete;

  // What comes next, evaluated `n_step` tokens at a time; pictures are evaluated as one.
  Distribution Next(const Ask& ask, int n_step = 512);
  // What decides a cell's state, apart from what is before it: a number a cell.
  std::vector<std::int64_t> Cells(const Ask& ask);
  int n_vocab() const;

 private:
  struct ChunksDeleter {
    void operator()(mtmd_input_chunks* chunks) const;
  };
  using Chunks = std::unique_ptr<mtmd_input_chunks, ChunksDeleter>;

  Chunks Read(const Ask& ask) const;
  std::vector<Token> Tokenize(const std::string& text) const;
  void Apply(const std::vector<AdapterUse>& adapters);
  void EvaluateText(const std::vector<Token>& tokens, std::size_t n_step, std::int32_t* position);
  void EvaluatePicture(const mtmd_input_chunk* chunk, unsigned seed, std::int32_t* position);
  Distribution Scores() const;
  std::string Text(Token token) const;

  llama_model* model_ = nullptr;
  const llama_vocab* vocab_ = nullptr;
  mtmd_context* projector_ = nullptr;
  llama_context* context_ = nullptr;
  std::map<std::string, llama_adapter_lora*> adapters_;
  std::map<unsigned, std::vector<float>> encoded_;  // by the picture's seed
};

}  // namespace corral::engine
