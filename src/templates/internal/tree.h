// The parsed template. Nodes are immutable once the parser is done with them and are shared by all
// renderings.
//
// Names follow Go's text/template/parse. Text and names are views into the template's own text,
// which lives beside the tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace corral::templates::internal {

enum class NodeType : std::uint8_t {
  kText,
  kAction,
  kBreak,
  kContinue,
  kIf,
  kRange,
  kWith,
  kTemplate,
  kList,
  kElse,  // only while parsing
  kEnd,   // only while parsing
  kPipe,
  kCommand,
  kIdentifier,
  kVariable,
  kField,
  kChain,
  kDot,
  kNil,
  kBool,
  kNumber,
  kString,
};

struct Node {
  Node(NodeType node_type, std::size_t offset) : type(node_type), pos(offset) {}
  virtual ~Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  NodeType type;
  std::size_t pos;  // byte offset in the template
};

using NodePtr = std::unique_ptr<Node>;

struct TextNode : Node {
  TextNode(std::size_t offset, std::string_view view) : Node(NodeType::kText, offset), text(view) {}
  std::string_view text;
};

// {{.}} {{nil}} {{true}} {{break}} {{continue}} {{else}} {{end}}: nothing but their type, and a
// flag for the constants.
struct PlainNode : Node {
  PlainNode(NodeType node_type, std::size_t offset, bool is = false)
      : Node(node_type, offset), is_true(is) {}
  bool is_true;
};

struct NumberNode : Node {
  NumberNode(std::size_t offset, std::string_view view)
      : Node(NodeType::kNumber, offset), text(view) {}
  std::string_view text;
  bool is_int = false;  // else a float, or an integer that overflows
  bool is_float = false;
  std::int64_t int_value = 0;
  double float_value = 0;
};

struct StringNode : Node {
  StringNode(std::size_t offset, std::string_view literal, std::string value)
      : Node(NodeType::kString, offset), quoted(literal), text(std::move(value)) {}
  std::string_view quoted;
  std::string text;
};

struct IdentifierNode : Node {
  IdentifierNode(std::size_t offset, std::string_view view)
      : Node(NodeType::kIdentifier, offset), name(view) {}
  std::string_view name;
};

// .A.B, or $x.A.B whose first name is "$x".
struct NamesNode : Node {
  NamesNode(NodeType node_type, std::size_t offset, std::vector<std::string_view> list)
      : Node(node_type, offset), names(std::move(list)) {}
  std::vector<std::string_view> names;
};

// (pipeline).A.B
struct ChainNode : Node {
  ChainNode(std::size_t offset, NodePtr first)
      : Node(NodeType::kChain, offset), node(std::move(first)) {}
  NodePtr node;
  std::vector<std::string_view> names;
};

struct CommandNode : Node {
  explicit CommandNode(std::size_t offset) : Node(NodeType::kCommand, offset) {}
  std::vector<NodePtr> args;  // never empty
};

struct PipeNode : Node {
  explicit PipeNode(std::size_t offset) : Node(NodeType::kPipe, offset) {}
  bool is_assign = false;  // $x = …, not $x := …
  std::vector<std::string_view> declared;
  std::vector<std::unique_ptr<CommandNode>> commands;
};

struct ActionNode : Node {
  ActionNode(std::size_t offset, std::unique_ptr<PipeNode> value)
      : Node(NodeType::kAction, offset), pipe(std::move(value)) {}
  std::unique_ptr<PipeNode> pipe;
};

struct ListNode : Node {
  explicit ListNode(std::size_t offset) : Node(NodeType::kList, offset) {}
  std::vector<NodePtr> nodes;
};

// if, range, with
struct BranchNode : Node {
  BranchNode(NodeType node_type, std::size_t offset) : Node(node_type, offset) {}
  std::unique_ptr<PipeNode> pipe;
  std::unique_ptr<ListNode> list;
  std::unique_ptr<ListNode> else_list;  // may be null
};

struct TemplateNode : Node {
  TemplateNode(std::size_t offset, std::string template_name, std::unique_ptr<PipeNode> value)
      : Node(NodeType::kTemplate, offset), name(std::move(template_name)), pipe(std::move(value)) {}
  std::string name;
  std::unique_ptr<PipeNode> pipe;  // may be null
};

// The templates of one text: "" is the text itself, the others are its {{define}}s and {{block}}s.
struct TreeSet {
  std::map<std::string, std::unique_ptr<ListNode>, std::less<>> trees;
  const ListNode* Find(std::string_view name) const;
};

// The node as source text, as error messages quote it: .A.B, index .A 5, {{template "x" .}}.
std::string Describe(const Node& node);

template <class T>
const T& As(const Node& node) {
  return static_cast<const T&>(node);
}

// Calls `visit(node)` for a node and all below it, parents first; branches in the order pipeline,
// list, else. Null is skipped.
template <class Visit>
void ForEach(const Node* node, Visit&& visit) {
  if (node == nullptr) return;
  visit(*node);
  switch (node->type) {
    case NodeType::kAction:
      ForEach(As<ActionNode>(*node).pipe.get(), visit);
      break;
    case NodeType::kTemplate:
      ForEach(As<TemplateNode>(*node).pipe.get(), visit);
      break;
    case NodeType::kChain:
      ForEach(As<ChainNode>(*node).node.get(), visit);
      break;
    case NodeType::kIf:
    case NodeType::kRange:
    case NodeType::kWith:
      ForEach(As<BranchNode>(*node).pipe.get(), visit);
      ForEach(As<BranchNode>(*node).list.get(), visit);
      ForEach(As<BranchNode>(*node).else_list.get(), visit);
      break;
    case NodeType::kList:
      for (const NodePtr& child : As<ListNode>(*node).nodes) ForEach(child.get(), visit);
      break;
    case NodeType::kPipe:
      for (const auto& child : As<PipeNode>(*node).commands) ForEach(child.get(), visit);
      break;
    case NodeType::kCommand:
      for (const NodePtr& child : As<CommandNode>(*node).args) ForEach(child.get(), visit);
      break;
    default:
      break;
  }
}

}  // namespace corral::templates::internal
