//! A busy key whose readers never wait: `cargo run -p larder-examples --example 17_early_refresh`

use std::time::{Duration, Instant};

use larder::strategy::EarlyRefresh;
use larder::{Cache, Quick, Strategy, source_fn};

/// Reads one key for two seconds from four tasks; how many reads there were, and how many of them waited for a load.
async fn run(strategy: Strategy<u64>) -> larder::Result<(u64, u64)> {
    let prices: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(1_000))
        .source(source_fn(|id: u64| async move {
            tokio::time::sleep(Duration::from_millis(40)).await; // a dear query
            Ok::<_, std::io::Error>(Some(id))
        }))
        .strategy(strategy)
        .build()?;
    prices.get(&7).await?;
    let began = Instant::now();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let prices = prices.clone();
        readers.spawn(async move {
            let (mut reads, mut slow) = (0, 0);
            while began.elapsed() < Duration::from_secs(2) {
                let asked = Instant::now();
                prices.get(&7).await?;
                reads += 1;
                slow += u64::from(asked.elapsed() > Duration::from_millis(20));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok((reads, slow))
        });
    }
    let counted: larder::Result<Vec<(u64, u64)>> = readers.join_all().await.into_iter().collect();
    Ok(counted?.into_iter().fold((0, 0), |(reads, slow), (more, slower)| (reads + more, slow + slower)))
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let plain = || Strategy::aside(Duration::from_millis(400));
    for (name, strategy) in [
        ("no early refresh", plain()),
        ("at random, by cost (XFetch)", plain().early_refresh(EarlyRefresh::probabilistic(1.0))),
        ("after 70 % of the TTL", plain().early_refresh(EarlyRefresh::after(0.7))),
    ] {
        let (reads, slow) = run(strategy).await?;
        println!("{name:<28} {reads} reads, {slow} of them waited for a load");
    }
    Ok(())
}
