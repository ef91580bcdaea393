//! The counts of a cache, its hot keys, and the reasons of misses: `cargo run -p larder-examples --example
//! 22_numbers`
//!
//! The same numbers for Prometheus and on a live page, in a web service: `cargo run -p larder-web-example -- --busy`

use std::time::Duration;

use larder::clock::ManualClock;
use larder::observe::MissCause;
use larder::{Cache, Quick, Strategy, Tag, source_fn};
use larder_metrics::{Watched, Watching};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[tokio::main]
async fn main() -> larder::Result<()> {
    // a clock that is moved by hand, so that this minute passes at once
    let clock = ManualClock::new();
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(300))
        .source(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(id * 100)) }))
        .strategy(
            Strategy::aside(Duration::from_secs(30)).tagged(|price| [Tag::new("shelf", price / 10_000)]),
        )
        .clock(clock.clone())
        .build()?;
    let prices = Watched::with(cache, Watching::keys().clock(clock.clone()));

    let mut random = SmallRng::seed_from_u64(7);
    let mut earlier = prices.stats();
    for second in 1..=60u64 {
        for _ in 0..200 {
            // a few keys far more often than others
            let key = (random.random::<f64>().powi(4) * 1_000.0) as u64;
            prices.get(&key).await?;
        }
        prices.invalidate(&(second % 5)).await?;
        clock.advance(Duration::from_secs(1));
        if second % 20 == 0 {
            prices.invalidate_tag(&Tag::new("shelf", 0)).await?;
            // what happened since the last time, not since the start
            let lately = prices.stats().since(&earlier);
            println!(
                "second {second}: {:.1} % hits, {:.0} invalidations a minute",
                lately.hit_rate() * 100.0,
                lately.invalidations_per_minute()
            );
            earlier = prices.stats();
        }
    }
    println!("\n{}\n", prices.stats());
    for hot in prices.hot_keys(3) {
        println!("key {}: {:.0} reads a second, {:.0} % hits", hot.key, hot.per_second, hot.hit_rate * 100.0);
    }
    println!("\nwhy reads missed: {:?}", prices.whys());
    for miss in prices.misses().iter().rev().take(3) {
        println!("key {} missed: {}; {} in {:?}", miss.key, miss.why, miss.outcome.as_str(), miss.took);
    }

    assert_eq!(prices.hot_keys(1)[0].key, 0);
    assert_eq!(prices.stats().misses_by(MissCause::Unreachable), 0);
    for why in ["first_read", "expired", "invalidated", "tag_ended", "gone"] {
        assert!(prices.whys().iter().any(|(told, _)| *told == why), "{why} did not happen");
    }
    Ok(())
}
