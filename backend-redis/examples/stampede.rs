//! cargo run --release -p larder-redis --example stampede
//!
//! 1,000 tasks in four processes ask for one missing key at once, with `.locked(..)`: one load, and the others have its value
//! as soon as it is there. Starts a `redis-server` and the processes itself; fails when a key is loaded twice, or when one
//! in a hundred waits for more than 20 ms longer than the load.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder::codec::Json;
use larder::{Cache, Strategy, source_fn};
use larder_redis::RedisBackend;
use larder_testkit::servers::RedisServer;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const PROCESSES: usize = 4;
const TASKS: usize = 250;
const ROUNDS: u64 = 10;
const LOAD: Duration = Duration::from_millis(200);
const ALLOWED: Duration = Duration::from_millis(20);

fn main() -> Outcome {
    match std::env::args().nth(1) {
        Some(url) => tokio::runtime::Runtime::new()?.block_on(process(url)),
        None => all(),
    }
}

/// One of the four: in each round waits for a line, asks, and writes how many loads it made and how long each task took.
async fn process(url: String) -> Outcome {
    let loads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&loads);
    let redis = RedisBackend::connect(url).await?;
    let cache: Cache<u64, u64> = Cache::builder()
        .namespace("stampede")
        .backend(redis.encoded(Json))
        .source(source_fn(move |key: u64| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(LOAD).await;
                Ok::<_, std::io::Error>(Some(key))
            }
        }))
        .strategy(Strategy::aside(Duration::from_secs(60)).locked(redis.locks()))
        .build()?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let key: u64 = line?.parse()?;
        let before = loads.load(Ordering::Relaxed);
        let ask = |cache: Cache<u64, u64>| async move {
            let began = Instant::now();
            assert_eq!(cache.get(&key).await.expect("the load succeeds").as_deref(), Some(&key));
            began.elapsed().as_micros().to_string()
        };
        let mut tasks = tokio::task::JoinSet::new();
        (0..TASKS).for_each(|_| _ = tasks.spawn(ask(cache.clone())));
        let took = tasks.join_all().await;
        println!("{} {}", loads.load(Ordering::Relaxed) - before, took.join(" "));
    }
    Ok(())
}

fn all() -> Outcome {
    let Some(server) = RedisServer::start(&[]) else { return Ok(()) };
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(server.url()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let (orders, answers) = orders.zip(answers).ok_or("the pipes were asked for")?;
        let mut answers = BufReader::new(answers).lines();
        answers.next().ok_or("a process ended early")??;
        processes.push((child, orders, answers));
    }
    let (mut all_loads, mut waits) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (_, orders, _) in &mut processes {
            writeln!(orders, "{round}")?;
        }
        let mut loads = 0;
        for (_, _, answers) in &mut processes {
            let answer = answers.next().ok_or("a process ended early")??;
            let mut figures = answer.split(' ').map(str::parse::<u64>);
            loads += figures.next().ok_or("no figures")??;
            for took in figures {
                waits.push(Duration::from_micros(took?));
            }
        }
        all_loads.push(loads);
    }
    for (mut child, orders, _) in processes {
        drop(orders);
        child.wait()?;
    }
    waits.sort();
    let [half, most] = [waits.len() / 2, waits.len() * 99 / 100].map(|at| waits[at]);
    println!(
        "{ROUNDS} keys, each asked for by {TASKS} tasks in each of {PROCESSES} processes; a load takes {LOAD:?}"
    );
    println!("loads for each key: {all_loads:?}");
    println!("answered: half within {half:?}, 99 % within {most:?}, all within {:?}", waits[waits.len() - 1]);
    if all_loads.iter().any(|&loads| loads != 1) {
        return Err("a key was loaded more than once".into());
    }
    if most > LOAD + ALLOWED {
        return Err(format!("1 % waited for more than {ALLOWED:?} longer than the load").into());
    }
    Ok(())
}
