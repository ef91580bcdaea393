//! cargo run --release -p larder-redis --example redis_tag_cost
//!
//! What the invalidation of a tag costs, by how many entries carry it. Starts a `redis-server` of its own.

use std::time::{Duration, Instant};

use larder::codec::Postcard;
use larder::{Cache, Strategy, Tag, source_fn};
use larder_redis::RedisBackend;
use larder_testkit::servers::RedisServer;

const ROUNDS: usize = 1_001;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(server) = RedisServer::start(&[]) else { return Ok(()) };
    let redis = RedisBackend::connect(server.url()).await?;
    println!("entries with the tag, median and longest of {ROUNDS} invalidations");
    for entries in [1, 10_000, 1_000_000u64] {
        let cache: Cache<u64, u64> = Cache::builder()
            .namespace(format!("tags-{entries}"))
            .backend(redis.encoded(Postcard))
            .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key)) }))
            .strategy(Strategy::aside(Duration::from_secs(3_600)).tagged(|_| [Tag::new("all", 1)]))
            .build()?;
        let warmed = cache.warm(0..entries).batch(256).concurrency(16).run().await;
        assert!(warmed.failed.is_empty(), "all are loaded and stored");
        assert!(cache.get_if_present(&(entries - 1)).await?.is_some());
        let mut took = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            cache.invalidate_tag(&Tag::new("all", 1)).await?;
            took.push(began.elapsed());
        }
        assert!(cache.get_if_present(&(entries - 1)).await?.is_none());
        took.sort_unstable();
        println!("{entries:>20} {:>12?} {:>12?}", took[ROUNDS / 2], took[ROUNDS - 1]);
    }
    Ok(())
}
