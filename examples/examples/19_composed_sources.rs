//! A source made of others: `cargo run -p larder-examples --example 19_composed_sources`

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use larder::source::{Fallback, Retry, SourceLimit, SourceTimeout};
use larder::{Cache, Quick, Strategy, source_fn};

static CALLS: AtomicU32 = AtomicU32::new(0);

/// Hangs, is refused, answers; and is then down for good.
async fn primary(id: u64) -> Result<Option<String>, std::io::Error> {
    match CALLS.fetch_add(1, Ordering::SeqCst) {
        0 => std::future::pending().await,
        1 => Err(std::io::ErrorKind::ConnectionRefused.into()),
        2 => Ok(Some(format!("user {id}"))),
        _ => Err(std::io::ErrorKind::ConnectionRefused.into()),
    }
}

async fn replica(id: u64) -> Result<Option<String>, std::io::Error> {
    Ok(Some(format!("user {id}, as the replica has it")))
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let bounded = SourceTimeout::new(source_fn(primary), Duration::from_millis(50));
    let patient =
        Retry::new(bounded, 3).min_backoff(Duration::from_millis(5)).max_backoff(Duration::from_millis(20));
    let limited = SourceLimit::new(patient, 16);
    let users: Cache<u64, String> = Cache::builder()
        .backend(Quick::new(1_000))
        // so that what the replica gives is not kept: it may be older than the last invalidation
        .conditional_source(Fallback::new(limited, source_fn(replica)))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()?;

    println!("{:?}, at the third attempt", users.get(&1).await?);
    assert_eq!(CALLS.load(Ordering::SeqCst), 3);
    assert!(users.get_if_present(&1).await?.is_some());

    println!("{:?}", users.get(&2).await?);
    assert_eq!(CALLS.load(Ordering::SeqCst), 6);
    assert!(users.get_if_present(&2).await?.is_none(), "not kept");

    let mistake = Cache::<u64, String>::builder()
        .backend(Quick::new(1_000))
        .source(Retry::new(source_fn(replica), 0))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build();
    println!("{}", mistake.expect_err("nothing would be loaded"));
    Ok(())
}
