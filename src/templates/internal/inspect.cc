#include "templates/internal/inspect.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "templates/internal/text.h"

namespace corral::templates::internal {
namespace {

bool IsName(const Node& node) {
  return node.type == NodeType::kField || node.type == NodeType::kVariable;
}

// .Name, $.Name or $x.Name anywhere below `node`, at any place of the chain.
bool Mentions(const Node* node, std::string_view name) {
  bool is_found = false;
  ForEach(node, [&](const Node& part) {
    if (!IsName(part)) return;
    const auto& names = As<NamesNode>(part).names;
    is_found = is_found || std::find(names.begin(), names.end(), name) != names.end();
  });
  return is_found;
}

// .Name as the first name of a chain, or $.Name: what belongs to the dot or to the root.
bool StartsWith(const Node* node, std::string_view name) {
  bool is_found = false;
  ForEach(node, [&](const Node& part) {
    if (!IsName(part)) return;
    const auto& names = As<NamesNode>(part).names;
    if (names[0] == name || (names.size() > 1 && names[0] == "$" && names[1] == name))
      is_found = true;
  });
  return is_found;
}

bool IsBranch(const Node& node) {
  return node.type == NodeType::kIf || node.type == NodeType::kRange ||
         node.type == NodeType::kWith;
}

bool CutList(const ListNode* list, Cut& cut) {
  if (list == nullptr) return false;
  for (std::size_t i = 0; i < list->nodes.size(); ++i) {
    const Node& node = *list->nodes[i];
    bool is_here = node.type == NodeType::kAction && StartsWith(&node, "Response");
    if (IsBranch(node)) {
      const bool is_in_list = CutList(As<BranchNode>(node).list.get(), cut);
      is_here = CutList(As<BranchNode>(node).else_list.get(), cut) || is_in_list;
    }
    if (is_here) {
      cut[list] = i + 1;
      return true;
    }
  }
  return false;
}

void ThinkTagsIn(const ListNode* list, const BranchNode* range, Template::ThinkTags& tags) {
  if (list == nullptr) return;
  for (const NodePtr& child : list->nodes) {
    if (IsBranch(*child)) {
      const auto& branch = As<BranchNode>(*child);
      const BranchNode* inner = branch.type == NodeType::kRange ? &branch : range;
      ThinkTagsIn(branch.list.get(), inner, tags);
      ThinkTagsIn(branch.else_list.get(), inner, tags);
    }
    if (child->type != NodeType::kAction || range == nullptr ||
        !StartsWith(range->pipe.get(), "Messages"))
      continue;
    bool is_thinking = false;
    ForEach(child.get(), [&](const Node& part) {
      if (part.type == NodeType::kField && As<NamesNode>(part).names[0] == "Thinking")
        is_thinking = true;
    });
    const Node& first = *list->nodes.front();
    const Node& last = *list->nodes.back();
    if (!is_thinking || first.type != NodeType::kText || last.type != NodeType::kText) continue;
    const std::string_view open = TrimSpace(As<TextNode>(first).text);
    const std::string_view close = TrimSpace(As<TextNode>(last).text);
    if (!open.empty() && !close.empty()) tags = {std::string(open), std::string(close)};
  }
}

const BranchNode* FindToolCallIf(const ListNode* list) {
  if (list == nullptr) return nullptr;
  for (const NodePtr& child : list->nodes) {
    if (!IsBranch(*child)) continue;
    const auto& branch = As<BranchNode>(*child);
    if (branch.type == NodeType::kIf && Mentions(branch.pipe.get(), "ToolCalls")) return &branch;
    if (const auto* found = FindToolCallIf(branch.list.get())) return found;
    if (const auto* found = FindToolCallIf(branch.else_list.get())) return found;
  }
  return nullptr;
}

// The first text with something in it, before any plain action.
const TextNode* FindText(const ListNode* list) {
  if (list == nullptr) return nullptr;
  for (const NodePtr& child : list->nodes) {
    if (child->type == NodeType::kAction) return nullptr;
    if (child->type == NodeType::kText && !TrimSpace(As<TextNode>(*child).text).empty()) {
      return &As<TextNode>(*child);
    }
    if (!IsBranch(*child)) continue;
    if (const auto* found = FindText(As<BranchNode>(*child).list.get())) return found;
    if (const auto* found = FindText(As<BranchNode>(*child).else_list.get())) return found;
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> FindVariables(const TreeSet& trees) {
  std::set<std::string> found;
  for (const auto& [name, root] : trees.trees) {
    ForEach(root.get(), [&](const Node& node) {
      const std::vector<std::string_view>* names = nullptr;
      if (IsName(node)) names = &As<NamesNode>(node).names;
      if (node.type == NodeType::kChain) names = &As<ChainNode>(node).names;
      if (names == nullptr) return;
      for (const std::string_view variable : *names) {
        if (!variable.starts_with('$')) found.insert(ToLowerAscii(variable));
      }
    });
  }
  return {found.begin(), found.end()};
}

bool HasBareTemplateCall(const TreeSet& trees) {
  bool is_found = false;
  for (const auto& [name, root] : trees.trees) {
    ForEach(root.get(), [&](const Node& node) {
      if (node.type == NodeType::kTemplate && !As<TemplateNode>(node).pipe) is_found = true;
    });
  }
  return is_found;
}

Cut FindCut(const ListNode& root) {
  Cut cut;
  CutList(&root, cut);
  return cut;
}

Template::ThinkTags FindThinkTags(const ListNode& root) {
  Template::ThinkTags tags;
  ThinkTagsIn(&root, nullptr, tags);
  return tags;
}

std::string FindToolCallTag(const ListNode& root) {
  const BranchNode* branch = FindToolCallIf(&root);
  const TextNode* text = branch == nullptr ? nullptr : FindText(branch->list.get());
  if (text == nullptr) return "{";
  const std::string_view tag = TrimSpace(text->text.substr(0, text->text.find('{')));
  return tag.empty() ? "{" : std::string(tag);
}

}  // namespace corral::templates::internal
