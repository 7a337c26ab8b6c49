#include "templates/internal/parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "templates/internal/failure.h"
#include "templates/internal/functions.h"
#include "templates/internal/lexer.h"
#include "templates/internal/number.h"

namespace corral::templates::internal {
namespace {

bool IsBlank(const ListNode* list) {
  return list == nullptr ||
         std::all_of(list->nodes.begin(), list->nodes.end(), [](const NodePtr& node) {
           return node->type == NodeType::kText && TrimSpace(As<TextNode>(*node).text).empty();
         });
}

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) {}

  TreeSet Parse() {
    auto root = std::make_unique<ListNode>(Peek().pos);
    while (Peek().type != ItemType::kEof) {
      if (Peek().type == ItemType::kLeftDelim) {
        const Item delim = Next();
        if (NextNonSpace().type == ItemType::kDefine) {
          ParseDefinition();
          continue;
        }
        Backup2(delim);
      }
      NodePtr node = TextOrAction();
      if (node->type == NodeType::kEnd || node->type == NodeType::kElse) {
        Fail("unexpected " + Describe(*node));
      }
      root->nodes.push_back(std::move(node));
    }
    Add("", std::move(root));
    return std::move(set_);
  }

 private:
  // What a {{define}} or {{block}} body does not share with the text around it.
  struct Scope {
    std::vector<std::string_view> variables = {"$"};
    int range_depth = 0;
    int action_line = 0;  // of the action being parsed; 0: none
  };

  // Counts nesting of blocks while it lives.
  class Depth {
   public:
    Depth(Parser& parser, int& depth, int limit, const char* error) : depth_(depth) {
      if (depth >= limit) parser.Fail(error);
      ++depth_;
    }
    ~Depth() { --depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    int& depth_;
  };

  [[noreturn]] void Fail(const std::string& message) {
    Throw(Code::kInvalidArgument, "template: :" + std::to_string(token_[0].line) + ": " + message);
  }

  [[noreturn]] void Unexpected(const Item& token, const std::string& context) {
    if (token.type == ItemType::kError) {
      std::string extra;
      if (scope_.action_line != 0 && scope_.action_line != token.line) {
        extra = token.text.ends_with(" action") ? " started at :" : " in action started at :";
        extra += std::to_string(scope_.action_line);
      }
      Fail(std::string(token.text) + extra);
    }
    Fail("unexpected " + token.Describe() + " in " + context);
  }

  // Items with up to three of them pushed back; token_[0] is the latest, whose line an error names.
  Item Next() {
    if (n_peeked_ > 0) {
      --n_peeked_;
    } else {
      token_[0] = lexer_.Next();
    }
    return token_[n_peeked_];
  }
  void Backup() { ++n_peeked_; }
  void Backup2(const Item& first) {
    token_[1] = first;
    n_peeked_ = 2;
  }
  void Backup3(const Item& first, const Item& second) {
    token_[1] = second;
    token_[2] = first;
    n_peeked_ = 3;
  }
  const Item& Peek() {
    if (n_peeked_ > 0) return token_[n_peeked_ - 1];
    n_peeked_ = 1;
    token_[0] = lexer_.Next();
    return token_[0];
  }
  Item NextNonSpace() {
    Item token = Next();
    while (token.type == ItemType::kSpace) token = Next();
    return token;
  }
  Item PeekNonSpace() {
    Item token = NextNonSpace();
    Backup();
    return token;
  }
  Item Expect(ItemType type, const std::string& context) {
    Item token = NextNonSpace();
    if (token.type != type) Unexpected(token, context);
    return token;
  }

  void Add(const std::string& name, std::unique_ptr<ListNode> tree) {
    auto& place = set_.trees[name];
    if (IsBlank(place.get())) {
      place = std::move(tree);
    } else if (!IsBlank(tree.get())) {
      Fail("template: multiple definition of template " + GoQuote(name));
    }
  }

  std::string TemplateName(const Item& token, const char* context) {
    if (token.type != ItemType::kString && token.type != ItemType::kRawString)
      Unexpected(token, context);
    auto name = Unquote(token.text);
    if (!name) Fail("invalid syntax");
    return *std::move(name);
  }

  void ParseDefinition() {
    const Depth depth(*this, block_depth_, kMaxBlockDepth, "max nesting depth exceeded");
    constexpr const char* kContext = "define clause";
    Scope outer = std::exchange(scope_, {});
    const std::string name = TemplateName(NextNonSpace(), kContext);
    Expect(ItemType::kRightDelim, kContext);
    auto [list, end] = ItemList();
    if (end->type != NodeType::kEnd) Fail("unexpected " + Describe(*end) + " in " + kContext);
    // clang 14 loses sight of a unique_ptr that is moved out of a pair.
    Add(name, std::move(list));  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks)
    scope_ = std::move(outer);
  }

  // Nodes up to {{end}} or {{else}}, and which of them it was.
  std::pair<std::unique_ptr<ListNode>, NodePtr> ItemList() {
    auto list = std::make_unique<ListNode>(PeekNonSpace().pos);
    while (PeekNonSpace().type != ItemType::kEof) {
      NodePtr node = TextOrAction();
      if (node->type == NodeType::kEnd || node->type == NodeType::kElse) {
        return {std::move(list), std::move(node)};
      }
      list->nodes.push_back(std::move(node));
    }
    Fail("unexpected EOF");
  }

  NodePtr TextOrAction() {
    const Item token = NextNonSpace();
    if (token.type == ItemType::kText) return std::make_unique<TextNode>(token.pos, token.text);
    if (token.type != ItemType::kLeftDelim) Unexpected(token, "input");
    scope_.action_line = token.line;
    NodePtr node = Action();
    scope_.action_line = 0;
    return node;
  }

  NodePtr Action() {
    const Item token = NextNonSpace();
    switch (token.type) {
      case ItemType::kBlock:
        return BlockControl();
      case ItemType::kBreak:
        return LoopControl(token, NodeType::kBreak);
      case ItemType::kContinue:
        return LoopControl(token, NodeType::kContinue);
      case ItemType::kElse:
        return ElseControl();
      case ItemType::kEnd:
        return std::make_unique<PlainNode>(NodeType::kEnd,
                                           Expect(ItemType::kRightDelim, "end").pos);
      case ItemType::kIf:
        return Control(NodeType::kIf);
      case ItemType::kRange:
        return Control(NodeType::kRange);
      case ItemType::kTemplate:
        return TemplateControl();
      case ItemType::kWith:
        return Control(NodeType::kWith);
      default:
        break;
    }
    Backup();
    const std::size_t pos = Peek().pos;
    // Variables declared here live on until the block's end.
    return std::make_unique<ActionNode>(pos, Pipeline("command", ItemType::kRightDelim));
  }

  NodePtr LoopControl(const Item& word, NodeType type) {
    const std::string name = "{{" + std::string(word.text) + "}}";
    const Item token = NextNonSpace();
    if (token.type != ItemType::kRightDelim) Unexpected(token, name);
    if (scope_.range_depth == 0) Fail(name + " outside {{range}}");
    return std::make_unique<PlainNode>(type, word.pos);
  }

  NodePtr ElseControl() {
    const Item token = PeekNonSpace();
    // {{else if}} and {{else with}}: Control() goes on with the word.
    if (token.type != ItemType::kIf && token.type != ItemType::kWith) {
      return std::make_unique<PlainNode>(NodeType::kElse,
                                         Expect(ItemType::kRightDelim, "else").pos);
    }
    return std::make_unique<PlainNode>(NodeType::kElse, token.pos);
  }

  NodePtr Control(NodeType type) {
    const Depth depth(*this, block_depth_, kMaxBlockDepth, "max nesting depth exceeded");
    const std::size_t n_variables = scope_.variables.size();
    const std::string context = type == NodeType::kIf      ? "if"
                                : type == NodeType::kRange ? "range"
                                                           : "with";
    auto pipe = Pipeline(context, ItemType::kRightDelim);
    auto node = std::make_unique<BranchNode>(type, pipe->pos);
    node->pipe = std::move(pipe);
    if (type == NodeType::kRange) ++scope_.range_depth;
    NodePtr end;
    std::tie(node->list, end) = ItemList();
    if (type == NodeType::kRange) --scope_.range_depth;
    if (end->type == NodeType::kElse) {
      const ItemType next = Peek().type;
      const bool is_chained = (type == NodeType::kIf && next == ItemType::kIf) ||
                              (type == NodeType::kWith && next == ItemType::kWith);
      if (is_chained) {
        Next();
        node->else_list = std::make_unique<ListNode>(end->pos);
        node->else_list->nodes.push_back(Control(type));
      } else {
        std::tie(node->else_list, end) = ItemList();
        if (end->type != NodeType::kEnd) Fail("expected end; found " + Describe(*end));
      }
    }
    scope_.variables.resize(n_variables);
    return node;
  }

  NodePtr BlockControl() {
    const Depth depth(*this, block_depth_, kMaxBlockDepth, "max nesting depth exceeded");
    constexpr const char* kContext = "block clause";
    const Item token = NextNonSpace();
    std::string name = TemplateName(token, kContext);
    auto pipe = Pipeline(kContext, ItemType::kRightDelim);
    Scope outer = std::exchange(scope_, {});
    auto [list, end] = ItemList();
    if (end->type != NodeType::kEnd) Fail("unexpected " + Describe(*end) + " in " + kContext);
    // clang 14 loses sight of a unique_ptr that is moved out of a pair.
    Add(name, std::move(list));  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks)
    scope_ = std::move(outer);
    return std::make_unique<TemplateNode>(token.pos, std::move(name), std::move(pipe));
  }

  NodePtr TemplateControl() {
    constexpr const char* kContext = "template clause";
    const Item token = NextNonSpace();
    std::string name = TemplateName(token, kContext);
    std::unique_ptr<PipeNode> pipe;
    if (NextNonSpace().type != ItemType::kRightDelim) {
      Backup();
      pipe = Pipeline(kContext, ItemType::kRightDelim);
    }
    return std::make_unique<TemplateNode>(token.pos, std::move(name), std::move(pipe));
  }

  void Declare(PipeNode& pipe, std::string_view name) {
    pipe.declared.push_back(name);
    scope_.variables.push_back(name);
  }

  // "$x := ", "$x = ", and in a range "$i, $x := ". Leaves the items alone if it is no declaration.
  void Declarations(PipeNode& pipe, const std::string& context) {
    while (PeekNonSpace().type == ItemType::kVariable) {
      const Item variable = NextNonSpace();
      const Item after = Peek();
      const Item next = PeekNonSpace();
      if (next.type == ItemType::kAssign || next.type == ItemType::kDeclare) {
        pipe.is_assign = next.type == ItemType::kAssign;
        NextNonSpace();
        Declare(pipe, variable.text);
        return;
      }
      if (next.type != ItemType::kChar || next.text != ",") {
        if (after.type == ItemType::kSpace) {
          Backup3(variable, after);
        } else {
          Backup2(variable);
        }
        return;
      }
      NextNonSpace();
      Declare(pipe, variable.text);
      if (context != "range" || pipe.declared.size() >= 2)
        Fail("too many declarations in " + context);
      const ItemType following = PeekNonSpace().type;
      if (following != ItemType::kVariable && following != ItemType::kRightDelim &&
          following != ItemType::kRightParen) {
        Fail("range can only initialize variables");
      }
    }
  }

  std::unique_ptr<PipeNode> Pipeline(const std::string& context, ItemType end) {
    auto pipe = std::make_unique<PipeNode>(PeekNonSpace().pos);
    Declarations(*pipe, context);
    for (;;) {
      const Item token = NextNonSpace();
      if (token.type == end) break;
      switch (token.type) {
        case ItemType::kBool:
        case ItemType::kCharConstant:
        case ItemType::kDot:
        case ItemType::kField:
        case ItemType::kIdentifier:
        case ItemType::kNumber:
        case ItemType::kNil:
        case ItemType::kRawString:
        case ItemType::kString:
        case ItemType::kVariable:
        case ItemType::kLeftParen:
          Backup();
          pipe->commands.push_back(Command());
          break;
        default:
          Unexpected(token, context);
      }
    }
    if (pipe->commands.empty()) Fail("missing value for " + context);
    for (std::size_t i = 1; i < pipe->commands.size(); ++i) {
      switch (pipe->commands[i]->args.front()->type) {
        case NodeType::kBool:
        case NodeType::kDot:
        case NodeType::kNil:
        case NodeType::kNumber:
        case NodeType::kString:
          Fail("non executable command in pipeline stage " + std::to_string(i + 1));
        default:
          break;
      }
    }
    return pipe;
  }

  std::unique_ptr<CommandNode> Command() {
    auto command = std::make_unique<CommandNode>(PeekNonSpace().pos);
    for (;;) {
      PeekNonSpace();
      if (NodePtr operand = Operand()) command->args.push_back(std::move(operand));
      const Item token = Next();
      if (token.type == ItemType::kSpace) continue;
      if (token.type == ItemType::kRightDelim || token.type == ItemType::kRightParen) {
        Backup();
      } else if (token.type != ItemType::kPipe) {
        Unexpected(token, "operand");
      }
      break;
    }
    if (command->args.empty()) Fail("empty command");
    return command;
  }

  // A term and the .Fields behind it; null if the next item is none.
  NodePtr Operand() {
    NodePtr node = Term();
    if (!node || Peek().type != ItemType::kField) return node;
    const std::size_t pos = Peek().pos;
    std::vector<std::string_view> names;
    while (Peek().type == ItemType::kField) names.push_back(Next().text.substr(1));
    switch (node->type) {
      case NodeType::kField:
      case NodeType::kVariable: {
        auto& known = static_cast<NamesNode&>(*node);
        known.names.insert(known.names.end(), names.begin(), names.end());
        known.pos = pos;
        return node;
      }
      case NodeType::kBool:
      case NodeType::kString:
      case NodeType::kNumber:
      case NodeType::kNil:
      case NodeType::kDot:
        Fail("unexpected . after term " + GoQuote(Describe(*node)));
      default:
        break;
    }
    auto chain = std::make_unique<ChainNode>(pos, std::move(node));
    chain->names = std::move(names);
    return chain;
  }

  NodePtr Term() {
    const Item token = NextNonSpace();
    switch (token.type) {
      case ItemType::kIdentifier:
        if (FindFunction(token.text) == nullptr)
          Fail("function " + GoQuote(token.text) + " not defined");
        return std::make_unique<IdentifierNode>(token.pos, token.text);
      case ItemType::kDot:
        return std::make_unique<PlainNode>(NodeType::kDot, token.pos);
      case ItemType::kNil:
        return std::make_unique<PlainNode>(NodeType::kNil, token.pos);
      case ItemType::kBool:
        return std::make_unique<PlainNode>(NodeType::kBool, token.pos, token.text == "true");
      case ItemType::kVariable: {
        const auto& known = scope_.variables;
        if (std::find(known.begin(), known.end(), token.text) == known.end()) {
          Fail("undefined variable " + GoQuote(token.text));
        }
        return std::make_unique<NamesNode>(NodeType::kVariable, token.pos,
                                           std::vector<std::string_view>{token.text});
      }
      case ItemType::kField:
        return std::make_unique<NamesNode>(NodeType::kField, token.pos,
                                           std::vector<std::string_view>{token.text.substr(1)});
      case ItemType::kCharConstant:
      case ItemType::kNumber: {
        auto number = ParseNumber(token.pos, token.text);
        if (!number) Fail(number.error());
        return *std::move(number);
      }
      case ItemType::kLeftParen: {
        const Depth depth(*this, expression_depth_, kMaxExpressionDepth,
                          "max expression depth exceeded");
        return Pipeline("parenthesized pipeline", ItemType::kRightParen);
      }
      case ItemType::kString:
      case ItemType::kRawString: {
        auto text = Unquote(token.text);
        if (!text) Fail("invalid syntax");
        return std::make_unique<StringNode>(token.pos, token.text, *std::move(text));
      }
      default:
        break;
    }
    Backup();
    return nullptr;
  }

  Lexer lexer_;
  std::array<Item, 3> token_;
  std::size_t n_peeked_ = 0;
  Scope scope_;
  int block_depth_ = 0;
  int expression_depth_ = 0;
  TreeSet set_;
};

}  // namespace

Result<TreeSet> ParseTemplate(std::string_view text) {
  try {
    return Parser(text).Parse();
  } catch (Failure& failure) {
    return corral::Fail(std::move(failure.error));
  }
}

}  // namespace corral::templates::internal
