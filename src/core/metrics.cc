#include "core/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "core/mutex.h"
#include "core/result.h"
#include "core/text.h"

namespace corral {

struct Metrics::State {
  using Key = std::pair<std::string, MetricLabels>;

  prometheus::Registry registry;
  mutable Mutex mutex;
  std::map<Key, std::function<void()>> removers CORRAL_GUARDED_BY(mutex);
  std::vector<std::function<void()>> collectors CORRAL_GUARDED_BY(mutex);

  // A series of the family that `builder` describes. prometheus-cpp throws on what only we can do
  // wrong.
  template <class Metric, class Builder, class... Arguments>
  Metric& Get(Builder builder, const std::string& name, const std::string& help,
              const MetricLabels& labels, const Arguments&... arguments) {
    MetricLabels clean = labels;
    for (auto& [key, value] : clean) value = ReplaceInvalidUtf8(value);
    const MutexLock lock(mutex);
    try {
      prometheus::Family<Metric>& family = builder.Name(name).Help(help).Register(registry);
      Metric& metric = family.Add(clean, arguments...);
      removers[{name, clean}] = [&family, &metric] { family.Remove(&metric); };
      return metric;
    } catch (const std::exception& wrong) {
      CORRAL_CHECK(false, wrong.what());
      std::terminate();
    }
  }
};

void Counter::Add(double amount) const { counter_->Increment(amount); }
double Counter::Value() const { return counter_->Value(); }
void Gauge::Set(double value) const { gauge_->Set(value); }
void Gauge::Add(double amount) const { gauge_->Increment(amount); }
double Gauge::Value() const { return gauge_->Value(); }
void Histogram::Observe(double value) const { histogram_->Observe(value); }

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

Counter Metrics::GetCounter(const std::string& name, const std::string& help,
                            const MetricLabels& labels) {
  return Counter(state_->Get<prometheus::Counter>(prometheus::BuildCounter(), name, help, labels));
}

Gauge Metrics::GetGauge(const std::string& name, const std::string& help,
                        const MetricLabels& labels) {
  return Gauge(state_->Get<prometheus::Gauge>(prometheus::BuildGauge(), name, help, labels));
}

Histogram Metrics::GetHistogram(const std::string& name, const std::string& help,
                                const std::vector<double>& bounds, const MetricLabels& labels) {
  return Histogram(
      state_->Get<prometheus::Histogram>(prometheus::BuildHistogram(), name, help, labels, bounds));
}

void Metrics::Remove(const std::string& name, const MetricLabels& labels) {
  const MutexLock lock(state_->mutex);
  const auto found = state_->removers.find({name, labels});
  if (found == state_->removers.end()) return;
  found->second();
  state_->removers.erase(found);
}

void Metrics::OnCollect(std::function<void()> collect) {
  const MutexLock lock(state_->mutex);
  state_->collectors.push_back(std::move(collect));
}

std::string Metrics::Text() const {
  std::vector<std::function<void()>> collectors;
  {
    const MutexLock lock(state_->mutex);
    collectors = state_->collectors;
  }
  for (const auto& collect : collectors) collect();  // without the lock: they get and set metrics

  std::vector<prometheus::MetricFamily> families = state_->registry.Collect();
  std::sort(families.begin(), families.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  for (prometheus::MetricFamily& family : families) {
    std::sort(family.metric.begin(), family.metric.end(),
              [](const auto& a, const auto& b) { return a.label < b.label; });
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace corral
