#include "http/mailbox.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <thread>
#include <vector>

namespace corral::http {
namespace {

namespace asio = boost::asio;
using Box = Mailbox<int>;

// Takes values until 0 comes; their sum.
asio::awaitable<void> SumUp(std::shared_ptr<Box> box, int* sum) {
  for (;;) {
    const int value = co_await box->Next();
    if (value == 0) co_return;
    *sum += value;
  }
}

TEST(MailboxTest, ValuesComeInOrderAlsoWhenTheyWereThereBefore) {
  asio::io_context io;
  auto box = std::make_shared<Box>(io.get_executor());
  for (const int value : {1, 2, 3}) box->Push(value);
  EXPECT_EQ(box->Size(), 3U);
  EXPECT_EQ(box->TryNext(), 1);
  std::vector<int> taken;
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        for (int i = 0; i < 2; ++i) taken.push_back(co_await box->Next());
      },
      asio::detached);
  io.run();
  EXPECT_EQ(taken, (std::vector<int>{2, 3}));
  EXPECT_EQ(box->TryNext(), std::nullopt);
}

// For the thread sanitizer: four senders, one receiver on a strand of two threads; not one value is
// lost.
TEST(MailboxTest, ManySendersWakeOneReceiver) {
  asio::io_context io;
  const asio::any_io_executor strand = asio::make_strand(io);
  auto box = std::make_shared<Box>(strand);
  int sum = 0;
  asio::co_spawn(strand, SumUp(box, &sum), asio::detached);
  std::vector<std::jthread> senders;
  for (int i = 0; i < 4; ++i) {
    senders.emplace_back([box] {
      for (int n = 0; n < 5000; ++n) box->Push(1);
    });
  }
  std::jthread second([&io] { io.run(); });
  std::jthread ender([&] {
    senders.clear();
    box->Push(0);
  });
  io.run();
  second.join();
  ender.join();
  EXPECT_EQ(sum, 20000);
}

TEST(MailboxTest, ASenderMayPushAfterTheReceiversWorldHasEnded) {
  auto io = std::make_unique<asio::io_context>();
  auto box = std::make_shared<Box>(io->get_executor());
  int sum = 0;
  asio::co_spawn(*io, SumUp(box, &sum), asio::detached);
  io->run_one();  // the receiver waits
  box->Push(1);
  io.reset();  // destroys the waiting frame
  box->Push(2);
  EXPECT_EQ(box->Size(), 2U);
  EXPECT_EQ(sum, 0);
}

}  // namespace
}  // namespace corral::http
