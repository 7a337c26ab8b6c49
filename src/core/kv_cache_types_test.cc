#include "core/kv_cache_types.h"

#include <gtest/gtest.h>

namespace corral {
namespace {

TEST(KvCacheType, IsOneOfLlamaCppsInAnyCase) {
  for (const std::string_view name : kKvCacheTypes) {
    EXPECT_EQ(ParseKvCacheType(name).value_or(""), name);
  }
  EXPECT_EQ(ParseKvCacheType("Q8_0").value_or(""), "q8_0");
}

TEST(KvCacheType, RefusesWhatALoadWouldRefuse) {
  for (const std::string_view name : {"", "q8", "q6_k", " f16", "auto"}) {
    const auto type = ParseKvCacheType(name);
    ASSERT_FALSE(type) << name;
    EXPECT_EQ(type.error().code, Code::kInvalidArgument);
  }
  EXPECT_EQ(ParseKvCacheType("q8").error().message,
            "kv_cache_type must be one of f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1, "
            "not \"q8\"");
}

}  // namespace
}  // namespace corral
