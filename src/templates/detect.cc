// Finds the bundled template that a Jinja text corresponds to, by the words it prints.
//
// Ollama compares the text with 37 known ones (edit distance below 100). Here the literals that a
// template prints are gathered, a family's own marks are taken out of them, and what is left over
// decides: nothing but roles, blanks and at most a sentence. So a text that was reformatted is
// still known, and one that says anything else is not.
#include <algorithm>
#include <initializer_list>

#include "templates/template.h"

namespace corral::templates {
namespace {

constexpr std::size_t kMaxJinjaBytes = 8192;
// What may be left over: a default system prompt of a sentence, as Ollama's distance forgives.
constexpr std::size_t kMaxRest = 100;

struct Family {
  std::string_view name;
  std::vector<std::string_view> required;  // in the printed literals
  std::vector<std::string_view>
      marks;  // may be there too; longer ones first where one holds another
  std::size_t max_rest = kMaxRest;
  bool needs_eos = false;  // prints eos_token, or </s> in its place
};

const std::vector<Family>& Families() {
  static const std::vector<Family> kFamilies = {
      {"alfred", {"<start_user>", "<start_assistant>", "<end_message>"}, {"<start_system>"}},
      {"alpaca", {"### Instruction:", "### Response:"}, {}},
      {"chatml", {"<|im_start|>", "<|im_end|>"}, {}},
      {"chatqa",
       {"User: ", "Assistant: ", "when the answer cannot be found in the context"},
       {"System: This is a chat", "Assistant:"},
       300},
      {"codellama-70b-instruct",
       {"Source: assistant", "Destination: user", "<step>"},
       {"Source: ", "<s>"}},
      {"command-r",
       {"<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"},
       {"<|SYSTEM_TOKEN|>"},
       200},
      {"falcon-instruct", {"User:", "Falcon:"}, {"System:"}},
      {"gemma-instruct", {"<start_of_turn>", "<end_of_turn>"}, {}},
      {"gemma3-instruct", {"<start_of_turn>", "<end_of_turn>", "<start_of_image>"}, {}},
      {"granite-instruct", {"Question:", "Answer:"}, {"System:"}},
      {"llama2-chat", {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"}, {}, kMaxRest, true},
      {"llama3-instruct",
       {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
       {"<|begin_of_text|>"}},
      {"magicoder", {"@@ Instruction", "@@ Response"}, {}, 200},
      {"mistral-instruct", {"[INST]", "[/INST]"}, {}, kMaxRest, true},
      {"openchat", {"GPT4 Correct", "<|end_of_turn|>"}, {}},
      {"phi-3", {"<|end|>", "<|assistant|>"}, {"<|user|>", "<|system|>", "<|", "|>"}},
      {"solar-instruct", {"### User:", "### Assistant:"}, {"### System:"}},
      {"starcoder2-instruct", {"### Instruction", "### Response"}, {}, 200, true},
      {"zephyr", {"<|user|>", "<|assistant|>"}, {"<|system|>"}, kMaxRest, true},
  };
  return kFamilies;
}

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

void EraseAll(std::string& text, std::string_view part) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.replace(at, part.size(), 1, ' ');
  }
}

bool IsWord(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// The literals of one {{ }} or {% %}, with \n as a newline, each followed by a newline.
void AppendLiterals(std::string_view code, std::string& out) {
  if (Has(code, "raise_exception")) return;
  for (std::size_t i = 0; i < code.size(); ++i) {
    const char quote = code[i];
    if (quote != '\'' && quote != '"') continue;
    for (++i; i < code.size() && code[i] != quote; ++i) {
      if (code[i] == '\\' && i + 1 < code.size()) {
        ++i;
        if (code[i] == '\\' && i + 1 < code.size() && code[i + 1] == 'n') ++i;
        out += code[i] == 'n' ? '\n' : code[i];
      } else {
        out += code[i];
      }
    }
    out += '\n';
  }
}

// All that the Jinja may print of its own, and the names that it asks for.
std::string PrintedLiterals(std::string_view jinja) {
  std::string out;
  while (!jinja.empty()) {
    const std::size_t open = std::min(jinja.find('{'), jinja.size());
    out += jinja.substr(0, open);
    jinja.remove_prefix(open);
    if (jinja.size() < 2) break;
    const std::string_view close = jinja[1] == '{'   ? "}}"
                                   : jinja[1] == '%' ? "%}"
                                   : jinja[1] == '#' ? "#}"
                                                     : "";
    if (close.empty()) {
      out += '{';
      jinja.remove_prefix(1);
      continue;
    }
    const std::size_t end = std::min(jinja.find(close, 2), jinja.size());
    if (jinja[1] != '#') AppendLiterals(jinja.substr(2, end - 2), out);
    jinja.remove_prefix(std::min(end + 2, jinja.size()));
  }
  return out + "\n";
}

// Takes whole words out: roles and the names of a message's fields.
void EraseWords(std::string& text, std::initializer_list<std::string_view> words) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && IsWord(text[end])) ++end;
    if (end == i) {
      out += text[i++];
      continue;
    }
    const std::string_view word = std::string_view(text).substr(i, end - i);
    if (std::find(words.begin(), words.end(), word) == words.end()) out += word;
    i = end;
  }
  text = std::move(out);
}

bool Matches(const Family& family, std::string_view jinja, const std::string& literals) {
  const bool is_present = std::all_of(family.required.begin(), family.required.end(),
                                      [&](std::string_view mark) { return Has(literals, mark); });
  if (!is_present) return false;
  if (family.needs_eos && !Has(jinja, "eos_token") && !Has(jinja, "</s>")) return false;
  std::string rest = literals;
  for (const std::string_view mark : family.required) EraseAll(rest, mark);
  for (const std::string_view mark : family.marks) EraseAll(rest, mark);
  if (family.needs_eos) EraseAll(rest, "</s>");
  EraseWords(rest, {"role", "content", "system", "user", "assistant", "model", "type", "text",
                    "image", "System", "User", "Assistant"});
  rest.erase(std::remove_if(rest.begin(), rest.end(),
                            [](char c) { return c == ' ' || c == '\n' || c == '\t'; }),
             rest.end());
  // A mark of another family, a heading, JSON: not ours, however short.
  return rest.size() < family.max_rest && rest.find_first_of("<>[]{}#@") == std::string::npos &&
         !Has(rest, "|");
}

}  // namespace

const Bundled* DetectBundled(std::string_view jinja) {
  if (jinja.empty() || jinja.size() > kMaxJinjaBytes) return nullptr;
  for (const std::string_view word : {"tool", "think", "reasoning", "function", "document", "audio",
                                      "video", "macro", "strftime", "date_string"}) {
    if (Has(jinja, word)) return nullptr;
  }
  const std::string literals = PrintedLiterals(jinja);
  const Family* match = nullptr;
  for (const Family& family : Families()) {
    if (!Matches(family, jinja, literals)) continue;
    if (match != nullptr) return nullptr;
    match = &family;
  }
  if (match == nullptr) return nullptr;
  const auto& all = AllBundled();
  const auto found = std::find_if(
      all.begin(), all.end(), [&](const Bundled& bundled) { return bundled.name == match->name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace corral::templates
