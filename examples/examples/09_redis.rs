//! A cache in Redis that processes share: `cargo run -p larder-examples --example 09_redis -- redis://localhost`
//!
//! Without a URL it starts a `redis-server` of its own, if there is one on the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::cache::Origin;
use larder::codec::Json;
use larder::{Cache, Strategy, source_fn};
use larder_redis::RedisConfig;
use larder_testkit::servers::RedisServer;

/// One process: a connection, and a cache over it.
async fn process(url: &str, loads: &Arc<AtomicU64>) -> larder::Result<Cache<u64, String>> {
    let counted = Arc::clone(loads);
    let redis = RedisConfig::new(url).command_timeout(Duration::from_millis(250)).connect().await?;
    Cache::builder()
        .namespace("example-user")
        .backend(redis.encoded(Json))
        .source(source_fn(move |id: u64| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_millis(50)).await; // a slow query
                Ok::<_, std::io::Error>(Some(format!("user {id}")))
            }
        }))
        // of all processes that miss a key at the same time, one loads it
        .strategy(Strategy::aside(Duration::from_secs(60)).locked(redis.locks()))
        .build()
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let own = if std::env::args().len() > 1 { None } else { RedisServer::start(&[]) };
    let Some(url) = std::env::args().nth(1).or_else(|| own.as_ref().map(RedisServer::url)) else {
        println!("give the URL of a Redis, or install redis-server");
        return Ok(());
    };
    let loads = Arc::new(AtomicU64::new(0));
    let (one, two) = (process(&url, &loads).await?, process(&url, &loads).await?);
    one.clear().await?; // whatever an earlier run left

    let (a, b) = tokio::join!(one.get_entry(&7), two.get_entry(&7));
    println!(
        "asked by both at once: {:?} and {:?}, {} load",
        a?.origin,
        b?.origin,
        loads.load(Ordering::Relaxed)
    );
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    assert_eq!(two.get_entry(&7).await?.origin, Origin::Far);

    one.invalidate(&7).await?; // seen by everybody, as soon as it returns
    assert!(two.get_if_present(&7).await?.is_none());

    let ids: Vec<u64> = (0..100).collect();
    println!("100 users by one command: {}", two.get_many(&ids).await?.iter().flatten().count());
    one.clear().await
}
