//! Figures, and their text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// A figure, under its name in the metrics.
///
/// Names end in the base unit (`bytes`, `seconds`) where there is one; those of counters get `_total`
/// appended in the text.
pub(crate) struct Figure {
    name: &'static str,
    help: &'static str,
    values: Values,
}

enum Values {
    /// Goes up and down.
    Gauge(f64),
    /// Only grows while the process runs.
    Counter(u64),
    /// Counters told apart by a label.
    Counters(&'static str, Vec<(&'static str, u64)>),
    /// The constant 1, for what its label says.
    Info(&'static str, &'static str),
}

impl Figure {
    pub(crate) fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, values: Values::Gauge(value) }
    }

    pub(crate) fn counter(name: &'static str, help: &'static str, count: u64) -> Self {
        Self { name, help, values: Values::Counter(count) }
    }

    pub(crate) fn counters(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl Into<Vec<(&'static str, u64)>>,
    ) -> Self {
        Self { name, help, values: Values::Counters(label, counts.into()) }
    }

    pub(crate) fn info(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        value: &'static str,
    ) -> Self {
        Self { name, help, values: Values::Info(label, value) }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.values {
            Values::Gauge(_) | Values::Info(..) => MetricType::Gauge,
            Values::Counter(_) | Values::Counters(..) => MetricType::Counter,
        };
        let mut encoder = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        match &self.values {
            Values::Gauge(value) => encoder.encode_gauge(value),
            Values::Counter(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
            Values::Counters(label, counts) => counts.iter().try_for_each(|(value, count)| {
                let labels = [(*label, *value)];
                encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)
            }),
            Values::Info(label, value) => {
                let labels = [(*label, *value)];
                encoder.encode_family(&labels)?.encode_gauge(&1u64)
            }
        }
    }
}

#[derive(Debug)]
struct Once<T>(T);

impl Collector for Once<Vec<Figure>> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|figure| figure.encode(&mut encoder))
    }
}

impl fmt::Debug for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

/// The OpenMetrics text of the figures.
pub(super) fn to_text(figures: Vec<Figure>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Once(figures)));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = text::encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_openmetrics() {
        let figures = vec![
            Figure::info("kakera_build", "The program.", "version", "1.0"),
            Figure::gauge("kakera_parts_bytes", "What is stored.", 1.5),
            Figure::counter("kakera_requests", "Requests.", 7),
            Figure::counters("kakera_refused", "Refusals.", "reason", [("busy", 1), ("slow", 0)]),
        ];
        assert_eq!(
            to_text(figures),
            "# HELP kakera_build The program.\n\
             # TYPE kakera_build gauge\n\
             kakera_build{version=\"1.0\"} 1\n\
             # HELP kakera_parts_bytes What is stored.\n\
             # TYPE kakera_parts_bytes gauge\n\
             kakera_parts_bytes 1.5\n\
             # HELP kakera_requests Requests.\n\
             # TYPE kakera_requests counter\n\
             kakera_requests_total 7\n\
             # HELP kakera_refused Refusals.\n\
             # TYPE kakera_refused counter\n\
             kakera_refused_total{reason=\"busy\"} 1\n\
             kakera_refused_total{reason=\"slow\"} 0\n\
             # EOF\n"
        );
    }
}
