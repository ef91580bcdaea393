//! The text for a Prometheus server.

use larder::Cache;
use larder::cache::{Key, Value};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::export::Exporter;
use crate::names::{LOAD_DURATION, MISS_DURATION};

/// The upper edges of the buckets of durations, in seconds.
const BUCKETS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// The numbers of caches for a Prometheus server, with a separate recorder. For processes without a recorder; in
/// others use an [`Exporter`], so that all metrics of the process are on one page.
///
/// # Examples
/// ```
/// use larder_metrics::Scrape;
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
/// let scrape = Scrape::new();
/// scrape.add("square", &squares);
/// // the body of `GET /metrics`, with the content type `Scrape::CONTENT_TYPE`
/// assert!(scrape.text().contains(r#"larder_hits_total{cache="square",tier="near"} 0"#));
/// # Ok::<(), larder::Error>(())
/// ```
pub struct Scrape {
    exporter: Exporter,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Scrape {
    /// The content type of the answer.
    ///
    /// # Examples
    /// ```
    /// assert!(larder_metrics::Scrape::CONTENT_TYPE.starts_with("text/plain; version=0.0.4"));
    /// ```
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Returns a scrape without caches.
    ///
    /// # Examples
    /// See [`Scrape`].
    #[must_use]
    pub fn new() -> Self {
        let builder = [LOAD_DURATION, MISS_DURATION]
            .into_iter()
            .try_fold(PrometheusBuilder::new(), |builder, metric| {
                builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), &BUCKETS)
            });
        let recorder = builder.expect("the list of buckets is not empty").build_recorder();
        Self { exporter: Exporter::new(), handle: recorder.handle(), recorder }
    }

    /// Adds `cache` under `name`. If the name exists already, its cache is replaced.
    ///
    /// # Examples
    /// See [`Scrape`].
    pub fn add<K: Key, V: Value>(&self, name: &str, cache: &Cache<K, V>) {
        self.exporter.add(name, cache);
    }

    /// Returns all current numbers, in the text format 0.0.4.
    ///
    /// # Examples
    /// See [`Scrape`].
    #[must_use]
    pub fn text(&self) -> String {
        metrics::with_local_recorder(&self.recorder, || self.exporter.export());
        self.handle.render()
    }
}

impl Default for Scrape {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Scrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrape").field("exporter", &self.exporter).finish_non_exhaustive()
    }
}
