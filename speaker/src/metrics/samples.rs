//! The numbers of one moment, by metric.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit as Suffix;

use super::Durations;
use super::catalogue::{Kind, Metric, Unit};

/// A number with the values of its metric's labels.
#[derive(Debug)]
struct Row {
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Seconds(f64),
    Gauge(f64),
    Info,
    Durations(Durations),
}

/// What a scrape is answered with: numbers by metric, each of the [`catalogue`](super::catalogue).
#[derive(Debug, Default)]
pub struct Samples {
    metrics: BTreeMap<&'static str, (&'static Metric, Vec<Row>)>,
}

impl Samples {
    /// A gauge.
    pub fn gauge(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        self.add(metric, Kind::Gauge, labels, Value::Gauge(value));
    }

    /// A gauge that counts something.
    pub fn number(&mut self, metric: &'static Metric, labels: &[&str], value: usize) {
        self.gauge(metric, labels, float(u64::try_from(value).unwrap_or(u64::MAX)));
    }

    /// A gauge that is 1 where `value` holds and else 0.
    pub fn flag(&mut self, metric: &'static Metric, labels: &[&str], value: bool) {
        self.gauge(metric, labels, f64::from(u8::from(value)));
    }

    /// A counter.
    pub fn count(&mut self, metric: &'static Metric, labels: &[&str], value: u64) {
        self.add(metric, Kind::Counter, labels, Value::Count(value));
    }

    /// A counter of seconds.
    pub fn seconds(&mut self, metric: &'static Metric, labels: &[&str], value: std::time::Duration) {
        self.add(metric, Kind::Counter, labels, Value::Seconds(value.as_secs_f64()));
    }

    /// What is known by its labels alone.
    pub fn info(&mut self, metric: &'static Metric, labels: &[&str]) {
        self.add(metric, Kind::Info, labels, Value::Info);
    }

    /// A histogram.
    pub fn durations(&mut self, metric: &'static Metric, labels: &[&str], value: Durations) {
        self.add(metric, Kind::Histogram, labels, Value::Durations(value));
    }

    fn add(&mut self, metric: &'static Metric, kind: Kind, labels: &[&str], value: Value) {
        debug_assert_eq!(metric.kind, kind, "{}", metric.name);
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels = labels.iter().map(ToString::to_string).collect();
        let (_, rows) = self.metrics.entry(metric.name).or_insert_with(|| (metric, Vec::new()));
        rows.push(Row { labels, value });
    }
}

/// Counts above 2^53 lose their last digits, which nobody will see.
#[expect(clippy::cast_precision_loss, reason = "the text form's numbers are floats for every reader")]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, rows) in self.metrics.values() {
            let unit = match metric.unit {
                Unit::None => None,
                Unit::Seconds => Some(Suffix::Seconds),
                Unit::Bytes => Some(Suffix::Bytes),
            };
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), kind)?;
            for row in rows {
                row.encode(metric, &mut family)?;
            }
        }
        Ok(())
    }
}

impl Row {
    fn encode(&self, metric: &Metric, family: &mut MetricEncoder<'_>) -> fmt::Result {
        let labels: Vec<(&str, &str)> =
            metric.labels.iter().copied().zip(self.labels.iter().map(String::as_str)).collect();
        let labels = labels.as_slice();
        match &self.value {
            Value::Info => family.encode_info(&labels),
            value if labels.is_empty() => value.encode(family),
            value => value.encode(&mut family.encode_family(&labels)?),
        }
    }
}

impl Value {
    fn encode(&self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            // The labels are the whole of it; whoever has them has written it.
            Self::Info => Ok(()),
            Self::Count(value) => metric.encode_counter::<NoLabelSet, u64, u64>(value, None),
            Self::Seconds(value) => metric.encode_counter::<NoLabelSet, f64, u64>(value, None),
            Self::Gauge(value) => metric.encode_gauge(value),
            Self::Durations(durations) => metric.encode_histogram::<NoLabelSet>(
                durations.sum().as_secs_f64(),
                durations.count(),
                &durations.buckets(),
                None,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::catalogue as names;

    #[test]
    fn the_text_is_openmetrics_with_units_and_suffixes() {
        let mut samples = Samples::default();
        samples.flag(&names::SESSION_UP, &["tor \"a\""], true);
        samples.count(&names::SESSION_FLAPS, &["tor"], 3);
        samples.info(&names::CONFIG, &["00ff"]);
        samples.gauge(&names::PROCESS_START, &[], 12.5);
        let mut durations = Durations::default();
        durations.add(Duration::from_millis(2));
        durations.add(Duration::from_secs(20));
        samples.durations(&names::WITHDRAW, &["tor"], durations);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(samples));
        let text = crate::metrics::text(&registry).unwrap();
        for line in [
            "# TYPE speaker_bgp_session_flaps counter",
            "speaker_bgp_session_flaps_total{peer=\"tor\"} 3",
            "speaker_bgp_session_up{peer=\"tor \\\"a\\\"\"} 1.0",
            "speaker_config_info{hash=\"00ff\"} 1",
            "# UNIT process_start_time_seconds seconds",
            "process_start_time_seconds 12.5",
            "# TYPE speaker_bgp_withdraw_duration_seconds histogram",
            "speaker_bgp_withdraw_duration_seconds_sum{peer=\"tor\"} 20.002",
            "speaker_bgp_withdraw_duration_seconds_bucket{le=\"0.001\",peer=\"tor\"} 0",
            "speaker_bgp_withdraw_duration_seconds_bucket{le=\"0.0025\",peer=\"tor\"} 1",
            "speaker_bgp_withdraw_duration_seconds_bucket{le=\"10.0\",peer=\"tor\"} 1",
            "speaker_bgp_withdraw_duration_seconds_bucket{le=\"+Inf\",peer=\"tor\"} 2",
            "# EOF",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in:\n{text}");
        }
    }
}
