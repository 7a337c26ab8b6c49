// Numbers as Go reads and writes them. Pure functions, independent of the locale.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "templates/internal/tree.h"

namespace corral::templates::internal {

// A number or character constant of a template. The error is Go's text, without the place.
tl::expected<std::unique_ptr<NumberNode>, std::string> ParseNumber(std::size_t pos,
                                                                   std::string_view text);

// fmt's %v: the shortest digits that read back as `value`, exponent form if the decimal exponent is
// below -4 or at least 6: 0.5, 3, 999999, 1e+06.
std::string FormatFloat(double value);
// encoding/json's: as above, but exponent form only below 1e-6 or from 1e21 up.
std::string FormatJsonFloat(double value);

}  // namespace corral::templates::internal
