//! Measures the cost of watching for a hit: `cargo run --release -p larder-metrics --example watched_cost`
//!
//! The cache and the same cache watched take turns in one run; the ratio is taken round by round.

use std::hint::black_box;
use std::time::{Duration, Instant};

use larder::{Cache, Quick, Strategy};
use larder_metrics::{Exporter, Watched};

const KEYS: u64 = 10_000;
const READS: u64 = 2_000_000;
const MISSES: usize = 50_000;
const ROUNDS: usize = 9;

/// The keys in an order that is the same each time and jumps about.
fn keys() -> impl Iterator<Item = u64> {
    (0..READS).map(|step| step.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS)
}

async fn bare(cache: &Cache<u64, u64>) -> Duration {
    let began = Instant::now();
    for key in keys() {
        assert!(black_box(cache.get(&key).await).is_ok_and(|value| value.is_some()));
    }
    began.elapsed()
}

async fn watched(cache: &Watched<u64, u64>) -> Duration {
    let began = Instant::now();
    for key in keys() {
        assert!(black_box(cache.get(&key).await).is_ok_and(|value| value.is_some()));
    }
    began.elapsed()
}

/// Loads at once, as often: what is noted of each read that missed.
async fn misses(cache: &Cache<u64, u64>, watch: Option<&Watched<u64, u64>>) -> larder::Result<Duration> {
    let load = || async { Ok::<_, std::convert::Infallible>(1) };
    let began = Instant::now();
    for key in keys().take(MISSES) {
        cache.invalidate(&key).await?;
        match watch {
            None => _ = cache.get_entry_or_load(&key, load).await?,
            Some(watch) => _ = watch.get_or_load(&key, load).await?,
        }
    }
    Ok(began.elapsed())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> larder::Result<()> {
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(2 * KEYS))
        .strategy(Strategy::aside(Duration::from_secs(3600)))
        .build()?;
    for key in 0..KEYS {
        cache.insert(&key, key).await?;
    }
    let watch = Watched::new(cache.clone());
    let (mut nanos, mut ratios) = (vec![], vec![]);
    for round in 0..=ROUNDS {
        let (own, seen) = (bare(&cache).await, watched(&watch).await);
        if round > 0 {
            nanos.push(own.as_secs_f64() * 1e9 / READS as f64);
            ratios.push(seen.as_secs_f64() / own.as_secs_f64());
        }
    }
    println!("a hit: {:.0} ns; watched: {:.2} times that", median(nanos), median(ratios));

    let mut more = vec![];
    for _ in 0..ROUNDS {
        let (own, seen) = (misses(&cache, None).await?, misses(&cache, Some(&watch)).await?);
        more.push((seen.as_secs_f64() - own.as_secs_f64()) * 1e9 / MISSES as f64);
    }
    println!("a miss costs {:.0} ns more when it is watched", median(more));

    let exporter = Exporter::new();
    exporter.add("numbers", &cache);
    let began = Instant::now();
    (0..1_000).for_each(|_| exporter.export());
    println!("reading all numbers of a cache: {:?}", began.elapsed() / 1_000);
    Ok(())
}
