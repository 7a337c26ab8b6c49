#include "templates/internal/tree.h"

#include "templates/internal/text.h"

namespace corral::templates::internal {
namespace {

void Write(std::string& out, const Node& node);

void WriteMaybeParenthesised(std::string& out, const Node& node) {
  const bool is_pipe = node.type == NodeType::kPipe;
  if (is_pipe) out += '(';
  Write(out, node);
  if (is_pipe) out += ')';
}

void WriteCommand(std::string& out, const CommandNode& command) {
  for (std::size_t i = 0; i < command.args.size(); ++i) {
    if (i > 0) out += ' ';
    WriteMaybeParenthesised(out, *command.args[i]);
  }
}

void WritePipe(std::string& out, const PipeNode& pipe) {
  for (std::size_t i = 0; i < pipe.declared.size(); ++i) {
    if (i > 0) out += ", ";
    out += pipe.declared[i];
  }
  if (!pipe.declared.empty()) out += pipe.is_assign ? " = " : " := ";
  for (std::size_t i = 0; i < pipe.commands.size(); ++i) {
    if (i > 0) out += " | ";
    WriteCommand(out, *pipe.commands[i]);
  }
}

void WriteNames(std::string& out, const std::vector<std::string_view>& names) {
  for (const std::string_view name : names) {
    out += '.';
    out += name;
  }
}

void Write(std::string& out, const Node& node) {
  switch (node.type) {
    case NodeType::kText:
      out += As<TextNode>(node).text;
      break;
    case NodeType::kBreak:
      out += "{{break}}";
      break;
    case NodeType::kContinue:
      out += "{{continue}}";
      break;
    case NodeType::kElse:
      out += "{{else}}";
      break;
    case NodeType::kEnd:
      out += "{{end}}";
      break;
    case NodeType::kDot:
      out += '.';
      break;
    case NodeType::kNil:
      out += "nil";
      break;
    case NodeType::kBool:
      out += As<PlainNode>(node).is_true ? "true" : "false";
      break;
    case NodeType::kNumber:
      out += As<NumberNode>(node).text;
      break;
    case NodeType::kString:
      out += As<StringNode>(node).quoted;
      break;
    case NodeType::kIdentifier:
      out += As<IdentifierNode>(node).name;
      break;
    case NodeType::kField:
      WriteNames(out, As<NamesNode>(node).names);
      break;
    case NodeType::kVariable: {
      std::string names;
      WriteNames(names, As<NamesNode>(node).names);
      out += std::string_view(names).substr(1);
      break;
    }
    case NodeType::kChain:
      WriteMaybeParenthesised(out, *As<ChainNode>(node).node);
      WriteNames(out, As<ChainNode>(node).names);
      break;
    case NodeType::kCommand:
      WriteCommand(out, As<CommandNode>(node));
      break;
    case NodeType::kPipe:
      WritePipe(out, As<PipeNode>(node));
      break;
    case NodeType::kAction:
      out += "{{";
      WritePipe(out, *As<ActionNode>(node).pipe);
      out += "}}";
      break;
    case NodeType::kTemplate:
      out += "{{template " + GoQuote(As<TemplateNode>(node).name);
      if (As<TemplateNode>(node).pipe) {
        out += ' ';
        WritePipe(out, *As<TemplateNode>(node).pipe);
      }
      out += "}}";
      break;
    case NodeType::kList:
      for (const NodePtr& child : As<ListNode>(node).nodes) Write(out, *child);
      break;
    case NodeType::kIf:
    case NodeType::kRange:
    case NodeType::kWith: {
      const auto& branch = As<BranchNode>(node);
      out += node.type == NodeType::kIf      ? "{{if "
             : node.type == NodeType::kRange ? "{{range "
                                             : "{{with ";
      WritePipe(out, *branch.pipe);
      out += "}}";
      Write(out, *branch.list);
      if (branch.else_list) {
        out += "{{else}}";
        Write(out, *branch.else_list);
      }
      out += "{{end}}";
      break;
    }
  }
}

}  // namespace

const ListNode* TreeSet::Find(std::string_view name) const {
  const auto found = trees.find(name);
  return found == trees.end() ? nullptr : found->second.get();
}

std::string Describe(const Node& node) {
  std::string out;
  Write(out, node);
  return out;
}

}  // namespace corral::templates::internal
