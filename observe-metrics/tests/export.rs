//! The export equals the counts of the cache, however often it is asked.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use larder::clock::ManualClock;
use larder::{Cache, Quick, Strategy, source_fn};
use larder_metrics::Scrape;
/// The value of a sample.
mod fixture {
    pub(super) fn squares() -> larder::Result<larder::Cache<u64, u64>> {
        include!("../../core/doc/squares.rs")
    }
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{sample} is not in {text}")).parse().unwrap()
}

#[tokio::test]
async fn counters_are_absolute_and_histograms_told_once() {
    let clock = ManualClock::new();
    let source = {
        let clock = clock.clone();
        source_fn(move |id: u64| {
            clock.advance(Duration::from_millis(20));
            async move { if id == 13 { Err(std::io::Error::other("no luck")) } else { Ok(Some(id)) } }
        })
    };
    let strategy = Strategy::aside(Duration::from_secs(60));
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(100))
        .source(source)
        .strategy(strategy)
        .clock(clock)
        .build()
        .unwrap();
    let scrape = Scrape::new();
    scrape.add("one", &cache);
    scrape.add("one", &cache);
    for id in [1, 2, 2, 2, 13] {
        _ = cache.get(&id).await;
    }
    cache.invalidate(&2).await.unwrap();
    for _ in 0..3 {
        let text = scrape.text();
        assert_eq!(value(&text, r#"larder_hits_total{cache="one",tier="near"}"#), 2.0);
        assert_eq!(value(&text, r#"larder_misses_total{cache="one",cause="absent"}"#), 3.0);
        assert_eq!(value(&text, r#"larder_load_errors_total{cache="one"}"#), 1.0);
        assert_eq!(value(&text, r#"larder_invalidations_total{cache="one"}"#), 1.0);
        assert_eq!(value(&text, r#"larder_breaker_state{cache="one",state="closed"}"#), 1.0);
        assert_eq!(value(&text, r#"larder_load_duration_seconds_count{cache="one"}"#), 3.0);
        assert_eq!(value(&text, r#"larder_load_duration_seconds_bucket{cache="one",le="0.01"}"#), 0.0);
        assert_eq!(value(&text, r#"larder_load_duration_seconds_bucket{cache="one",le="0.025"}"#), 3.0);
        let sum = value(&text, r#"larder_load_duration_seconds_sum{cache="one"}"#);
        assert!((0.06..0.06 * 1.25).contains(&sum), "{sum}");
    }
    cache.get(&2).await.unwrap();
    let text = scrape.text();
    assert_eq!(value(&text, r#"larder_load_duration_seconds_count{cache="one"}"#), 4.0);
    assert_eq!(value(&text, r#"larder_loads_total{cache="one"}"#), 4.0);
}

#[tokio::test]
async fn several_caches_are_told_apart() {
    let scrape = Scrape::new();
    let (one, two) = (fixture::squares().unwrap(), fixture::squares().unwrap());
    scrape.add("one", &one);
    scrape.add("two", &two);
    two.get(&1).await.unwrap();
    let text = scrape.text();
    assert_eq!(value(&text, r#"larder_loads_total{cache="one"}"#), 0.0);
    assert_eq!(value(&text, r#"larder_loads_total{cache="two"}"#), 1.0);
}
