// Counters, gauges and histograms by name and labels, and their text for /metrics (Prometheus'
// exposition format 0.0.4).
//
// Thread-safe. A handle is cheap to copy and to use (no lock, no look-up): get it once and keep it.
// Names follow Prometheus' habits (corral_requests_total, corral_request_duration_seconds); a name
// that breaks its grammar, or that is used for two kinds, is our own mistake and aborts. Label
// values may be any text; keep the number of different ones small.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace corral {

using MetricLabels = std::map<std::string, std::string>;

// Handles live as long as their Metrics and until Metrics::Remove.
class Counter {
 public:
  void Add(double amount = 1) const;  // a negative amount changes nothing
  double Value() const;

 private:
  friend class Metrics;
  explicit Counter(prometheus::Counter& counter) : counter_(&counter) {}
  prometheus::Counter* counter_;
};

class Gauge {
 public:
  void Set(double value) const;
  void Add(double amount) const;
  double Value() const;

 private:
  friend class Metrics;
  explicit Gauge(prometheus::Gauge& gauge) : gauge_(&gauge) {}
  prometheus::Gauge* gauge_;
};

class Histogram {
 public:
  void Observe(double value) const;

 private:
  friend class Metrics;
  explicit Histogram(prometheus::Histogram& histogram) : histogram_(&histogram) {}
  prometheus::Histogram* histogram_;
};

class Metrics {
 public:
  Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  ~Metrics();

  // The same name and labels give the same series; `help` and `bounds` of the first call count.
  Counter GetCounter(const std::string& name, const std::string& help,
                     const MetricLabels& labels = {});
  Gauge GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  // `bounds`: upper ends of the buckets, ascending; +Inf is added.
  Histogram GetHistogram(const std::string& name, const std::string& help,
                         const std::vector<double>& bounds, const MetricLabels& labels = {});

  // Takes a series out of the text; its handles must not be used any more. Nothing happens if there
  // is none.
  void Remove(const std::string& name, const MetricLabels& labels);

  // `collect` runs at the start of every Text(), on its thread, to set what is cheaper to look up
  // than to keep current.
  void OnCollect(std::function<void()> collect);

  // Content type "text/plain; version=0.0.4; charset=utf-8". Series of one name are in the order of
  // their labels.
  std::string Text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corral
