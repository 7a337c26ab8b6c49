#include "convert/vocabulary.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "convert/parameters.h"
#include "convert/sentencepiece.h"

namespace corral::convert {
namespace {

constexpr std::uint64_t kMostTokens = 4U << 20U;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space
constexpr std::string_view kFullBar = "\xEF\xBD\x9C";    // U+FF5C

// Some models mark added tokens that ought to be control tokens as not special.
bool LooksSpecial(std::string_view token) {
  const auto is_between = [token](std::string_view first, std::string_view last) {
    return token.starts_with(first) && token.ends_with(last);
  };
  return token == "<pad>" || token == "<mask>" || token == "<2mass>" || token == "[@BOS@]" ||
         is_between("<|", "|>") ||
         is_between("<" + std::string(kFullBar), std::string(kFullBar) + ">") ||
         is_between("<unused", ">");
}

std::string WithSpaces(std::string token) {
  for (std::size_t at = 0; (at = token.find(kSpaceMark, at)) != std::string::npos; ++at)
    token.replace(at, kSpaceMark.size(), " ");
  return token;
}

// "[PAD7]" of type unused, for ids that no token has.
void FillGaps(Vocabulary* vocabulary, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    if (i < vocabulary->tokens.size()) continue;
    vocabulary->tokens.push_back("[PAD" + std::to_string(i) + "]");
    vocabulary->types.push_back(SentencePiece::kUnused);
  }
}

struct AddedToken {
  std::uint64_t id = 0;
  std::string content;
  bool is_special = false;
};

// tokenizer_config.json's added_tokens_decoder. By id.
std::vector<AddedToken> AddedInConfig(const Json& tokenizer_config) {
  std::vector<AddedToken> tokens;
  const auto decoder = tokenizer_config.find("added_tokens_decoder");
  if (decoder == tokenizer_config.end() || !decoder->is_object()) return tokens;
  for (const auto& [id, data] : decoder->items()) {
    if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos ||
        !data.is_object())
      continue;
    const auto special = data.find("special");
    tokens.push_back({std::stoull(id), TextOf(data, "content"),
                      special != data.end() && special->is_boolean() && special->get<bool>()});
  }
  return tokens;
}

// tokenizer.json's added_tokens.
std::vector<AddedToken> AddedInTokenizer(const Json& tokenizer) {
  std::vector<AddedToken> tokens;
  const auto added = tokenizer.find("added_tokens");
  if (added == tokenizer.end() || !added->is_array()) return tokens;
  for (const Json& data : *added) {
    const auto id = data.is_object() ? data.find("id") : data.end();
    if (!data.is_object() || id == data.end() || !id->is_number_unsigned()) continue;
    const auto special = data.find("special");
    tokens.push_back({id->get<std::uint64_t>(), TextOf(data, "content"),
                      special != data.end() && special->is_boolean() && special->get<bool>()});
  }
  return tokens;
}

// ---- tokenizer.model

Result<Vocabulary> FromPieces(const Inputs& inputs, std::uint32_t vocab_size, bool is_phi) {
  CORRAL_TRY(const std::string proto, inputs.ReadText("tokenizer.model"));
  CORRAL_TRY(const std::vector<SentencePiece> pieces, ParseSentencePieces(proto));
  const std::size_t size = vocab_size == 0 ? pieces.size() : vocab_size;
  if (size > kMostTokens) return Refuse("config.json: vocab_size is too large");
  Vocabulary vocabulary{.model = "llama", .pre = "default"};
  FillGaps(&vocabulary, size);
  vocabulary.scores.assign(size, -10000.0F);
  for (std::size_t i = 0; i < std::min(size, pieces.size()); ++i) {
    vocabulary.tokens[i] = pieces[i].text;
    vocabulary.scores[i] = pieces[i].score;
    const std::int32_t type = pieces[i].type;
    const bool is_kept = type == SentencePiece::kUnknown || type == SentencePiece::kControl ||
                         type == SentencePiece::kUnused || type == SentencePiece::kByte;
    vocabulary.types[i] = is_kept ? type : static_cast<std::int32_t>(SentencePiece::kNormal);
  }
  const auto add = [&](const AddedToken& token, bool is_control, std::string text) {
    if (token.id >= size) return;
    vocabulary.tokens[token.id] = std::move(text);
    vocabulary.scores[token.id] = -1000.0F;
    vocabulary.types[token.id] = is_control ? SentencePiece::kControl : SentencePiece::kUserDefined;
  };
  CORRAL_TRY(const Json added, inputs.ReadJsonIfThere("added_tokens.json"));
  for (const auto& [text, id] : added.items()) {
    if (id.is_number_unsigned())
      add({id.get<std::uint64_t>(), text, false}, /*is_control=*/false, text);
  }
  CORRAL_TRY(const Json config, inputs.ReadJsonIfThere("tokenizer_config.json"));
  for (const AddedToken& token : AddedInConfig(config)) {
    const bool is_control = token.is_special || (!is_phi && LooksSpecial(token.content));
    add(token, is_control, is_control || is_phi ? token.content : WithSpaces(token.content));
  }
  if (is_phi) {
    CORRAL_TRY(const Json tokenizer, inputs.ReadJsonIfThere("tokenizer.json"));
    for (const AddedToken& token : AddedInTokenizer(tokenizer))
      add(token, token.is_special, token.content);
  }
  return vocabulary;
}

// ---- tokenizer.json

// model.vocab of tokenizer.json, by id, and whether each is one of added_tokens.
struct TokenTable {
  std::map<std::uint64_t, std::string> tokens;
  std::map<std::uint64_t, AddedToken> added;
  std::size_t n_base = 0;  // tokens of the model itself
};

Result<TokenTable> ReadTokens(const Inputs& inputs, const Json& tokenizer) {
  const auto model = tokenizer.find("model");
  if (model == tokenizer.end() || !model->is_object()) return Refuse("tokenizer.json has no model");
  const auto vocab = model->find("vocab");
  if (vocab == model->end() || !vocab->is_object())
    return Refuse("tokenizer.json has no vocabulary of a kind that is known");
  TokenTable table;
  for (const auto& [text, id] : vocab->items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= kMostTokens)
      return Refuse("tokenizer.json: a token has no good id");
    table.tokens[id.get<std::uint64_t>()] = text;
  }
  table.n_base = table.tokens.size();
  CORRAL_TRY(const Json config, inputs.ReadJsonIfThere("tokenizer_config.json"));
  for (const auto& list : {AddedInTokenizer(tokenizer), AddedInConfig(config)}) {
    for (const AddedToken& token : list) {
      if (token.id >= kMostTokens) return Refuse("tokenizer.json: a token has no good id");
      if (!table.added.emplace(token.id, token).second) continue;
      table.tokens[token.id] = token.content;
    }
  }
  return table;
}

// The steps of a pre-tokenizer, flattened: "Split:<pattern>", "Digits", "ByteLevel:regex" or
// "ByteLevel".
void FlattenSteps(const Json& step, std::vector<std::string>* steps) {
  const std::string type = TextOf(step, "type");
  if (type == "Sequence") {
    const auto inner = step.find("pretokenizers");
    if (inner == step.end() || !inner->is_array()) return;
    for (const Json& next : *inner) FlattenSteps(next, steps);
  } else if (type == "Split") {
    const auto pattern = step.find("pattern");
    steps->push_back("Split:" +
                     (pattern == step.end() ? std::string() : TextOf(*pattern, "Regex")));
  } else if (type == "ByteLevel") {
    const auto regex = step.find("use_regex");
    const bool has_regex = regex == step.end() || !regex->is_boolean() || regex->get<bool>();
    steps->push_back(has_regex ? "ByteLevel:regex" : "ByteLevel");
  } else {
    steps->push_back(type);
  }
}

struct PreTokenizer {
  std::string_view name;  // tokenizer.ggml.pre
  std::vector<std::string_view> steps;
};

// The patterns are the tokenizers' own; llama.cpp's src/llama-vocab.cpp quotes them beside the
// names.
const std::vector<PreTokenizer>& KnownPreTokenizers() {
  static const std::vector<PreTokenizer> kKnown = {
      {"llama-bpe",
       {"Split:(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "ByteLevel"}},
      {"qwen2",
       {"Split:(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "ByteLevel"}},
      {"tekken",
       {"Split:[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}"
        "\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}"
        "\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "ByteLevel"}},
      {"smollm", {"Digits", "ByteLevel:regex"}},
      {"gpt-2", {"ByteLevel:regex"}},
  };
  return kKnown;
}

Result<std::string> PreTokenizerName(const Json& tokenizer) {
  std::vector<std::string> steps;
  if (const auto step = tokenizer.find("pre_tokenizer"); step != tokenizer.end())
    FlattenSteps(*step, &steps);
  for (const PreTokenizer& known : KnownPreTokenizers()) {
    if (std::equal(steps.begin(), steps.end(), known.steps.begin(), known.steps.end()))
      return std::string(known.name);
  }
  return Refuse(
      "tokenizer.json: its pre-tokenizer is not one that llama.cpp has a name for, so the model "
      "cannot be converted here");
}

// Merges are texts "a b", or pairs (since spaces may stand in them).
Result<std::vector<std::string>> ReadMerges(const Json& model) {
  std::vector<std::string> merges;
  const auto found = model.find("merges");
  if (found == model.end() || !found->is_array()) return merges;
  for (const Json& merge : *found) {
    if (merge.is_string()) {
      merges.push_back(merge.get<std::string>());
      continue;
    }
    if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
      return Refuse("tokenizer.json: a merge is not a pair");
    std::string joined;
    for (std::size_t i = 0; i < 2; ++i) {
      if (i == 1) joined += ' ';
      for (const char c : merge[i].get<std::string>()) {
        // U+0120 stands for a space that is part of a token.
        if (c == ' ') {
          joined += "\xC4\xA0";
        } else {
          joined += c;
        }
      }
    }
    merges.push_back(std::move(joined));
  }
  return merges;
}

Result<Vocabulary> FromByteLevel(const Inputs& inputs, std::uint32_t vocab_size) {
  CORRAL_TRY(const Json tokenizer, inputs.ReadJson("tokenizer.json"));
  if (TextOf(tokenizer.value("model", Json::object()), "type") != "BPE")
    return Refuse("tokenizer.json is no BPE tokenizer");
  CORRAL_TRY(const TokenTable table, ReadTokens(inputs, tokenizer));
  CORRAL_TRY(std::string pre, PreTokenizerName(tokenizer));
  const std::uint64_t last = table.tokens.empty() ? 0 : table.tokens.rbegin()->first;
  const std::uint64_t size = vocab_size == 0 ? last + 1 : vocab_size;
  if (size > kMostTokens || last >= size)
    return Refuse("config.json: vocab_size is not that of the tokenizer");
  Vocabulary vocabulary{.model = "gpt2", .pre = std::move(pre)};
  FillGaps(&vocabulary, size);
  for (const auto& [id, text] : table.tokens) {
    const auto added = table.added.find(id);
    vocabulary.tokens[id] = text;
    if (added == table.added.end()) {
      vocabulary.types[id] = SentencePiece::kNormal;
    } else if (added->second.is_special || LooksSpecial(text)) {
      vocabulary.types[id] = SentencePiece::kControl;
    } else {
      vocabulary.tokens[id] = WithSpaces(text);
      vocabulary.types[id] = SentencePiece::kUserDefined;
    }
  }
  CORRAL_TRY(vocabulary.merges, ReadMerges(tokenizer["model"]));
  return vocabulary;
}

bool IsByteToken(std::string_view text) {
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with(">") &&
         text.find_first_not_of("0123456789abcdefABCDEF", 3) == 5;
}

// The texts of bos_token, unk_token and so on.
std::set<std::string> NamedSpecialTokens(const Json& tokenizer_config) {
  std::set<std::string> names;
  const auto take = [&names](const Json& entry) {
    if (entry.is_string()) names.insert(entry.get<std::string>());
    if (entry.is_object()) names.insert(TextOf(entry, "content"));
  };
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                          "cls_token", "mask_token"}) {
    if (const auto entry = tokenizer_config.find(key); entry != tokenizer_config.end())
      take(*entry);
  }
  const auto more = tokenizer_config.find("additional_special_tokens");
  if (more != tokenizer_config.end() && more->is_array()) {
    for (const Json& entry : *more) take(entry);
  }
  return names;
}

bool HasByteFallback(const Json& tokenizer) {
  const auto model = tokenizer.find("model");
  if (model == tokenizer.end() || TextOf(*model, "type") != "BPE") return false;
  const auto fallback = model->find("byte_fallback");
  const auto decoder = tokenizer.find("decoder");
  return fallback != model->end() && fallback->is_boolean() && fallback->get<bool>() &&
         decoder != tokenizer.end() && TextOf(*decoder, "type") == "Sequence";
}

// A SentencePiece vocabulary that was written as tokenizer.json: no scores.
Result<Vocabulary> FromByteFallback(const Inputs& inputs, const Json& tokenizer) {
  CORRAL_TRY(const TokenTable table, ReadTokens(inputs, tokenizer));
  CORRAL_TRY(const Json config, inputs.ReadJsonIfThere("tokenizer_config.json"));
  const std::set<std::string> special = NamedSpecialTokens(config);
  Vocabulary vocabulary{.model = "llama", .pre = "default"};
  for (const auto& [id, text] : table.tokens) {
    if (id != vocabulary.tokens.size())
      return Refuse("tokenizer.json: token " + std::to_string(vocabulary.tokens.size()) +
                    " is missing");
    const bool is_base = id < table.n_base;
    std::int32_t type = SentencePiece::kNormal;
    if (is_base && IsByteToken(text)) {
      type = SentencePiece::kByte;
    } else if (special.contains(text)) {
      type = SentencePiece::kControl;
    } else if (!is_base) {
      type = SentencePiece::kUserDefined;
    }
    vocabulary.tokens.push_back(text);
    vocabulary.types.push_back(type);
    vocabulary.scores.push_back(-1000.0F);
  }
  return vocabulary;
}

Result<Vocabulary> FromWordPiece(const Inputs& inputs, std::uint32_t vocab_size) {
  CORRAL_TRY(const Json tokenizer, inputs.ReadJson("tokenizer.json"));
  if (TextOf(tokenizer.value("model", Json::object()), "type") != "WordPiece")
    return Refuse("tokenizer.json is no WordPiece tokenizer");
  CORRAL_TRY(const TokenTable table, ReadTokens(inputs, tokenizer));
  const std::uint64_t last = table.tokens.empty() ? 0 : table.tokens.rbegin()->first;
  const std::uint64_t size = vocab_size == 0 ? last + 1 : vocab_size;
  if (size > kMostTokens || last >= size)
    return Refuse("config.json: vocab_size is not that of the tokenizer");
  // llama.cpp's name for the uncased English one; its WordPiece does not look at it.
  Vocabulary vocabulary{.model = "bert", .pre = "bert-bge"};
  FillGaps(&vocabulary, size);
  for (std::string& token : vocabulary.tokens) token.insert(0, kSpaceMark);
  for (const auto& [id, text] : table.tokens) {
    const auto added = table.added.find(id);
    const bool is_control =
        added != table.added.end() && (added->second.is_special || LooksSpecial(text));
    vocabulary.types[id] = is_control                   ? SentencePiece::kControl
                           : added != table.added.end() ? SentencePiece::kUserDefined
                                                        : SentencePiece::kNormal;
    // Pieces that begin a word get the mark, those that go on lose theirs.
    vocabulary.tokens[id] = is_control               ? text
                            : text.starts_with("##") ? text.substr(2)
                                                     : std::string(kSpaceMark) + text;
  }
  return vocabulary;
}

}  // namespace

Result<Vocabulary> ReadVocabulary(const Inputs& inputs, VocabularyKind kind,
                                  std::uint32_t vocab_size) {
  const bool has_pieces = inputs.Has("tokenizer.model");
  switch (kind) {
    case VocabularyKind::kWordPiece:
      return FromWordPiece(inputs, vocab_size);
    case VocabularyKind::kPieces:
      return FromPieces(inputs, vocab_size, /*is_phi=*/false);
    case VocabularyKind::kPhi: {
      CORRAL_TRY(const Json config, inputs.ReadJsonIfThere("tokenizer_config.json"));
      if (TextOf(config, "tokenizer_class") == "GPT2Tokenizer")
        return FromByteLevel(inputs, vocab_size);
      return FromPieces(inputs, vocab_size, /*is_phi=*/true);
    }
    case VocabularyKind::kLlama:
    case VocabularyKind::kByteLevel:
      break;
  }
  if (has_pieces) return FromPieces(inputs, vocab_size, /*is_phi=*/false);
  if (kind == VocabularyKind::kLlama) {
    CORRAL_TRY(const Json tokenizer, inputs.ReadJson("tokenizer.json"));
    if (HasByteFallback(tokenizer)) return FromByteFallback(inputs, tokenizer);
  }
  return FromByteLevel(inputs, vocab_size);
}

void SetVocabulary(const Vocabulary& vocabulary, gguf::Header* header) {
  header->SetString("tokenizer.ggml.model", vocabulary.model);
  header->SetString("tokenizer.ggml.pre", vocabulary.pre);
  header->SetStrings("tokenizer.ggml.tokens", vocabulary.tokens);
  if (!vocabulary.scores.empty()) header->SetFloat32s("tokenizer.ggml.scores", vocabulary.scores);
  header->SetInt32s("tokenizer.ggml.token_type", vocabulary.types);
  if (!vocabulary.merges.empty()) header->SetStrings("tokenizer.ggml.merges", vocabulary.merges);
}

}  // namespace corral::convert
