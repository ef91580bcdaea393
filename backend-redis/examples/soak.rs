//! cargo run --release -p larder-redis --example soak -- [minutes]
//!
//! Reads, loads, locks and invalidations without a pause, for 10 minutes unless told otherwise; every so often some
//! connections are cut. Memory and connections must stay flat. Starts a `redis-server` of its own.

use std::time::{Duration, Instant};

use larder::codec::Json;
use larder::{Cache, Strategy, source_fn};
use larder_redis::RedisBackend;
use larder_testkit::servers::RedisServer;

const KEYS: u64 = 20_000;
const TASKS: usize = 64;

/// The resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn connections(server: &RedisServer) -> usize {
    // one of them asks
    server.command(&["CLIENT", "LIST"]).lines().count() - 1
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let minutes: f64 = std::env::args().nth(1).map_or(Ok(10.0), |minutes| minutes.parse())?;
    let Some(server) = RedisServer::start(&[]) else { return Ok(()) };
    let redis = RedisBackend::connect(server.url()).await?;
    let cache: Cache<u64, String> = Cache::builder()
        .namespace("soak")
        .backend(redis.encoded(Json))
        .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(format!("{key:0>100}"))) }))
        .strategy(Strategy::aside(Duration::from_secs(2)).locked(redis.locks()))
        .build()?;
    let (began, all) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let cache = cache.clone();
        tasks.spawn(async move {
            while began.elapsed() < all {
                let key = fastrand::u64(0..KEYS);
                match fastrand::u8(..) {
                    // an invalidation while connections are cut is retried by the cache
                    0..8 => _ = cache.invalidate(&key).await,
                    8..12 => {
                        let keys = [key, key + 1, key + 2];
                        assert!(cache.get_many(&keys).await.expect("it loads").iter().all(Option::is_some));
                    }
                    _ => assert!(cache.get(&key).await.expect("it loads").is_some()),
                }
            }
        });
    }
    println!("  s   process MiB   server MiB   connections      hits     loads   in flight");
    let (mut samples, mut step) = (Vec::new(), 0u32);
    while began.elapsed() < all {
        tokio::time::sleep((all / 30).min(Duration::from_secs(10))).await;
        step += 1;
        if step.is_multiple_of(4) {
            server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let memory = server.command(&["INFO", "memory"]);
        let used =
            memory.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<u64>().ok());
        let (used, stats) = (used.unwrap_or(0) >> 20, cache.stats());
        let (resident, connections) = (resident(), connections(&server));
        println!(
            "{:>3} {:>13} {used:>12} {connections:>13} {:>9} {:>9} {:>11}",
            began.elapsed().as_secs(),
            resident >> 10,
            stats.hits(),
            stats.loads,
            cache.in_flight()
        );
        samples.push((resident, connections));
    }
    while let Some(task) = tasks.join_next().await {
        task?;
    }
    cache.shutdown().await?;
    let (early, late) = (&samples[samples.len() / 5..samples.len() / 2], &samples[samples.len() / 2..]);
    let most = |samples: &[(u64, usize)]| samples.iter().map(|(resident, _)| *resident).max().unwrap_or(0);
    let (early, later) = (most(early), most(late));
    println!("the most memory: {} MiB in the first half, {} MiB in the second", early >> 10, later >> 10);
    if later > early + early / 10 + 2_048 {
        return Err("memory grows".into());
    }
    if samples.iter().any(|(_, connections)| *connections > 2) {
        return Err("more connections than the two that were asked for".into());
    }
    if cache.in_flight() > 0 {
        return Err("loads are left".into());
    }
    Ok(())
}
