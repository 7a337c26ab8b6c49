#include "templates/internal/evaluator.h"

#include <algorithm>
#include <utility>

#include "templates/internal/failure.h"
#include "templates/internal/format.h"
#include "templates/internal/functions.h"
#include "templates/internal/text.h"

namespace corral::templates::internal {

// Counts a level of nesting while it lives.
class Evaluator::Nested {
 public:
  explicit Nested(Evaluator& evaluator) : evaluator_(evaluator) {
    if (evaluator.depth_ >= kMaxDepth) {
      Throw(Code::kTooLarge,
            "template: exceeded maximum template depth (" + std::to_string(kMaxDepth) + ")");
    }
    ++evaluator.depth_;
  }
  ~Nested() { --evaluator_.depth_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Evaluator& evaluator_;
};

void Evaluator::Run(const Value& data) {
  const ListNode* root = trees_.Find("");
  variables_.assign(1, Variable{"$", data});
  if (root != nullptr) Walk(data, *root);
}

void Evaluator::Fail(const std::string& message) const {
  const std::string_view before = text_.substr(0, at_->pos);
  const std::size_t newline = before.rfind('\n');
  const std::size_t column =
      newline == std::string_view::npos ? before.size() : before.size() - newline - 1;
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  Throw(Code::kInternal, "template: :" + std::to_string(line) + ":" + std::to_string(column) +
                             ": executing " + GoQuote(template_name_) + " at <" + Describe(*at_) +
                             ">: " + message);
}

void Evaluator::Spend(std::size_t steps) {
  if (budget_.steps < steps) Throw(Code::kTooLarge, "the template takes too many steps");
  budget_.steps -= steps;
}

void Evaluator::Write(std::string_view text) {
  if (budget_.output_bytes < text.size())
    Throw(Code::kTooLarge, "the template's output is too large");
  budget_.output_bytes -= text.size();
  out_ += text;
}

// --- actions
// -----------------------------------------------------------------------------------------------------------

Evaluator::Flow Evaluator::Walk(const Value& dot, const Node& node) {
  at_ = &node;
  Spend(1);
  switch (node.type) {
    case NodeType::kText:
      Write(As<TextNode>(node).text);
      break;
    case NodeType::kAction: {
      const PipeNode& pipe = *As<ActionNode>(node).pipe;
      const Value value = EvalPipeline(dot, pipe);
      if (pipe.declared.empty()) PrintValue(node, value);
      break;
    }
    case NodeType::kBreak:
      return Flow::kBreak;
    case NodeType::kContinue:
      return Flow::kContinue;
    case NodeType::kIf:
    case NodeType::kWith:
      return WalkIfOrWith(dot, As<BranchNode>(node));
    case NodeType::kRange:
      return WalkRange(dot, As<BranchNode>(node));
    case NodeType::kTemplate:
      WalkTemplate(dot, As<TemplateNode>(node));
      break;
    case NodeType::kList:
      return WalkList(dot, As<ListNode>(node));
    default:
      Fail("unknown node: " + Describe(node));
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::WalkList(const Value& dot, const ListNode& list) {
  const Nested nested(*this);
  std::size_t n_nodes = list.nodes.size();
  if (cut_ != nullptr) {
    if (const auto found = cut_->find(&list); found != cut_->end()) n_nodes = found->second;
  }
  for (std::size_t i = 0; i < n_nodes; ++i) {
    if (const Flow flow = Walk(dot, *list.nodes[i]); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::WalkIfOrWith(const Value& dot, const BranchNode& node) {
  const std::size_t mark = variables_.size();
  const Value value = EvalPipeline(dot, *node.pipe);
  Flow flow = Flow::kNext;
  if (value.IsTrue()) {
    flow = Walk(node.type == NodeType::kWith ? value : dot, *node.list);
  } else if (node.else_list) {
    flow = Walk(dot, *node.else_list);
  }
  variables_.resize(mark);
  return flow;
}

bool Evaluator::Iterate(const BranchNode& node, const Value& index, const Value& element,
                        std::size_t mark) {
  Spend(1);
  const auto& declared = node.pipe->declared;
  if (node.pipe->is_assign) {
    if (declared.size() > 1) {
      Assign(declared[0], index);
      Assign(declared[1], element);
    } else {
      Assign(declared[0], element);
    }
  } else {
    if (!declared.empty()) variables_[mark - 1].value = element;
    if (declared.size() > 1) variables_[mark - 2].value = index;
  }
  const Flow flow = Walk(element, *node.list);
  variables_.resize(mark);
  return flow != Flow::kBreak;
}

Evaluator::Flow Evaluator::WalkRange(const Value& dot, const BranchNode& node) {
  const std::size_t outer = variables_.size();
  const Value value = EvalPipeline(dot, *node.pipe);
  const std::size_t mark = variables_.size();
  bool has_run = true;
  if (const auto* list = value.AsList()) {
    has_run = list->size > 0;
    for (std::size_t i = 0; i < list->size; ++i) {
      if (!Iterate(node, static_cast<std::int64_t>(i), list->items[i], mark)) break;
    }
  } else if (const auto* map = value.AsMap()) {
    has_run = !map->entries.empty();
    for (const auto& [key, element] : map->entries) {
      if (!Iterate(node, key, element, mark)) break;
    }
  } else if (const auto* count = value.AsInt()) {
    if (node.pipe->declared.size() > 1) {
      Fail("can't use " + std::to_string(*count) + " to iterate over more than one variable");
    }
    has_run = *count > 0;
    for (std::int64_t i = 0; i < *count; ++i) {
      if (!Iterate(node, {}, i, mark)) break;
    }
  } else if (value.is_nil()) {
    has_run = false;
  } else {
    Fail("range can't iterate over " + ShortText(value));
  }
  const Flow flow = !has_run && node.else_list ? Walk(dot, *node.else_list) : Flow::kNext;
  variables_.resize(outer);
  return flow;
}

void Evaluator::WalkTemplate(const Value& dot, const TemplateNode& node) {
  const Nested nested(*this);
  const ListNode* body = trees_.Find(node.name);
  if (body == nullptr) Fail("template " + GoQuote(node.name) + " not defined");
  const Value argument = node.pipe ? EvalPipeline(dot, *node.pipe) : Value();
  const std::string caller = std::exchange(template_name_, node.name);
  const std::size_t mark = variables_.size();
  const std::size_t first = std::exchange(first_variable_, mark);
  variables_.push_back({"$", argument});
  Walk(argument, *body);
  variables_.resize(mark);
  first_variable_ = first;
  template_name_ = caller;
}

void Evaluator::PrintValue(const Node& node, const Value& value) {
  at_ = &node;
  if (value.is_nil()) return Write("<no value>");
  if (const auto* text = value.AsString()) return Write(*text);
  std::string text;
  AppendText(text, value);
  Spend(text.size() / 1024);
  Write(text);
}

// --- expressions
// -------------------------------------------------------------------------------------------------------

const Value& Evaluator::Lookup(std::string_view name) const {
  for (std::size_t i = variables_.size(); i > first_variable_; --i) {
    if (variables_[i - 1].name == name) return variables_[i - 1].value;
  }
  Fail("undefined variable: " + std::string(name));
}

void Evaluator::Assign(std::string_view name, const Value& value) {
  for (std::size_t i = variables_.size(); i > first_variable_; --i) {
    if (variables_[i - 1].name == name) {
      variables_[i - 1].value = value;
      return;
    }
  }
  Fail("undefined variable: " + std::string(name));
}

Value Evaluator::EvalPipeline(const Value& dot, const PipeNode& pipe) {
  const Nested nested(*this);
  at_ = &pipe;
  Value value;
  Final final = nullptr;
  for (const auto& command : pipe.commands) {
    value = EvalCommand(dot, *command, final);
    final = &value;
  }
  for (const std::string_view name : pipe.declared) {
    if (pipe.is_assign) {
      Assign(name, value);
    } else {
      variables_.push_back({name, value});
    }
  }
  return value;
}

void Evaluator::RefuseArgs(const Args& args, Final final) const {
  if (args.size() > 1 || final != nullptr)
    Fail("can't give argument to non-function " + Describe(*args[0]));
}

Value Evaluator::EvalCommand(const Value& dot, const CommandNode& command, Final final) {
  Spend(1);
  const Args& args = command.args;
  const Node& first = *args[0];
  const bool has_args = args.size() > 1 || final != nullptr;
  switch (first.type) {
    case NodeType::kField:
      return EvalField(dot, As<NamesNode>(first), has_args);
    case NodeType::kChain:
      return EvalChain(dot, As<ChainNode>(first), has_args);
    case NodeType::kIdentifier:
      return EvalFunction(dot, As<IdentifierNode>(first), command, &args, final);
    case NodeType::kPipe:
      RefuseArgs(args, final);
      return EvalPipeline(dot, As<PipeNode>(first));
    case NodeType::kVariable:
      if (As<NamesNode>(first).names.size() == 1) {
        at_ = &first;
        RefuseArgs(args, final);
      }
      return EvalVariable(As<NamesNode>(first), has_args);
    default:
      break;
  }
  at_ = &first;
  RefuseArgs(args, final);
  if (first.type == NodeType::kNil) Fail("nil is not a command");
  return EvalArg(dot, first);
}

Value Evaluator::Constant(const NumberNode& node) {
  at_ = &node;
  if (node.is_float) return node.float_value;
  if (!node.is_int) Fail(std::string(node.text) + " overflows int");
  return node.int_value;
}

Value Evaluator::EvalField(const Value& dot, const NamesNode& node, bool has_args) {
  at_ = &node;
  return EvalNames(dot, node.names, 0, has_args);
}

Value Evaluator::EvalVariable(const NamesNode& node, bool has_args) {
  at_ = &node;
  const Value value = Lookup(node.names[0]);
  return node.names.size() == 1 ? value : EvalNames(value, node.names, 1, has_args);
}

Value Evaluator::EvalChain(const Value& dot, const ChainNode& node, bool has_args) {
  at_ = &node;
  if (node.node->type == NodeType::kNil)
    Fail("indirection through explicit nil in " + Describe(node));
  const Value receiver = EvalArg(dot, *node.node);
  return EvalNames(receiver, node.names, 0, has_args);
}

Value Evaluator::EvalNames(const Value& receiver, const std::vector<std::string_view>& names,
                           std::size_t first, bool has_args) {
  Value value = receiver;
  bool is_any = false;
  for (std::size_t i = first; i < names.size(); ++i) {
    const Map* map = value.AsMap();
    value = EvalName(value, is_any, names[i], has_args && i + 1 == names.size());
    is_any = map != nullptr && map->type != MapType::kProperties;
  }
  return value;
}

// `is_any`: the receiver has just come out of a map of anything, whose element type an error names.
Value Evaluator::EvalName(const Value& receiver, bool is_any, std::string_view name,
                          bool has_args) {
  Spend(1);
  const std::string field(name);
  if (receiver.is_nil()) {
    if (is_any) Fail("nil pointer evaluating interface {}." + field);
    return {};
  }
  Value result;
  if (FindMethod(receiver, name, arena_, result)) {
    if (has_args) Fail("wrong number of args for " + field + ": want 0");
    return result;
  }
  if (const auto* object = receiver.AsObject()) {
    if (const Value* found = object->Find(name)) {
      if (has_args) Fail(field + " has arguments but cannot be invoked as function");
      return *found;
    }
  } else if (const auto* map = receiver.AsMap()) {
    if (has_args) Fail(field + " is not a method but has arguments");
    const Value* found = map->Find(name);
    return found == nullptr ? Value() : *found;
  }
  const std::string_view type = is_any ? std::string_view("interface {}") : receiver.TypeName();
  Fail("can't evaluate field " + field + " in type " + std::string(type));
}

Value Evaluator::EvalFunction(const Value& dot, const IdentifierNode& node, const Node& call,
                              const Args* args, Final final) {
  at_ = &node;
  const Function* function = FindFunction(node.name);
  const std::string name(node.name);
  if (function == nullptr) Fail(GoQuote(name) + " is not a defined function");
  const std::size_t n_nodes = args == nullptr ? 0 : args->size() - 1;
  const std::size_t n_args = n_nodes + (final == nullptr ? 0 : 1);
  if (function->is_variadic && n_args < function->n_fixed) {
    Fail("wrong number of args for " + name + ": want at least " +
         std::to_string(function->n_fixed) + " got " + std::to_string(n_nodes));
  }
  if (!function->is_variadic && n_args != function->n_fixed) {
    Fail("wrong number of args for " + name + ": want " + std::to_string(function->n_fixed) +
         " got " + std::to_string(n_args));
  }
  if (name == "and" || name == "or") {
    Value value;
    for (std::size_t i = 0; i < n_nodes; ++i) {
      value = EvalArg(dot, *(*args)[i + 1]);
      if (value.IsTrue() == (name == "or")) return value;
    }
    return final == nullptr ? value : *final;
  }
  std::vector<Value> values;
  values.reserve(n_args);
  for (std::size_t i = 0; i < n_nodes; ++i) {
    const Node& arg = *(*args)[i + 1];
    values.push_back(i == 0 && function->wants_format ? EvalFormatArg(dot, arg)
                                                      : EvalArg(dot, arg));
  }
  if (final != nullptr)
    values.push_back(values.empty() && function->wants_format ? CheckFormat(*final) : *final);
  for (const Value& value : values) Spend(Cost(value));
  try {
    const Value result = function->call(values, arena_);
    Spend(Cost(result));
    return result;
  } catch (const CallError& error) {
    at_ = &call;
    Fail("error calling " + name + ": " + error.message);
  }
}

Value Evaluator::EvalArg(const Value& dot, const Node& node) {
  at_ = &node;
  switch (node.type) {
    case NodeType::kDot:
      return dot;
    case NodeType::kNil:
      return {};
    case NodeType::kBool:
      return As<PlainNode>(node).is_true;
    case NodeType::kNumber:
      return Constant(As<NumberNode>(node));
    case NodeType::kString:
      return std::string_view(As<StringNode>(node).text);
    case NodeType::kField:
      return EvalField(dot, As<NamesNode>(node), false);
    case NodeType::kVariable:
      return EvalVariable(As<NamesNode>(node), false);
    case NodeType::kPipe:
      return EvalPipeline(dot, As<PipeNode>(node));
    case NodeType::kIdentifier:
      return EvalFunction(dot, As<IdentifierNode>(node), node, nullptr, nullptr);
    case NodeType::kChain:
      return EvalChain(dot, As<ChainNode>(node), false);
    default:
      Fail("can't evaluate command " + GoQuote(Describe(node)));
  }
}

Value Evaluator::CheckFormat(const Value& value) const {
  if (value.is_nil()) Fail("invalid value; expected string");
  if (value.AsString() == nullptr) {
    Fail("wrong type for value; expected string; got " + std::string(value.TypeName()));
  }
  return value;
}

// An argument that Go has declared as a string: printf's first.
Value Evaluator::EvalFormatArg(const Value& dot, const Node& node) {
  at_ = &node;
  if (node.type == NodeType::kNil) Fail("cannot assign nil to string");
  if (node.type == NodeType::kBool || node.type == NodeType::kNumber) {
    Fail("expected string; found " + Describe(node));
  }
  const Value value = EvalArg(dot, node);
  if (value.is_nil() && node.type == NodeType::kField) {
    Fail("wrong type for value; expected string; got interface {}");
  }
  return CheckFormat(value);
}

}  // namespace corral::templates::internal
