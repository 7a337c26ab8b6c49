// Embeddings of a generating model (mean of its tokens) and of an encoder.
#include <gmock/gmock.h>
#include <llama.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <map>

#include "bench.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

const std::string& BertModel() {
  static const std::string bytes = corral::testing::TinyBert().Bytes();
  return bytes;
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

Embeddings Embed(Bench& bench, std::vector<std::string> texts) {
  EmbedJob job;
  job.texts = std::move(texts);
  const Story story = bench.Wait(bench.Submit(job));
  EXPECT_TRUE(std::holds_alternative<Embeddings>(story.last)) << story.error().message;
  return std::holds_alternative<Embeddings>(story.last) ? std::get<Embeddings>(story.last)
                                                        : Embeddings{};
}

// llama.cpp with nothing of ours around it.
class Plain {
 public:
  Plain(const std::string& bytes, enum llama_pooling_type pooling) {
    const int fd = ::memfd_create("model", MFD_CLOEXEC);
    EXPECT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    std::FILE* file = ::fdopen(fd, "rb");
    std::rewind(file);
    model_ = llama_model_load_from_file_ptr(file, llama_model_default_params());
    std::fclose(file);
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = 128;
    params.n_threads = params.n_threads_batch = 1;
    params.embeddings = true;
    params.pooling_type = pooling;
    context_ = model_ != nullptr ? llama_init_from_model(model_, params) : nullptr;
    EXPECT_NE(context_, nullptr);
  }
  ~Plain() {
    llama_free(context_);
    llama_model_free(model_);
  }
  Plain(const Plain&) = delete;
  Plain& operator=(const Plain&) = delete;

  std::vector<Token> Tokenize(const std::string& text, bool add_special) const {
    std::vector<Token> tokens(text.size() + 8);
    tokens.resize(static_cast<std::size_t>(
        std::max(0, llama_tokenize(llama_model_get_vocab(model_), text.data(),
                                   static_cast<std::int32_t>(text.size()), tokens.data(),
                                   static_cast<std::int32_t>(tokens.size()), add_special, false))));
    return tokens;
  }
  // The vector of each token; only without pooling.
  std::vector<std::vector<float>> TokenVectors(const std::string& text) {
    const std::vector<Token> tokens = Tokenize(text, true);
    Decode(tokens);
    std::vector<std::vector<float>> vectors;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const float* vector = llama_get_embeddings_ith(context_, static_cast<std::int32_t>(i));
      vectors.emplace_back(vector, vector + llama_model_n_embd_out(model_));
    }
    return vectors;
  }
  // What pooling leaves of a whole sequence; only with it.
  double Score(const std::vector<Token>& tokens, std::size_t label = 0) {
    Decode(tokens);
    return static_cast<double>(llama_get_embeddings_seq(context_, 0)[label]);
  }
  // What is left of a text in this vocabulary.
  std::string Text(const std::string& text) const {
    std::string left;
    for (const Token token : Tokenize(text, false)) {
      char piece[32];
      const std::int32_t n =
          llama_token_to_piece(llama_model_get_vocab(model_), token, piece, sizeof(piece), 0, true);
      left.append(piece, static_cast<std::size_t>(std::max(n, 0)));
    }
    return left;
  }

 private:
  void Decode(const std::vector<Token>& tokens) {
    if (llama_memory_t memory = llama_get_memory(context_)) llama_memory_clear(memory, true);
    llama_batch batch = llama_batch_init(static_cast<std::int32_t>(tokens.size()), 0, 1);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      batch.token[i] = tokens[i];
      batch.pos[i] = static_cast<llama_pos>(i);
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = 1;
    }
    batch.n_tokens = static_cast<std::int32_t>(tokens.size());
    EXPECT_EQ(llama_decode(context_, batch), 0);
    llama_batch_free(batch);
  }

  llama_model* model_ = nullptr;
  llama_context* context_ = nullptr;
};

std::vector<float> UnitMean(const std::vector<std::vector<float>>& vectors) {
  std::vector<float> mean(vectors.at(0).size());
  for (const auto& vector : vectors) {
    for (std::size_t k = 0; k < mean.size(); ++k) mean[k] += vector[k];
  }
  const double length = std::sqrt(Dot(mean, mean));
  for (float& x : mean) x = static_cast<float>(static_cast<double>(x) / length);
  return mean;
}

// Arithmetic of the token vectors of plain llama.cpp, for an encoder and a causal model whose GGUF
// names the pooling type.
TEST(EngineEmbed, PoolsAsTheModelSays) {
  const auto causal = [](std::uint32_t type) {
    gguf::Writer writer = corral::testing::TinyLlama({.is_endless = true});
    writer.SetUint32("llama.pooling_type", type);
    return writer.Bytes();
  };
  const auto encoder = [](std::uint32_t type) { return corral::testing::TinyBert(type).Bytes(); };
  const std::string text = "hello world about the many other sky";
  for (const std::function<std::string(std::uint32_t)>& make :
       {std::function<std::string(std::uint32_t)>(causal),
        std::function<std::string(std::uint32_t)>(encoder)}) {
    const auto vectors = Plain(make(0), LLAMA_POOLING_TYPE_NONE).TokenVectors(text);
    ASSERT_GT(vectors.size(), 3U);
    // A model without pooling still has one vector a text: the mean.
    const std::map<std::uint32_t, std::vector<float>> expected = {{0, UnitMean(vectors)},
                                                                  {1, UnitMean(vectors)},
                                                                  {2, UnitMean({vectors.front()})},
                                                                  {3, UnitMean({vectors.back()})}};
    EXPECT_LT(Dot(expected.at(1), expected.at(2)), 0.99) << "else the test could not fail";
    EXPECT_LT(Dot(expected.at(1), expected.at(3)), 0.99);
    EXPECT_LT(Dot(expected.at(2), expected.at(3)), 0.99);
    for (const auto& [type, vector] : expected) {
      Bench bench(make(type));
      const Embeddings embeddings = Embed(bench, {"the sky", text});
      ASSERT_EQ(embeddings.vectors.size(), 2U) << type;
      ASSERT_EQ(embeddings.vectors[1].size(), vector.size()) << type;
      EXPECT_GT(Dot(embeddings.vectors[1], vector), 0.9999) << type;
      EXPECT_TRUE(bench.engine().facts().is_embedding);
    }
  }
}

TEST(EngineEmbed, ScoresPairsAsRankPoolingDoes) {
  const std::string bytes = corral::testing::TinyReranker().Bytes();
  Bench bench(bytes);
  Plain plain(bytes, LLAMA_POOLING_TYPE_RANK);
  const std::string query = "about the sky";
  const std::vector<std::string> documents = {"hello world", "the sky", "many other"};
  EmbedJob job;
  job.rerank_query = query;
  job.texts = documents;
  const Story story = bench.Wait(bench.Submit(job));
  ASSERT_TRUE(std::holds_alternative<Embeddings>(story.last)) << story.error().message;
  const auto& scores = std::get<Embeddings>(story.last).vectors;
  ASSERT_EQ(scores.size(), documents.size());
  for (std::size_t i = 0; i < documents.size(); ++i) {
    // [CLS] query [SEP] document, as llama.cpp's server makes a pair of this vocabulary.
    std::vector<Token> pair = plain.Tokenize(query, true);
    const std::vector<Token> document = plain.Tokenize(documents[i], false);
    pair.insert(pair.end(), document.begin(), document.end());
    ASSERT_EQ(scores[i].size(), 1U);
    EXPECT_NEAR(static_cast<double>(scores[i][0]), 1 / (1 + std::exp(-plain.Score(pair))), 1e-4);
  }
  EXPECT_NE(scores[0], scores[1]);
}

std::vector<std::vector<float>> Rank(Bench& bench, const std::string& query,
                                     const std::vector<std::string>& documents) {
  EmbedJob job;
  job.rerank_query = query;
  job.texts = documents;
  const Story story = bench.Wait(bench.Submit(job));
  EXPECT_TRUE(std::holds_alternative<Embeddings>(story.last)) << story.error().message;
  return std::holds_alternative<Embeddings>(story.last) ? std::get<Embeddings>(story.last).vectors
                                                        : std::vector<std::vector<float>>{};
}

TEST(EngineEmbed, RanksWithTheModelsOwnPrompt) {
  gguf::Writer writer = corral::testing::TinyReranker();
  writer.SetString("tokenizer.chat_template.rerank", "one {document}, {query} and {query}");
  const std::string bytes = writer.Bytes();
  Bench bench(bytes);
  Plain plain(bytes, LLAMA_POOLING_TYPE_RANK);
  // What stands for a mark in a text is text.
  const std::vector<std::string> documents = {"hello world", "the {query} sky", "{document}"};
  const auto scores = Rank(bench, "about the sky", documents);
  ASSERT_EQ(scores.size(), documents.size());
  for (std::size_t i = 0; i < documents.size(); ++i) {
    ASSERT_EQ(scores[i].size(), 1U);
    const std::string prompt =
        "one " + plain.Text(documents[i]) + ", about the sky and about the sky";
    const double score = plain.Score(plain.Tokenize(prompt, false));
    EXPECT_NEAR(static_cast<double>(scores[i][0]), 1 / (1 + std::exp(-score)), 1e-4) << prompt;
  }
  EXPECT_NE(scores[0], scores[1]);
}

TEST(EngineEmbed, RanksWithADecoderOfTwoLabels) {
  const std::string bytes = corral::testing::TinyDecoderReranker().Bytes();
  Bench bench(bytes);
  Plain plain(bytes, LLAMA_POOLING_TYPE_RANK);
  const std::vector<std::string> documents = {"hello world", "the sky", "many other", "she was"};
  const auto scores = Rank(bench, "about the sky", documents);
  ASSERT_EQ(scores.size(), documents.size());
  for (std::size_t i = 0; i < documents.size(); ++i) {
    ASSERT_EQ(scores[i].size(), 1U) << "the share of yes, and not the one of no";
    const std::string prompt =
        "which one: " + plain.Text(documents[i]) + " said about the sky. about the sky?";
    const std::vector<Token> tokens = plain.Tokenize(prompt, false);
    EXPECT_NEAR(static_cast<double>(scores[i][0]), plain.Score(tokens), 1e-3) << prompt;
    EXPECT_NEAR(plain.Score(tokens) + plain.Score(tokens, 1), 1, 1e-5);
    EXPECT_GT(std::abs(plain.Score(tokens) - plain.Score(tokens, 1)), 1e-2)
        << "else the test could not fail";
  }
  EXPECT_NE(scores[0], scores[1]);
  EXPECT_EQ(Rank(bench, "about the sky", {"the sky"}).at(0).size(), 1U);
  EmbedJob no_query;
  no_query.texts = {"the sky"};
  const Story embedded = bench.Wait(bench.Submit(no_query));
  EXPECT_EQ(embedded.error().message, "this model does not support embeddings");
}

TEST(EngineEmbed, GivesAGeneratingModelsUnitVectors) {
  Bench bench(EndlessModel());
  const Embeddings embeddings = Embed(bench, {"hello world", "the sky", "hello world"});
  ASSERT_EQ(embeddings.vectors.size(), 3U);
  EXPECT_EQ(static_cast<int>(embeddings.vectors[0].size()), bench.engine().facts().n_embd);
  for (const auto& vector : embeddings.vectors) EXPECT_NEAR(Dot(vector, vector), 1.0, 1e-5);
  EXPECT_NEAR(Dot(embeddings.vectors[0], embeddings.vectors[2]), 1.0, 1e-5);
  EXPECT_LT(Dot(embeddings.vectors[0], embeddings.vectors[1]), 0.9999);
  EXPECT_GT(embeddings.prompt_tokens, 6);
}

TEST(EngineEmbed, GrowsItsContextWithTheTexts) {
  Bench bench(EndlessModel(), Bench::Small(1, 2048));
  const auto before = Embed(bench, {"hello world"}).vectors;
  Embed(bench, {Words(1'500, 1)});
  EXPECT_GT(Dot(before.at(0), Embed(bench, {"hello world"}).vectors.at(0)), 0.9999);
}

TEST(EngineEmbed, AnEncodersSizeHasTheContextInIt) {
  Bench bench(BertModel());
  const std::int64_t of_the_file = static_cast<std::int64_t>(BertModel().size());
  EXPECT_GT(bench.engine().facts().size_bytes, 2 * of_the_file)
      << "what a batch takes is more than the weights of so small a model";
}

TEST(EngineEmbed, CutsOrRefusesATextThatIsTooLong) {
  for (const std::string* model : {&EndlessModel(), &BertModel()}) {
    Bench bench(*model, Bench::Small(1, 64));
    EmbedJob job;
    job.texts = {Words(200, 1)};
    job.num_ctx = 64;
    const Story cut = bench.Wait(bench.Submit(job));
    ASSERT_TRUE(std::holds_alternative<Embeddings>(cut.last)) << cut.error().message;
    EXPECT_EQ(std::get<Embeddings>(cut.last).prompt_tokens, 64);
    job.truncate = false;
    EXPECT_EQ(bench.Wait(bench.Submit(job)).error().message,
              "the input length exceeds the context length");
    job.texts = {std::string(3 << 20, 'a')};
    EXPECT_EQ(bench.Wait(bench.Submit(job)).n_last, 1);
  }
}

TEST(EngineEmbed, GivesTextsTheSameVectorsTogetherAsAlone) {
  for (const std::string* model : {&EndlessModel(), &BertModel()}) {
    Bench bench(*model, Bench::Small(1, 1024));
    EXPECT_EQ(bench.engine().facts().is_embedding, model == &BertModel());
    std::vector<std::string> texts;
    for (unsigned i = 0; i < 40; ++i) texts.push_back(Words(1 + static_cast<int>(i) * 3 % 50, i));
    texts.push_back(Words(400, 77));  // longer than a batch
    texts.push_back("hello");
    const std::int64_t before = bench.engine().Counters().decode_calls;
    const Embeddings together = Embed(bench, texts);
    const std::int64_t n_decodes = bench.engine().Counters().decode_calls - before;
    ASSERT_EQ(together.vectors.size(), texts.size());
    EXPECT_LT(n_decodes, static_cast<std::int64_t>(texts.size()) * 3 / 4);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_NEAR(Dot(together.vectors[i], together.vectors[i]), 1.0, 1e-5);
      EXPECT_GT(Dot(together.vectors[i], Embed(bench, {texts[i]}).vectors.at(0)), 0.9999) << i;
    }
  }
}

TEST(EngineEmbed, ReadsAnEncodersTextToTheEndOfItsContext) {
  Bench bench(corral::testing::TinyBert(1, 4096).Bytes(), Bench::Small(1, 4096));
  EmbedJob job;
  job.texts = {Words(3'000, 1)};
  job.num_ctx = 4096;
  job.truncate = false;
  const Story story = bench.Wait(bench.Submit(job));
  ASSERT_TRUE(std::holds_alternative<Embeddings>(story.last)) << story.error().message;
  EXPECT_GT(std::get<Embeddings>(story.last).prompt_tokens, 3'000);
}

TEST(EngineEmbed, DoesNotGenerateWithAnEncoder) {
  Bench bench(BertModel());
  EXPECT_EQ(bench.Run(Greedy("hello", 3)).error().code, Code::kInvalidArgument);
}

TEST(EngineEmbed, AnswersACancelledJobWhileAnotherIsComputed) {
  Bench bench(EndlessModel(), Bench::Small(1, 2048));
  EmbedJob large;
  large.texts.assign(2'000, Words(1'000, 1));
  const JobId first = bench.Submit(large);
  const JobId second = bench.Submit(large);
  bench.engine().Cancel(second);
  EXPECT_EQ(bench.Wait(second).error().code, Code::kCancelled);
  EXPECT_EQ(bench.Now(first).n_last, 0) << "it is still being computed";
  bench.engine().Cancel(first);
  EXPECT_EQ(bench.Wait(first).error().code, Code::kCancelled);
}

TEST(EngineEmbed, TakesTurnsWithAStream) {
  Bench bench(EndlessModel());
  const JobId stream = bench.Submit(Greedy(Words(20, 1), 5'000));
  bench.WaitForPieces(stream, 1);
  EXPECT_EQ(Embed(bench, {Words(300, 1), Words(300, 2)}).vectors.size(), 2U);
  EXPECT_EQ(bench.Now(stream).n_last, 0) << "the stream has not come to its end meanwhile";
  bench.engine().Cancel(stream);
  bench.Wait(stream);
}

}  // namespace
}  // namespace corral::engine
