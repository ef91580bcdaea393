//! Measures the cost of invalidating a tag, by the number of entries that carry it:
//! `cargo run --release -p larder-testkit --example tag_cost`

use std::time::{Duration, Instant};

use larder::backend::IntoBackend;
use larder::codec::Postcard;
use larder::{Cache, Quick, Strategy, Tag};
use larder_memory::MemoryServer;

const ROUNDS: usize = 1_001;

async fn measure<B: IntoBackend<u64, u64> + Send + 'static>(name: &str, make: impl Fn(u64) -> B) {
    for entries in [1, 10_000, 1_000_000u64] {
        let cache: Cache<u64, u64> = Cache::builder()
            .namespace("tags")
            .backend(make(entries))
            .strategy(Strategy::aside(Duration::from_secs(3_600)).tagged(|_| [Tag::new("all", 1)]))
            .build()
            .expect("it can be built");
        for key in 0..entries {
            cache.insert(&key, key).await.expect("there is room");
        }
        let last = entries - 1;
        let is_there = async || cache.get_if_present(&last).await.expect("it answers").is_some();
        assert!(is_there().await);
        let tag = Tag::new("all", 1);
        let mut took = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            cache.invalidate_tag(&tag).await.expect("acknowledged");
            took.push(began.elapsed());
        }
        assert!(!is_there().await);
        took.sort_unstable();
        println!("{name:<12} {entries:>10} {:>12?} (at worst {:?})", took[ROUNDS / 2], took[ROUNDS - 1]);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("backend      entries with the tag, median of {ROUNDS} invalidations");
    measure("quick_cache", |entries| Quick::new(entries * 2)).await;
    measure("memory", |_| MemoryServer::new().connect("one").encoded(Postcard)).await;
}
