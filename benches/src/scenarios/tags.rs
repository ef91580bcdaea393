//! The cost of invalidating a tag, by the number of entries that carry it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::backend::IntoBackend;
use larder::codec::Postcard;
use larder::{Cache, Quick, Strategy, Tag};
use larder_redis::RedisBackend;
use larder_testkit::servers::RedisServer;
use redis::AsyncCommands as _;

use crate::measure::{double, median};
use crate::report::{Table, number};

use super::Effort;

const TTL: Duration = Duration::from_secs(3_600);

/// Measures how long a contender takes to invalidate so many entries, in microseconds; `None` if it is not asked for
/// that many.
type Take = fn(u64, usize) -> Option<f64>;

const CONTENDERS: [(&str, Take); 6] = [
    ("moka, `invalidate_entries_if`, swept", moka_swept),
    ("redis-rs by hand: a set of the tag's keys", set_by_hand),
    ("amalgam-cache, in memory", amalgam),
    ("larder over quick_cache", larder_quick),
    ("larder in Redis", larder_redis),
    ("larder, two tiers", larder_tiered),
];

pub fn run(effort: Effort) -> Vec<Table> {
    let counts = effort.pick([1, 1_000, 100_000], [1, 10_000, 1_000_000]);
    let about = "Microseconds until the invalidation of a tag is done, by how many entries carry it; medians. By hand, a set holds the names of the \
                 keys, and all of them are deleted; moka's predicate is run over all entries by its housekeeping, which is waited for, five seconds at most.";
    let columns: Vec<String> = counts.iter().map(|&count| number(count as f64)).collect();
    let columns: Vec<&str> = std::iter::once("through").chain(columns.iter().map(String::as_str)).collect();
    let mut table = Table::new("Invalidating a tag", about, &columns);
    for (name, take) in CONTENDERS {
        let rounds = effort.pick(3, 9);
        let cells = counts.iter().map(|&count| take(count, rounds).map_or("-".to_owned(), number));
        table.row(std::iter::once(name.to_owned()).chain(cells));
    }
    vec![table]
}

fn micros(act: impl FnOnce()) -> f64 {
    let began = Instant::now();
    act();
    began.elapsed().as_nanos() as f64 / 1_000.0
}

fn moka_swept(entries: u64, rounds: usize) -> Option<f64> {
    let cache =
        moka::sync::Cache::builder().max_capacity(2 * entries).support_invalidation_closures().build();
    let took = (0..rounds).map(|_| {
        (0..entries).for_each(|key| cache.insert(key, key));
        cache.run_pending_tasks();
        // what was put in within the same tick of its clock would stay
        std::thread::sleep(Duration::from_millis(5));
        let began = Instant::now();
        micros(|| {
            cache.invalidate_entries_if(|_, _| true).expect("it was asked for");
            while cache.entry_count() > 0 && began.elapsed() < Duration::from_secs(5) {
                cache.run_pending_tasks();
            }
        })
    });
    Some(median(took.collect()))
}

fn set_by_hand(entries: u64, rounds: usize) -> Option<f64> {
    let server = RedisServer::start(&[])?;
    let runtime = double();
    let client = redis::Client::open(server.url()).expect("an address");
    // a set of a million names takes longer than the half second that the client waits by default
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&patient);
    let mut redis = runtime.block_on(connecting).expect("the server answers");
    let rounds = if entries > 100_000 { 1 } else { rounds };
    let took = (0..rounds).map(|_| {
        runtime.block_on(async {
            for first in (0..entries).step_by(1_000) {
                let mut pipe = redis::pipe();
                for key in first..(first + 1_000).min(entries) {
                    let name = format!("v:{key}");
                    pipe.set_ex(&name, key, TTL.as_secs()).ignore().sadd("tag", name).ignore();
                }
                pipe.query_async::<()>(&mut redis).await.expect("the server answers");
            }
            let began = Instant::now();
            let named: Vec<String> = redis.smembers("tag").await.expect("the server answers");
            for names in named.chunks(1_000) {
                redis.unlink::<_, ()>(names).await.expect("the server answers");
            }
            redis.unlink::<_, ()>("tag").await.expect("the server answers");
            began.elapsed().as_nanos() as f64 / 1_000.0
        })
    });
    Some(median(took.collect()))
}

fn amalgam(entries: u64, rounds: usize) -> Option<f64> {
    let runtime = double();
    runtime.block_on(async {
        let options = amalgam::EntryOptions::new(TTL);
        let builder = amalgam::Cache::builder().max_capacity(2 * entries).default_options(options);
        let cache: amalgam::Cache<Arc<u64>> = builder.try_build().expect("the parts fit together");
        for key in 0..entries {
            cache.set(key.to_string(), Arc::new(key)).tags(["all"]).await.expect("it is in memory");
        }
        let mut took = vec![];
        for _ in 0..rounds.max(101) {
            let began = Instant::now();
            cache.remove_by_tag("all").await.expect("it is in memory");
            took.push(began.elapsed().as_nanos() as f64 / 1_000.0);
        }
        let last = cache.try_get((entries - 1).to_string()).await.expect("it is in memory");
        assert!(last.is_none(), "it was invalidated");
        Some(median(took))
    })
}

/// Fills a cache whose entries all carry one tag, and ends them again and again.
fn larder(entries: u64, backend: impl IntoBackend<u64, u64> + Send + 'static) -> f64 {
    let source = larder::source_fn(|key: u64| async move { Ok::<_, std::convert::Infallible>(Some(key)) });
    let strategy = Strategy::aside(TTL).tagged(|_| [Tag::new("all", 1)]);
    let built = Cache::builder().namespace("tags").backend(backend).source(source).strategy(strategy).build();
    let cache: Cache<u64, u64> = built.expect("the parts fit together");
    tokio::runtime::Handle::current().block_on(async {
        let warmed = cache.warm(0..entries).batch(256).concurrency(16).run().await;
        assert!(warmed.failed.is_empty(), "all are loaded");
        let is_there = async || cache.get_if_present(&(entries - 1)).await.expect("it answers").is_some();
        assert!(is_there().await, "it was filled");
        let mut took = vec![];
        for _ in 0..301 {
            let began = Instant::now();
            cache.invalidate_tag(&Tag::new("all", 1)).await.expect("the server answers");
            took.push(began.elapsed().as_nanos() as f64 / 1_000.0);
        }
        assert!(!is_there().await, "it was invalidated");
        median(took)
    })
}

fn larder_quick(entries: u64, _: usize) -> Option<f64> {
    let runtime = double();
    let _entered = runtime.enter();
    Some(larder(entries, Quick::new(2 * entries)))
}

fn larder_redis(entries: u64, _: usize) -> Option<f64> {
    let server = RedisServer::start(&[])?;
    let runtime = double();
    let _entered = runtime.enter();
    let redis = runtime.block_on(RedisBackend::connect(server.url())).expect("an address");
    Some(larder(entries, redis.encoded(Postcard)))
}

fn larder_tiered(entries: u64, _: usize) -> Option<f64> {
    let server = RedisServer::start(&[])?;
    let runtime = double();
    let _entered = runtime.enter();
    let redis = runtime.block_on(RedisBackend::connect(server.url())).expect("an address");
    Some(larder(entries, larder::Tiered::new(Quick::new(2 * entries), redis.encoded(Postcard))))
}
