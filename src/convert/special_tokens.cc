// SetSpecialTokens (vocabulary.h).
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "convert/parameters.h"
#include "convert/vocabulary.h"

namespace corral::convert {
namespace {

// GGUF's key of a kind of token; empty: it has none.
std::string_view IdKey(std::string_view kind) {
  static constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
      {"bos", "bos"},     {"eos", "eos"},       {"eot", "eot"},     {"eom", "eom"},
      {"unk", "unknown"}, {"sep", "seperator"}, {"pad", "padding"}, {"mask", "mask"},
  };
  for (const auto& [name, key] : kKeys) {
    if (name == kind) return key;
  }
  return {};
}

// The text of an entry of tokenizer_config.json: a text, or an object with `content`.
std::string ContentOf(const Json& config, const std::string& key) {
  const auto found = config.find(key);
  if (found == config.end()) return {};
  return found->is_string() ? found->get<std::string>() : TextOf(*found, "content");
}

class SpecialTokens {
 public:
  SpecialTokens(const Json& tokenizer, Json config)
      : tokenizer_(tokenizer), config_(std::move(config)), has_config_(!config_.empty()) {}

  void ReadTokenizer() {
    if (const auto found = tokenizer_.find("normalizer"); found != tokenizer_.end())
      ReadNormalizer(*found);
    if (tokenizer_.empty()) return;
    bos_ = ContentOf(config_, "bos_token");
    cls_ = ContentOf(config_, "cls_token");
    eos_ = ContentOf(config_, "eos_token");
    sep_ = ContentOf(config_, "sep_token");
    if (bos_.empty() && !cls_.empty()) Put("bos_token", &bos_, cls_);
    if (eos_.empty() && !sep_.empty()) Put("eos_token", &eos_, sep_);
    const auto post = tokenizer_.find("post_processor");
    if (post == tokenizer_.end() || !post->is_object()) return;
    const auto processors = post->find("processors");
    if (processors != post->end() && processors->is_array()) {
      for (const Json& processor : *processors) ReadProcessor(processor);
    } else {
      ReadProcessor(*post);
    }
  }

  void ReadConfigs(const Json& model_config, std::size_t n_tokens) {
    for (const std::string& kind : kinds_) {
      const auto add = config_.find("add_" + kind + "_token");
      if (add != config_.end() && add->is_boolean()) adds_[kind] = add->get<bool>();
      if (const auto id = IdOf(ContentOf(config_, kind + "_token"))) SetId(kind, *id, n_tokens);
    }
    const auto inner = model_config.find("text_config");
    for (const std::string& kind : kinds_) {
      const std::string key = kind + "_token_id";
      const Json* id = nullptr;
      if (const auto found = model_config.find(key); found != model_config.end()) id = &*found;
      if ((id == nullptr || id->is_null()) && inner != model_config.end() && inner->is_object()) {
        if (const auto found = inner->find(key); found != inner->end()) id = &*found;
      }
      if (id != nullptr && id->is_number_unsigned())
        SetId(kind, id->get<std::uint64_t>(), n_tokens);
    }
  }

  void SetAddsBos(bool adds) { adds_["bos"] = adds; }

  void Write(gguf::Header* header) const {
    for (const auto& [kind, id] : ids_) {
      if (const std::string_view key = IdKey(kind); !key.empty()) {
        header->SetUint32("tokenizer.ggml." + std::string(key) + "_token_id",
                          static_cast<std::uint32_t>(id));
      }
    }
    for (const char* kind : {"bos", "eos", "sep"}) {
      if (const auto add = adds_.find(kind); add != adds_.end())
        header->SetBool("tokenizer.ggml.add_" + add->first + "_token", add->second);
    }
    if (lowercase_) header->SetBool("tokenizer.ggml.normalizer.lowercase", *lowercase_);
    if (strip_accents_) header->SetBool("tokenizer.ggml.normalizer.strip_accents", *strip_accents_);
  }

 private:
  // As if tokenizer_config.json said so; nothing without that file.
  void Put(const std::string& key, std::string* known, const std::string& text) {
    if (!has_config_) return;
    config_[key] = text;
    *known = text;
  }

  void ReadNormalizer(const Json& normalizer) {
    const std::string type = TextOf(normalizer, "type");
    if (type == "Lowercase") {
      lowercase_ = true;
    } else if (type == "StripAccents") {
      strip_accents_ = true;
    } else if (type == "BertNormalizer") {
      const auto flag = [&normalizer](const char* key, std::optional<bool>* out) {
        const auto found = normalizer.find(key);
        if (found == normalizer.end()) return;
        out->reset();
        if (found->is_boolean()) *out = found->get<bool>();
      };
      flag("lowercase", &lowercase_);
      flag("strip_accents", &strip_accents_);
    } else if (type == "Sequence") {
      const auto inner = normalizer.find("normalizers");
      if (inner == normalizer.end() || !inner->is_array()) return;
      for (const Json& next : *inner) ReadNormalizer(next);
    }
  }

  void ReadProcessor(const Json& processor) {
    const std::string type = TextOf(processor, "type");
    if (type == "RobertaProcessing") {
      adds_["bos"] = adds_["eos"] = adds_["sep"] = true;
      return;
    }
    if (type != "TemplateProcessing") return;
    const std::vector<Json> single = ListOf(processor, "single");
    std::string first;
    std::string last;
    if (single.size() > 1) {
      first = IdOfStep(single.front(), "SpecialToken");
      last = IdOfStep(single.back(), "SpecialToken");
      if (!first.empty()) TakeFirst(first);
      if (!last.empty()) TakeLast(last);
    }
    TakePair(ListOf(processor, "pair"), first, last);
  }

  void TakeFirst(const std::string& first) {
    if (!has_config_) {
      bos_ = first;
    } else if (first != bos_ && first != cls_) {
      if (bos_.empty()) Put("bos_token", &bos_, first);
      if (cls_.empty()) Put("cls_token", &cls_, first);
    }
    adds_["bos"] = first == bos_ || first == cls_;
  }

  void TakeLast(const std::string& last) {
    if (!has_config_) {
      eos_ = last;
    } else if (last != eos_) {
      for (const char* kind : {"eot", "eom"}) {
        if (std::find(kinds_.begin(), kinds_.end(), kind) != kinds_.end()) continue;
        kinds_.emplace_back(kind);
        config_[std::string(kind) + "_token"] = eos_;
        break;
      }
      Put("eos_token", &eos_, last);
    }
    adds_["eos"] = last == eos_;
  }

  // Whether a separator stands between two texts.
  void TakePair(std::vector<Json> pair, const std::string& first, const std::string& last) {
    if (pair.empty()) return;
    if (!first.empty() && IdOfStep(pair.front(), "SpecialToken") == first) pair.erase(pair.begin());
    if (!pair.empty() && !last.empty() && IdOfStep(pair.back(), "SpecialToken") == last)
      pair.pop_back();
    if (pair.size() < 3 || IdOfStep(pair.front(), "Sequence") != "A" ||
        IdOfStep(pair.back(), "Sequence") != "B")
      return;
    bool adds_separator = false;
    const std::string before = IdOfStep(pair[1], "SpecialToken");
    if (!before.empty() && (before == sep_ || before == eos_) && last.empty())
      adds_separator = true;
    if (pair.size() == 4) {
      const std::string after = IdOfStep(pair[2], "SpecialToken");
      if (!after.empty() && (after == sep_ || after == eos_)) adds_separator = true;
    }
    adds_["sep"] = adds_separator;
    if (adds_separator && sep_.empty() && has_config_) config_["sep_token"] = eos_;
  }

  static std::vector<Json> ListOf(const Json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_array()) return {};
    return {found->begin(), found->end()};
  }
  static std::string IdOfStep(const Json& step, const char* kind) {
    const auto found = step.is_object() ? step.find(kind) : step.end();
    return step.is_object() && found != step.end() ? TextOf(*found, "id") : std::string();
  }

  std::optional<std::uint64_t> IdOf(const std::string& text) const {
    if (text.empty()) return std::nullopt;
    const auto added = tokenizer_.find("added_tokens");
    if (added == tokenizer_.end() || !added->is_array()) return std::nullopt;
    for (const Json& token : *added) {
      if (TextOf(token, "content") != text) continue;
      const auto id = token.find("id");
      if (id != token.end() && id->is_number_unsigned()) return id->get<std::uint64_t>();
      return std::nullopt;
    }
    return std::nullopt;
  }

  void SetId(const std::string& kind, std::uint64_t id, std::size_t n_tokens) {
    if (id < n_tokens) ids_.emplace(kind, id);
  }

  const Json& tokenizer_;
  Json config_;
  const bool has_config_;
  std::string bos_, cls_, eos_, sep_;
  std::vector<std::string> kinds_ = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"};
  std::map<std::string, bool> adds_;
  std::map<std::string, std::uint64_t> ids_;
  std::optional<bool> lowercase_, strip_accents_;
};

// tokenizer_config.json's, else chat_template.jinja. A list of named ones: its "default".
Result<std::string> ReadChatTemplate(const Inputs& inputs, const Json& tokenizer_config) {
  if (const auto found = tokenizer_config.find("chat_template"); found != tokenizer_config.end()) {
    if (found->is_string()) return found->get<std::string>();
    if (!found->is_array()) return std::string();
    for (const Json& entry : *found) {
      if (TextOf(entry, "name") == "default") return TextOf(entry, "template");
    }
    return std::string();
  }
  if (inputs.Has("chat_template.jinja")) return inputs.ReadText("chat_template.jinja");
  CORRAL_TRY(const Json other, inputs.ReadJsonIfThere("chat_template.json"));
  return TextOf(other, "chat_template");
}

}  // namespace

Status SetSpecialTokens(const Inputs& inputs, const Vocabulary& vocabulary,
                        std::optional<bool> adds_bos, gguf::Header* header) {
  CORRAL_TRY(const Json tokenizer, inputs.ReadJsonIfThere("tokenizer.json"));
  CORRAL_TRY(Json config, inputs.ReadJsonIfThere("tokenizer_config.json"));
  CORRAL_TRY(const Json model_config, inputs.ReadJsonIfThere("config.json"));
  const bool has_config = !config.empty();
  CORRAL_TRY(const std::string chat_template, ReadChatTemplate(inputs, config));
  SpecialTokens special(tokenizer, std::move(config));
  special.ReadTokenizer();
  special.ReadConfigs(model_config, vocabulary.tokens.size());
  if (adds_bos) special.SetAddsBos(*adds_bos);
  special.Write(header);
  if (has_config && !chat_template.empty())
    header->SetString("tokenizer.chat_template", chat_template);
  return {};
}

}  // namespace corral::convert
