#include "engine/llama/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "engine/llama/output_syntax.h"

namespace corral::engine {
namespace {

bool IsPlainGreedy(const SamplingOptions& options, const PreparedPrompt& prompt) {
  const bool has_penalty = options.repeat_last_n != 0 &&
                           (options.repeat_penalty != 1.0F || options.presence_penalty != 0.0F ||
                            options.frequency_penalty != 0.0F);
  return options.temperature <= 0.0F && !has_penalty && prompt.grammar.empty();
}

// Numbers that reach llama.cpp's arithmetic: finite, and within what it is written for.
Status CheckRanges(const SamplingOptions& options) {
  for (const float value :
       {options.top_p, options.min_p, options.typical_p, options.temperature,
        options.repeat_penalty, options.presence_penalty, options.frequency_penalty}) {
    if (!std::isfinite(value))
      return Fail(Code::kInvalidArgument, "sampling options must be finite numbers");
  }
  if (options.repeat_penalty <= 0.0F)
    return Fail(Code::kInvalidArgument, "repeat_penalty must be greater than 0");
  if (options.repeat_last_n < -1)
    return Fail(Code::kInvalidArgument, "repeat_last_n must be -1 or more");
  return {};
}

}  // namespace

Result<std::unique_ptr<Sampler>> Sampler::Create(const LoadedModel& model,
                                                 const SamplingOptions& options,
                                                 const PreparedPrompt& prompt, int n_ctx) {
  CORRAL_TRY_STATUS(CheckRanges(options));
  auto sampler = std::unique_ptr<Sampler>(new Sampler(model));
  if (IsPlainGreedy(options, prompt)) return sampler;

  common_params_sampling params;
  params.no_perf = true;
  params.seed =
      options.seed < 0 ? std::random_device{}() : static_cast<std::uint32_t>(options.seed);
  params.top_k = options.top_k;
  params.top_p = options.top_p;
  params.min_p = options.min_p;
  params.typ_p = options.typical_p;
  params.temp = options.temperature;
  params.penalty_last_n =
      options.repeat_last_n < 0 ? n_ctx : std::min(options.repeat_last_n, n_ctx);
  params.penalty_repeat = options.repeat_penalty;
  params.penalty_present = options.presence_penalty;
  params.penalty_freq = options.frequency_penalty;
  params.n_prev = std::max(params.penalty_last_n, 1);
  if (!prompt.grammar.empty()) {
    params.grammar = {
        prompt.is_grammar_lazy ? COMMON_GRAMMAR_TYPE_TOOL_CALLS : COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT,
        prompt.grammar};
    params.grammar_lazy = prompt.is_grammar_lazy;
    if (prompt.syntax && prompt.is_grammar_lazy) {
      params.grammar_triggers = prompt.syntax->triggers;
      params.generation_prompt = prompt.syntax->generation_prompt;
      params.preserved_tokens.insert(prompt.shown_control.begin(), prompt.shown_control.end());
      for (common_grammar_trigger& trigger : params.grammar_triggers) {
        if (trigger.type != COMMON_GRAMMAR_TRIGGER_TYPE_WORD) continue;
        CORRAL_TRY(const std::vector<Token> tokens, model.Tokenize(trigger.value, false, true));
        if (tokens.size() == 1 && params.preserved_tokens.contains(tokens.front())) {
          trigger.type = COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN;
          trigger.token = tokens.front();
        }
      }
    }
  }
  try {
    sampler->chain_.reset(common_sampler_init(model.model(), params));
  } catch (const std::exception& error) {
    return Fail(Code::kInvalidArgument, std::string("cannot set up sampling: ") + error.what());
  }
  if (!sampler->chain_)
    return Fail(Code::kInvalidArgument, "the grammar of format does not compile");
  // The penalties look back into the prompt.
  const std::size_t n_seen =
      std::min(prompt.tokens.size(), static_cast<std::size_t>(std::max(params.penalty_last_n, 0)));
  for (auto token = prompt.tokens.end() - static_cast<std::ptrdiff_t>(n_seen);
       token != prompt.tokens.end(); ++token) {
    common_sampler_accept(sampler->chain_.get(), *token, false);
  }
  return sampler;
}

Token Sampler::Sample(llama_context* context, int row) {
  if (!chain_) {
    const float* logits = llama_get_logits_ith(context, row);
    return static_cast<Token>(std::max_element(logits, logits + model_.n_vocab()) - logits);
  }
  const Token token = common_sampler_sample(chain_.get(), context, row);
  common_sampler_accept(chain_.get(), token, true);
  return token;
}

TokenLogprob Sampler::Logprobs(llama_context* context, int row, Token token, int n_top) const {
  const float* logits = llama_get_logits_ith(context, row);
  const auto n_vocab = static_cast<std::size_t>(model_.n_vocab());
  const float max = *std::max_element(logits, logits + n_vocab);
  double sum = 0;
  for (std::size_t i = 0; i < n_vocab; ++i) sum += std::exp(static_cast<double>(logits[i] - max));
  const double log_sum = static_cast<double>(max) + std::log(sum);
  const auto logprob = [&](std::size_t index) {
    return TokenLogprob{model_.TokenText(static_cast<Token>(index), true),
                        static_cast<float>(static_cast<double>(logits[index]) - log_sum),
                        {}};
  };
  TokenLogprob result = logprob(static_cast<std::size_t>(token));
  if (n_top > 0) {
    std::vector<std::size_t> order(n_vocab);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto n = std::min(static_cast<std::size_t>(n_top), n_vocab);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                      [logits](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    for (std::size_t i = 0; i < n; ++i) result.top.push_back(logprob(order[i]));
  }
  return result;
}

}  // namespace corral::engine
