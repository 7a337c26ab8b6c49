// Builds the tree from the items: Go's text/template/parse/parse.go, with its error texts.
#pragma once

#include <string_view>

#include "core/result.h"
#include "templates/internal/tree.h"

namespace corral::templates::internal {

inline constexpr int kMaxBlockDepth = 200;  // if, range, with, else if, define inside each other
inline constexpr int kMaxExpressionDepth = 200;  // parentheses inside each other

// `text` must outlive the result. The set always holds the main template "".
// Errors: kInvalidArgument, "template: :LINE: what".
Result<TreeSet> ParseTemplate(std::string_view text);

}  // namespace corral::templates::internal
