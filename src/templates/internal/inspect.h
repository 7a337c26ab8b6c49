// What a tree says about its model without being run: Ollama's template.Vars, thinking/template.go
// and tools/template.go.
#pragma once

#include <string>
#include <vector>

#include "templates/internal/evaluator.h"
#include "templates/internal/tree.h"
#include "templates/template.h"

namespace corral::templates::internal {

// All names after a dot, lower case, sorted, once each.
std::vector<std::string> FindVariables(const TreeSet& trees);
// A {{template}} without an argument somewhere: Ollama refuses it.
bool HasBareTemplateCall(const TreeSet& trees);
// The rendering that ends at the first .Response.
Cut FindCut(const ListNode& root);
Template::ThinkTags FindThinkTags(const ListNode& root);
std::string FindToolCallTag(const ListNode& root);

}  // namespace corral::templates::internal
