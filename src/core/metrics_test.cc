#include "core/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace corral {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Metrics, PrintsTheExpositionFormat) {
  Metrics metrics;
  const Counter requests =
      metrics.GetCounter("corral_requests_total", "Requests.", {{"path", "/api/chat"}});
  requests.Add();
  requests.Add(2);
  metrics.GetGauge("corral_models_loaded", "Models in memory.").Set(1.5);
  EXPECT_EQ(metrics.Text(),
            "# HELP corral_models_loaded Models in memory.\n"
            "# TYPE corral_models_loaded gauge\n"
            "corral_models_loaded 1.5\n"
            "# HELP corral_requests_total Requests.\n"
            "# TYPE corral_requests_total counter\n"
            "corral_requests_total{path=\"/api/chat\"} 3\n");
}

TEST(Metrics, TheSameNameAndLabelsAreTheSameSeries) {
  Metrics metrics;
  metrics.GetCounter("corral_x_total", "X.", {{"a", "1"}}).Add(1);
  metrics.GetCounter("corral_x_total", "X.", {{"a", "1"}}).Add(1);
  metrics.GetCounter("corral_x_total", "X.", {{"a", "2"}}).Add(5);
  EXPECT_EQ(metrics.GetCounter("corral_x_total", "X.", {{"a", "1"}}).Value(), 2);
  EXPECT_THAT(metrics.Text(), HasSubstr("corral_x_total{a=\"1\"} 2\ncorral_x_total{a=\"2\"} 5\n"));
}

TEST(Metrics, ACounterNeverFalls) {
  Metrics metrics;
  const Counter counter = metrics.GetCounter("corral_x_total", "X.");
  counter.Add(3);
  counter.Add(-1);
  EXPECT_EQ(counter.Value(), 3);
}

TEST(Metrics, HistogramsCountIntoBuckets) {
  Metrics metrics;
  const Histogram seconds = metrics.GetHistogram("corral_s", "Seconds.", {0.5, 1});
  for (const double value : {0.25, 0.75, 8.0}) seconds.Observe(value);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("corral_s_bucket{le=\"0.5\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("corral_s_bucket{le=\"1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("corral_s_bucket{le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("corral_s_sum 9\n"));
}

TEST(Metrics, LabelsMayHoldAnyText) {
  Metrics metrics;
  metrics.GetGauge("corral_g", "G.", {{"model", "a\"b\\c\nd\xff"}}).Set(1);
  EXPECT_THAT(metrics.Text(), HasSubstr("corral_g{model=\"a\\\"b\\\\c\\nd\uFFFD\"} 1\n"));
}

TEST(Metrics, ARemovedSeriesIsGone) {
  Metrics metrics;
  metrics.GetGauge("corral_g", "G.", {{"model", "a"}}).Set(1);
  metrics.GetGauge("corral_g", "G.", {{"model", "b"}}).Set(2);
  metrics.Remove("corral_g", {{"model", "a"}});
  metrics.Remove("corral_g", {{"model", "absent"}});
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("\"a\"")));
  EXPECT_THAT(metrics.Text(), HasSubstr("corral_g{model=\"b\"} 2\n"));
  EXPECT_EQ(metrics.GetGauge("corral_g", "G.", {{"model", "a"}}).Value(), 0);
}

TEST(Metrics, CollectorsRunBeforeTheText) {
  Metrics metrics;
  int n_calls = 0;
  metrics.OnCollect([&] { metrics.GetGauge("corral_calls", "Calls.").Set(++n_calls); });
  EXPECT_THAT(metrics.Text(), HasSubstr("corral_calls 1\n"));
  EXPECT_THAT(metrics.Text(), HasSubstr("corral_calls 2\n"));
}

TEST(MetricsDeathTest, ABadNameIsOurOwnMistake) {
  EXPECT_DEATH(Metrics().GetCounter("not a name", "X."), "internal error");
}

// For TSan.
TEST(Metrics, CountsRightFromManyThreads) {
  Metrics metrics;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&metrics, t] {
        for (int i = 0; i < 1'000; ++i) {
          metrics.GetCounter("corral_x_total", "X.").Add();
          if (i % 100 == t) (void)metrics.Text();
        }
      });
    }
  }
  EXPECT_EQ(metrics.GetCounter("corral_x_total", "X.").Value(), 4'000);
}

}  // namespace
}  // namespace corral
