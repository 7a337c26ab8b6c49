#include "registry/internal/address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace corral::registry::internal {
namespace {

bool IsPrivate(const char* text) {
  sockaddr_storage storage{};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    storage.ss_family = AF_INET;
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text, &v6->sin6_addr), 1) << text;
    storage.ss_family = AF_INET6;
  }
  return IsPrivateAddress(*reinterpret_cast<sockaddr*>(&storage));
}

TEST(Address, KnowsWhatIsNotOnThePublicNet) {
  for (const char* text : {"127.0.0.1",
                           "127.255.0.9",
                           "10.1.2.3",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.9.9",
                           "169.254.169.254",
                           "0.0.0.0",
                           "100.64.0.1",
                           "198.19.0.1",
                           "224.0.0.1",
                           "255.255.255.255",
                           "::",
                           "::1",
                           "fe80::1",
                           "fec0::1",
                           "fd00:ec2::254",
                           "ff02::1",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "::127.0.0.1",
                           "64:ff9b::7f00:1",
                           "2002:7f00:1::"}) {
    EXPECT_TRUE(IsPrivate(text)) << text;
  }
  for (const char* text : {"1.1.1.1", "172.32.0.1", "172.15.0.1", "192.169.0.1", "100.128.0.1",
                           "169.253.0.1", "223.255.255.255", "2606:4700::1111", "::ffff:1.1.1.1",
                           "64:ff9b::101:101", "2002:101:101::"}) {
    EXPECT_FALSE(IsPrivate(text)) << text;
  }
}

TEST(Address, KnowsItWrittenAsAHost) {
  EXPECT_TRUE(IsPrivateHost("localhost"));
  EXPECT_TRUE(IsPrivateHost("a.localhost"));
  EXPECT_TRUE(IsPrivateHost("10.0.0.1"));
  EXPECT_TRUE(IsPrivateHost("::1"));
  EXPECT_FALSE(IsPrivateHost("registry.example"));
  EXPECT_FALSE(IsPrivateHost("8.8.8.8"));
}

}  // namespace
}  // namespace corral::registry::internal
