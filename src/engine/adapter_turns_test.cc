#include "engine/adapter_turns.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace corral::engine {
namespace {

using Seconds = AdapterTurns::Seconds;
using Sets = std::vector<std::string_view>;

struct Round {
  std::map<std::string, int> steps;
  std::map<std::string, int> longest_wait;  // steps of others between two of its own
  int n_changes = 0;
};

// So many steps, all of the sets having work, each step as long as said.
Round Take(AdapterTurns& turns, const Sets& sets, int n_steps, Seconds step) {
  Round round;
  std::map<std::string, int> waited;
  std::string last;
  for (int i = 0; i < n_steps; ++i) {
    const std::string chosen = turns.Choose(sets);
    turns.Note(step);
    round.n_changes += i > 0 && chosen != last ? 1 : 0;
    last = chosen;
    ++round.steps[chosen];
    for (const std::string_view set : sets) {
      int& n = waited[std::string(set)];
      n = set == chosen ? 0 : n + 1;
      round.longest_wait[std::string(set)] = std::max(round.longest_wait[std::string(set)], n);
    }
  }
  return round;
}

TEST(AdapterTurns, OneSetGoesOn) {
  AdapterTurns turns;
  const Round round = Take(turns, {"", ""}, 100, Seconds(0.01));
  EXPECT_EQ(round.steps.at(""), 100);
}

TEST(AdapterTurns, EachSetHasThePartOfTheOthers) {
  AdapterTurns turns;
  const Round round = Take(turns, {"", "a", "b"}, 600, Seconds(0.01));
  for (const auto& [set, n] : round.steps) EXPECT_NEAR(n, 200, 8) << set;
}

TEST(AdapterTurns, ChangesSeldomWhereStepsAreShort) {
  AdapterTurns turns;
  EXPECT_LE(Take(turns, {"a", "b"}, 600, Seconds(0.01)).n_changes, 101);
}

TEST(AdapterTurns, ChangesEachStepWhereStepsAreLong) {
  AdapterTurns turns;
  const Round round = Take(turns, {"a", "b", "c"}, 30, Seconds(0.4));
  EXPECT_EQ(round.n_changes, 29);
  for (const auto& [set, n] : round.longest_wait) EXPECT_LE(n, 2) << set;
}

TEST(AdapterTurns, NoneWaitsMuchLongerThanARound) {
  AdapterTurns turns;
  const Sets sets = {"a", "b", "c", "d", "e", "f", "g", "h"};
  for (const auto& [set, n] : Take(turns, sets, 400, Seconds(0.01)).longest_wait)
    EXPECT_LE(n * Seconds(0.01), Seconds(0.16)) << set;
}

TEST(AdapterTurns, ANewSetComesAtOnceWhereAnotherHasHadItsTurn) {
  AdapterTurns turns;
  Take(turns, {"a"}, 100, Seconds(0.01));
  EXPECT_EQ(turns.Choose(Sets{"a", "b"}), "b");
}

TEST(AdapterTurns, ASetWithoutWorkLosesTheRestOfItsTurn) {
  AdapterTurns turns;
  const std::string first = turns.Choose(Sets{"a", "b"});
  const std::string other = first == "a" ? "b" : "a";
  EXPECT_EQ(turns.Choose(Sets{other}), other);
}

TEST(AdapterTurns, NewSetsAllTheTimeDoNotKeepAnOldOneWaiting) {
  AdapterTurns turns;
  int n_old = 0;
  for (int i = 0; i < 1'000; ++i) {
    const std::string fresh = "new" + std::to_string(i);
    n_old += turns.Choose(Sets{"old", fresh}) == "old" ? 1 : 0;
    turns.Note(Seconds(0.1));
  }
  EXPECT_GE(n_old, 400);
}

}  // namespace
}  // namespace corral::engine
