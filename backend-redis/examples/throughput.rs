//! cargo run --release -p larder-redis --example throughput
//!
//! Far hits of `Cache::get` beside a bare `GET` of redis-rs: one server, the same values, in turn, in one run. Starts a
//! `redis-server` of its own. Promised: 1.5 times the bare client at 64 and 256 tasks, 0.95 times at one. Fails when it is
//! slower than that by more than the noise of a shared machine, a tenth.

use std::time::{Duration, Instant};

use larder::codec::Postcard;
use larder::{Cache, Strategy, source_fn};
use larder_redis::RedisBackend;
use larder_redis::redis::{AsyncCommands as _, Client, aio::MultiplexedConnection};
use larder_testkit::servers::RedisServer;
use tokio::task::JoinSet;

const KEYS: u64 = 1_000;
const ROUND: Duration = Duration::from_millis(400);
const ROUNDS: usize = 15;

fn value(key: u64) -> String {
    format!("{key:0>200}")
}

/// Answers a second of `tasks` tasks that read at once, each with a handle of its own.
macro_rules! rate {
    ($tasks:expr, $handle:expr, |$own:ident, $key:ident| $read:block) => {{
        let began = Instant::now();
        let mut running = JoinSet::new();
        for task in 0..$tasks {
            #[allow(unused_mut, reason = "one of the two is read through `&mut`")]
            let mut $own = $handle.clone();
            running.spawn(async move {
                let (mut $key, mut answers) = (task * 7, 0u64);
                while began.elapsed() < ROUND {
                    $key = ($key + 31) % KEYS;
                    $read
                    answers += 1;
                }
                answers
            });
        }
        let answers: u64 = running.join_all().await.into_iter().sum();
        answers as f64 / began.elapsed().as_secs_f64()
    }};
}

async fn bare(connection: &MultiplexedConnection, tasks: u64) -> f64 {
    rate!(tasks, connection, |own, key| {
        let found: Option<String> = own.get(format!("bare:{key}")).await.expect("the server answers");
        assert_eq!(found.map(|found| found.len()), Some(200));
    })
}

async fn cached(cache: &Cache<u64, String>, tasks: u64) -> f64 {
    rate!(tasks, cache, |own, key| {
        let found = own.get(&key).await.expect("the server answers");
        assert_eq!(found.map(|value| value.len()), Some(200));
    })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(server) = RedisServer::start(&[]) else { return Ok(()) };
    let mut connection = Client::open(server.url())?.get_multiplexed_async_connection().await?;
    let cache: Cache<u64, String> = Cache::builder()
        .namespace("throughput")
        .backend(RedisBackend::connect(server.url()).await?.encoded(Postcard))
        .source(source_fn(|_: u64| async {
            Err::<Option<String>, _>(std::io::Error::other("every read is a hit"))
        }))
        .strategy(Strategy::aside(Duration::from_secs(600)))
        .build()?;
    for key in 0..KEYS {
        connection.set::<_, _, ()>(format!("bare:{key}"), value(key)).await?;
        cache.insert(&key, value(key)).await?;
    }
    println!("tasks   bare GET/s   Cache::get/s      ratio (median of {ROUNDS} rounds in turn)");
    let mut kept = true;
    for (tasks, promise) in [(1, 0.95), (64, 1.5), (256, 1.5)] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let one = bare(&connection, tasks).await;
            rounds.push((one, cached(&cache, tasks).await));
        }
        let ratio = median(rounds.iter().map(|(bare, cached)| cached / bare).collect());
        let (bare, cached): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
        println!("{tasks:>5} {:>12.0} {:>17.0} {ratio:>7.2}", median(bare), median(cached));
        kept &= ratio >= promise * 0.9;
    }
    if !kept {
        return Err("slower than promised: 1.5 at 64 and 256 tasks, 0.95 at one".into());
    }
    Ok(())
}
