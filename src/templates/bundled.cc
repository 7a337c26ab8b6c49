// The templates that `create` adds to a model whose Jinja text is one of the families they belong
// to.
//
// Written for Ollama as much as for Corral: a volume may go back, so no .Response stands in a
// branch that has an `else`.
#include "templates/template.h"

namespace corral::templates {
namespace {

constexpr std::string_view kAlfred =
    R"({{ if .System }}<start_system>{{ .System }}<end_message>{{ end }})"
    R"({{ if .Prompt }}<start_user>{{ .Prompt }}<end_message>{{ end }})"
    R"(<start_assistant>{{ .Response }}<end_message>)";

constexpr std::string_view kAlpaca = R"({{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}### Instruction:
{{ .Prompt }}

{{ end }}### Response:
{{ .Response }}

)";

constexpr std::string_view kChatMl = R"({{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
)";

constexpr std::string_view kChatQa = R"({{ if .System }}System: {{ .System }}

{{ end }}{{ if .Prompt }}User: {{ .Prompt }}

{{ end }}Assistant:{{ if .Response }} {{ .Response }}

{{ end }})";

// History says "Source: assistant", the turn to come names its destination too.
constexpr std::string_view kCodeLlama70b = R"({{- $last := "" }}
{{- range $i, $m := .Messages }}
{{- $last = .Role }}
{{- if and (eq .Role "assistant") (eq (len (slice $.Messages $i)) 1) }}Source: assistant
Destination: user

 {{ .Content }}
{{- else if or (eq .Role "system") (eq .Role "user") (eq .Role "assistant") }}Source: {{ .Role }}

 {{ .Content }} <step> {{ end }}
{{- end }}
{{- if ne $last "assistant" }}Source: assistant
Destination: user

 {{ end }})";

constexpr std::string_view kCommandR =
    R"({{- if or .System .Tools }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{ .System }}
{{- if .Tools }}

## Available Tools
Here is a list of tools that you have available to you:

{{ range .Tools }}{{ . }}
{{ end }}
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "user" }}<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{ .Content }}<|END_OF_TURN_TOKEN|>
{{- else if eq .Role "assistant" }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{{ .Content }}
{{- if .ToolCalls }}Action: ```json
[
{{- range $i, $call := .ToolCalls }}{{ if $i }},{{ end }}
    {"tool_name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}
{{- end }}
]```
{{- end }}<|END_OF_TURN_TOKEN|>
{{- else if eq .Role "tool" }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>
{{ .Content }}
</results><|END_OF_TURN_TOKEN|>
{{- end }}
{{- end }}<|END_OF_TURN_TOKEN|>
{{- if .Tools }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>)"
    R"(Write 'Action:' followed by a json-formatted list of the tools to call, each as {"tool_name": ..., "parameters": ...}, )"
    R"(in ```json fences; or answer directly if no tool is of use.<|END_OF_TURN_TOKEN|>
{{- end }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>
)";

constexpr std::string_view kFalcon = R"({{ if .System }}System: {{ .System }}
{{ end }}{{ if .Prompt }}User:
{{ .Prompt }}
{{ end }}Falcon:
{{ .Response }}
)";

constexpr std::string_view kGemma = R"({{ if or .System .Prompt }}<start_of_turn>user
{{ if .System }}{{ .System }}
{{ end }}{{ .Prompt }}<end_of_turn>
{{ end }}<start_of_turn>model
{{ .Response }}<end_of_turn>
)";

constexpr std::string_view kGemma3 = R"({{- $last := "" }}
{{- range $i, $m := .Messages }}
{{- $last = .Role }}
{{- if eq .Role "user" }}<start_of_turn>user
{{ if and (eq $i 1) $.System }}{{ $.System }}

{{ end }}{{ .Content }}<end_of_turn>
{{ else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if gt (len (slice $.Messages $i)) 1 }}<end_of_turn>
{{ end }}{{ end }}
{{- end }}
{{- if ne $last "assistant" }}<start_of_turn>model

{{ end }})";

constexpr std::string_view kGranite = R"({{ if .System }}System:
{{ .System }}

{{ end }}{{ if .Prompt }}Question:
{{ .Prompt }}

{{ end }}Answer:
{{ .Response }}

)";

constexpr std::string_view kLlama2 = R"([INST] <<SYS>>{{ if .System }}
{{ .System }}
{{ end }}<</SYS>>

{{ .Prompt }} [/INST]{{ if .Response }} {{ .Response }}</s><s>{{ end }})";

constexpr std::string_view kLlama3 = R"({{ if .System }}<|start_header_id|>system<|end_header_id|>

{{ .System }}<|eot_id|>{{ end }}{{ if .Prompt }}<|start_header_id|>user<|end_header_id|>

{{ .Prompt }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

{{ .Response }}<|eot_id|>)";

constexpr std::string_view kMagicoder = R"({{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}@@ Instruction
{{ .Prompt }}

{{ end }}@@ Response
{{ .Response }}

)";

constexpr std::string_view kMistral =
    R"({{ if or .System .Prompt }}[INST] {{ if .System }}{{ .System }}

{{ end }}{{ .Prompt }}[/INST]{{ end }}{{ if .Response }} {{ .Response }}</s>{{ end }})";

constexpr std::string_view kOpenChat =
    R"({{ if .System }}GPT4 Correct System: {{ .System }}<|end_of_turn|>{{ end }})"
    R"({{ if .Prompt }}GPT4 Correct User: {{ .Prompt }}<|end_of_turn|>{{ end }})"
    R"(GPT4 Correct Assistant:{{ if .Response }} {{ .Response }}<|end_of_turn|>{{ end }})";

constexpr std::string_view kPhi3 = R"({{ if .System }}<|system|>
{{ .System }}<|end|>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}<|end|>
{{ end }}<|assistant|>
{{ .Response }}<|end|>
)";

constexpr std::string_view kSolar = R"({{ if .System }}### System:
{{ .System }}

{{ end }}{{ if .Prompt }}### User:
{{ .Prompt }}

{{ end }}### Assistant:
{{ .Response }}</s>

)";

constexpr std::string_view kStarCoder2 = R"({{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}### Instruction
{{ .Prompt }}

{{ end }}### Response
{{ .Response }}<|endoftext|>

)";

constexpr std::string_view kVicuna = R"({{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}USER: {{ .Prompt }}
{{ end }}ASSISTANT:{{ if .Response }} {{ .Response }}</s>
{{ end }})";

constexpr std::string_view kZephyr = R"({{ if .System }}<|system|>
{{ .System }}</s>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}</s>
{{ end }}<|assistant|>
{{ .Response }}</s>
)";

}  // namespace

const std::vector<Bundled>& AllBundled() {
  static const std::vector<Bundled> kAll = {
      {"alfred",
       kAlfred,
       {"<start_system>", "<end_message>", "<start_user>", "<start_assistant>"},
       ""},
      {"alpaca", kAlpaca, {"### Instruction:", "### Response"}, ""},
      {"chatml", kChatMl, {"<|im_start|>", "<|im_end|>"}, ""},
      {"chatqa", kChatQa, {"System:", "User:", "Assistant:", "<|begin_of_text|>"}, ""},
      {"codellama-70b-instruct", kCodeLlama70b, {"Source:", "Destination:", "<step>"}, ""},
      {"command-r", kCommandR, {"<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"}, ""},
      {"falcon-instruct", kFalcon, {"User:", "Assistant:"}, ""},
      {"gemma-instruct", kGemma, {"<start_of_turn>", "<end_of_turn>"}, ""},
      {"gemma3-instruct", kGemma3, {"<end_of_turn>"}, ""},
      {"granite-instruct", kGranite, {"System:", "Question:", "Answer:"}, ""},
      {"llama2-chat", kLlama2, {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"}, "</s>"},
      {"llama3-instruct", kLlama3, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, ""},
      {"magicoder", kMagicoder, {"@@ Instruction", "@@ Response"}, ""},
      {"mistral-instruct",
       kMistral,
       {"<|im_start|>", "<|im_end|>"},
       "</s>"},  // Ollama's, odd as they are
      {"openchat", kOpenChat, {"<|end_of_turn|>"}, ""},
      {"phi-3", kPhi3, {"<|end|>", "<|system|>", "<|user|>", "<|assistant|>"}, ""},
      {"solar-instruct", kSolar, {"### System:", "### User:", "### Assistant"}, "</s>"},
      {"starcoder2-instruct",
       kStarCoder2,
       {"### Instruction", "### Response", "<|endoftext|>"},
       "<|endoftext|>"},
      {"vicuna", kVicuna, {"USER:", "ASSISTANT:"}, "</s>"},
      {"zephyr", kZephyr, {"<|system|>", "</s>", "<|user|>", "<|assistant|>"}, "</s>"},
  };
  return kAll;
}

}  // namespace corral::templates
