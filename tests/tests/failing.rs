//! A source that is down, and a source that cannot keep up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{MINUTE, Table, over, settle};
use larder::cache::Origin;
use larder::clock::{ManualClock, TokioClock};
use larder::{Cache, Quick, Strategy, source_fn};
use tokio::time::Instant;

/// 200 readers, ten keys, a minute, ten rounds a second. All reads are served, and each key is loaded when its
/// back-off allows it: after 0, 1, 3, 7, 15, 31 s, and then every 30 s.
#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_for_a_minute_is_left_alone_and_every_reader_is_served() {
    const KEYS: u64 = 10;
    let table = Table::with((0..KEYS).map(|key| (key, key)));
    let clock = ManualClock::new();
    for strategy in [
        Strategy::aside(MINUTE).stale_while_revalidate(10 * MINUTE),
        Strategy::aside(MINUTE).stale_if_error(10 * MINUTE),
    ] {
        table.fail(None);
        let cache = over(&table, &clock).backend(Quick::new(100)).strategy(strategy).build().unwrap();
        cache.warm(0..KEYS).run().await;
        clock.advance(MINUTE);
        table.fail(Some("down"));
        let before = table.loads();
        let mut served = 0;
        for _round in 0..600 {
            for reader in 0..200 {
                let fetched = cache.get_entry(&(reader % KEYS)).await.unwrap();
                assert_eq!(
                    (fetched.value.as_deref(), fetched.origin),
                    (Some(&(reader % KEYS)), Origin::Stale)
                );
                served += 1;
            }
            settle().await;
            clock.advance(Duration::from_millis(100));
        }
        let asked = (table.loads() - before) as u64;
        println!("{served} reads served, {asked} loads tried");
        assert_eq!((served, asked), (120_000, 6 * KEYS));
        table.fail(None);
        clock.advance(MINUTE / 2);
        for _ in 0..2 {
            cache.warm(0..KEYS).run().await;
            settle().await;
        }
        assert!(
            cache.get_entry(&1).await.is_ok_and(|fetched| fetched.origin == Origin::Near),
            "it has recovered"
        );
    }
}

/// A database that does ten queries at a time in 20 ms each, and all of them slower when there are more.
async fn database(running: Arc<AtomicUsize>, key: u64) -> Result<Option<u64>, std::io::Error> {
    let others = running.fetch_add(1, Ordering::SeqCst) as f64;
    let pressure = (others / 10.0).max(1.0);
    tokio::time::sleep(Duration::from_millis(20).mul_f64(pressure * pressure)).await;
    running.fetch_sub(1, Ordering::SeqCst);
    Ok(Some(key))
}

/// Returns the time until nine reads of ten are hits again, for a cache of 2,000 keys that is flushed under 500
/// readers. `None` if that takes more than two minutes.
async fn recovery(limit: Option<(usize, usize)>) -> Option<Duration> {
    const KEYS: u64 = 2_000;
    let running = Arc::new(AtomicUsize::new(0));
    let strategy = Strategy::aside(60 * MINUTE).load_timeout(Duration::from_secs(1));
    let strategy = match limit {
        Some((at_once, waiting)) => strategy.max_concurrent_loads(at_once).max_queued_loads(waiting),
        None => strategy,
    };
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(10_000))
        .clock(TokioClock::new())
        .source(source_fn(move |key| database(Arc::clone(&running), key)))
        .strategy(strategy)
        .build()
        .unwrap();
    for key in 0..KEYS {
        cache.insert(&key, key).await.unwrap();
    }
    cache.clear().await.unwrap();
    let flushed = Instant::now();
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..500u64 {
        let cache = cache.clone();
        readers.spawn(async move {
            let mut key = reader * 7;
            loop {
                key = (key + 31) % KEYS;
                // a user who does not wait longer, and comes back
                _ = tokio::time::timeout(Duration::from_millis(200), cache.get(&key)).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let mut seen: HashMap<&str, u64> = HashMap::new();
    while flushed.elapsed() < 2 * MINUTE {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let stats = cache.stats();
        let (hits, reads) = (stats.hits(), stats.hits() + stats.loads + stats.joins + stats.overloaded);
        let (new_hits, new_reads) =
            (hits - seen.get("hits").unwrap_or(&0), reads - seen.get("reads").unwrap_or(&0));
        seen.extend([("hits", hits), ("reads", reads)]);
        if new_reads > 0 && new_hits * 10 >= new_reads * 9 {
            return Some(flushed.elapsed());
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_loads_lets_a_flushed_cache_recover() {
    let limited = recovery(Some((10, 100))).await;
    let unlimited = recovery(None).await;
    println!("nine hits of ten again: with a limit after {limited:?}, without after {unlimited:?}");
    assert!(limited.is_some_and(|after| after < Duration::from_secs(15)), "{limited:?}");
    assert!(unlimited.is_none(), "the control does not recover: {unlimited:?}");
}
