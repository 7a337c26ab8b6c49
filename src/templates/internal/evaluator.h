// Runs a tree on data: Go's text/template/exec.go, with its error texts, and with limits that Go
// does not have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/result.h"
#include "templates/internal/tree.h"
#include "templates/internal/value.h"

namespace corral::templates::internal {

// Where a rendering ends that stops at the first .Response: of each list, how many nodes still run.
// Lists that are not in it run to their end.
using Cut = std::unordered_map<const ListNode*, std::size_t>;

// What one Render() may use, shared by all turns of a legacy template.
struct Budget {
  std::size_t steps = 0;
  std::size_t output_bytes = 0;
};

// One rendering: appends to `out`. Not thread-safe; the tree it reads is.
class Evaluator {
 public:
  // Nested blocks, parentheses and {{template}} calls together.
  static constexpr int kMaxDepth = 450;

  // All references must outlive the evaluator.
  Evaluator(const TreeSet& trees, std::string_view text, const Cut* cut, Arena& arena,
            Budget& budget, std::string& out)
      : trees_(trees), text_(text), cut_(cut), arena_(arena), budget_(budget), out_(out) {}

  // Runs the main template with `data` as the dot.
  // Throws Failure: kInternal (Go's text), kTooLarge (steps, output, nesting).
  void Run(const Value& data);

 private:
  struct Variable {
    std::string_view name;
    Value value;
  };
  enum class Flow : std::uint8_t { kNext, kBreak, kContinue };
  // The value that comes down a pipeline, if any.
  using Final = const Value*;
  using Args = std::vector<NodePtr>;

  class Nested;

  [[noreturn]] void Fail(const std::string& message) const;
  void Spend(std::size_t steps);
  void Write(std::string_view text);

  Flow Walk(const Value& dot, const Node& node);
  Flow WalkList(const Value& dot, const ListNode& list);
  Flow WalkIfOrWith(const Value& dot, const BranchNode& node);
  Flow WalkRange(const Value& dot, const BranchNode& node);
  // One turn of a range; false when the body said break.
  bool Iterate(const BranchNode& node, const Value& index, const Value& element, std::size_t mark);
  void WalkTemplate(const Value& dot, const TemplateNode& node);
  void PrintValue(const Node& node, const Value& value);

  Value EvalPipeline(const Value& dot, const PipeNode& pipe);
  Value EvalCommand(const Value& dot, const CommandNode& command, Final final);
  Value EvalField(const Value& dot, const NamesNode& node, bool has_args);
  Value EvalVariable(const NamesNode& node, bool has_args);
  Value EvalChain(const Value& dot, const ChainNode& node, bool has_args);
  Value EvalNames(const Value& receiver, const std::vector<std::string_view>& names,
                  std::size_t first, bool has_args);
  Value EvalName(const Value& receiver, bool is_any, std::string_view name, bool has_args);
  Value EvalFunction(const Value& dot, const IdentifierNode& node, const Node& call,
                     const Args* args, Final final);
  Value EvalArg(const Value& dot, const Node& node);
  Value EvalFormatArg(const Value& dot, const Node& node);
  Value CheckFormat(const Value& value) const;
  Value Constant(const NumberNode& node);
  void RefuseArgs(const Args& args, Final final) const;

  const Value& Lookup(std::string_view name) const;
  void Assign(std::string_view name, const Value& value);

  const TreeSet& trees_;
  std::string_view text_;
  const Cut* cut_;
  Arena& arena_;
  Budget& budget_;
  std::string& out_;

  std::string template_name_;        // for error texts: "" or a {{define}}'s
  const Node* at_ = nullptr;         // the latest node looked at, which an error names
  std::vector<Variable> variables_;  // innermost last
  std::size_t first_variable_ = 0;   // a {{template}} sees none of its caller's
  int depth_ = 0;
};

}  // namespace corral::templates::internal
