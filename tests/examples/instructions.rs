//! Compares the instructions of the hot paths with a budget:
//! `cargo run --release -p larder-testkit --example instructions`
//!
//! Times are noise on a shared machine; instructions are the same at every run. Each path runs under `valgrind
//! --tool=callgrind`, which counts what happens within [`measured`] and nothing else. What each may take is in
//! `benches/budget.toml`; a count that is more than 5 % above it is a failure, one that is more than 5 % below is
//! reported, so that the budget can follow. `--write` rewrites the budget: the change is then seen in a review.
//!
//! `-- PATH` runs one path without valgrind, to be looked at with other tools.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use larder::backend::IntoBackend;
use larder::cache::Origin;
use larder::codec::Postcard;
use larder::{Cache, Quick, Strategy, Tiered, source_fn};
use larder_memory::MemoryServer;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::runtime::Runtime;

type Failure = Box<dyn std::error::Error>;
type Value = [u8; 200];

const KEYS: u64 = 10_000;
const READS: usize = 100_000;
const MISSES: u64 = 2_000;
const BATCH: usize = 100;
/// The tolerated distance of a count from its budget: another run differs by less than 1 %, another compiler by some.
const TOLERANCE: f64 = 0.05;

/// A path, and what runs it within [`measured`]: says how many operations that were.
struct Measured {
    name: &'static str,
    run: fn() -> u64,
}

const PATHS: &[Measured] = &[
    Measured { name: "hit_bare_quick_cache", run: bare_hits },
    Measured { name: "hit", run: || hits(|key| key) },
    Measured { name: "hit_string_key", run: || hits(|key| format!("product:{key}")) },
    Measured { name: "hit_near_before_far", run: near_hits },
    Measured { name: "hit_in_batch_of_100", run: batches },
    Measured { name: "miss_load_fill", run: misses },
];

/// Runs the work that callgrind counts: callgrind is given the name of this function.
#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Keys with Zipf 0.99: always the same.
fn drawn() -> Vec<u64> {
    let mut sum = 0.0;
    let edge = |rank: u64| {
        sum += 1.0 / (rank as f64).powf(0.99);
        sum
    };
    let edges: Vec<f64> = (1..=KEYS).map(edge).collect();
    let whole = edges[edges.len() - 1];
    let mut random = SmallRng::seed_from_u64(7);
    let draw = |_| edges.partition_point(|&edge| edge < random.random::<f64>() * whole) as u64;
    (0..READS).map(draw).collect()
}

fn value(key: u64) -> Value {
    [key as u8; 200]
}

fn build<K: larder::cache::Key>(backend: impl IntoBackend<K, Value> + Send + 'static) -> Cache<K, Value> {
    let strategy = Strategy::aside(Duration::from_secs(3_600));
    let source = source_fn(|_: K| async { Ok::<_, std::convert::Infallible>(Some([7; 200])) });
    Cache::builder()
        .backend(backend)
        .source(source)
        .strategy(strategy)
        .build()
        .expect("the parts fit together")
}

fn bare_hits() -> u64 {
    let cache = quick_cache::sync::Cache::<u64, Arc<Value>>::new(2 * KEYS as usize);
    (0..KEYS).for_each(|key| cache.insert(key, Arc::new(value(key))));
    let keys = drawn();
    measured(|| keys.iter().for_each(|key| _ = black_box(cache.get(key))));
    keys.len() as u64
}

fn hits<K: larder::cache::Key>(named: fn(u64) -> K) -> u64 {
    let (cache, keys) = (build(Quick::new(2 * KEYS)), drawn());
    runtime().block_on(async {
        for key in 0..KEYS {
            cache.insert(&named(key), value(key)).await.expect("a local store takes everything");
        }
    });
    get_all(&runtime(), &cache, &keys.into_iter().map(named).collect::<Vec<K>>())
}

fn get_all<K: larder::cache::Key>(runtime: &Runtime, cache: &Cache<K, Value>, keys: &[K]) -> u64 {
    measured(|| {
        runtime.block_on(async {
            for key in keys {
                _ = black_box(cache.get(key).await);
            }
        });
    });
    assert_eq!(cache.stats().loads, 0, "all were hits");
    keys.len() as u64
}

/// Near hits of two tiers. The far one is in this process too, and nothing is asked of it while it is counted.
fn near_hits() -> u64 {
    let runtime = runtime();
    let far = MemoryServer::new().connect("one").encoded(Postcard);
    let tiers = Tiered::new(Quick::new(2 * KEYS), far).max_staleness(Duration::from_secs(600));
    let strategy = Strategy::aside(Duration::from_secs(3_600));
    let source = source_fn(|key: u64| async move { Ok::<_, std::convert::Infallible>(Some(key)) });
    let built = Cache::builder().namespace("near").backend(tiers).source(source).strategy(strategy).build();
    let cache: Cache<u64, u64> = built.expect("the parts fit together");
    let keys = drawn();
    runtime.block_on(async {
        for key in 0..KEYS {
            cache.insert(&key, key).await.expect("the server is here");
        }
        // what is placed before the first proof is not served for long: read until it is near
        while cache.get_entry(&0).await.expect("it is there").origin != Origin::Near {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for key in 0..KEYS {
            _ = cache.get(&key).await;
        }
    });
    let before = cache.stats().near_hits;
    measured(|| {
        runtime.block_on(async {
            for key in &keys {
                _ = black_box(cache.get(key).await);
            }
        });
    });
    assert_eq!(cache.stats().near_hits - before, keys.len() as u64, "all were near");
    keys.len() as u64
}

fn batches() -> u64 {
    let (cache, keys, runtime) = (build(Quick::new(2 * KEYS)), drawn(), runtime());
    runtime.block_on(async {
        for key in 0..KEYS {
            cache.insert(&key, value(key)).await.expect("a local store takes everything");
        }
    });
    measured(|| {
        runtime.block_on(async {
            for keys in keys.chunks(BATCH) {
                _ = black_box(cache.get_many(keys).await);
            }
        });
    });
    assert_eq!(cache.stats().loads, 0, "all were hits");
    keys.len() as u64
}

fn misses() -> u64 {
    let (cache, runtime) = (build(Quick::new(2 * KEYS)), runtime());
    let read = |keys: std::ops::Range<u64>| {
        runtime.block_on(async {
            for key in keys {
                _ = black_box(cache.get(&key).await);
            }
        });
    };
    read(0..KEYS / 2);
    measured(|| read(KEYS / 2..KEYS / 2 + MISSES));
    assert_eq!(cache.stats().loads, KEYS / 2 + MISSES);
    MISSES
}

/// The instructions of one operation of a path.
fn count(path: &Measured) -> Result<f64, Failure> {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*instructions*measured*",
        ])
        .arg(std::env::current_exe()?)
        .arg(path.name)
        .output()?;
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("{} failed under valgrind: {told}{said}", path.name).into());
    }
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    let collected: f64 = collected.ok_or("valgrind said nothing of a count")?.trim().parse()?;
    let operations: f64 = told.trim().parse()?;
    Ok(collected / operations)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/budget.toml")
}

/// The budget of a path.
fn budget(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split('=').next().is_some_and(|key| key.trim() == name))?;
    line.split('=').nth(1)?.trim().parse().ok()
}

fn write(counts: &[(&str, f64)]) -> Result<(), Failure> {
    let mut text = "# Instructions of one operation, as counted by `cargo run --release -p larder-testkit --example instructions`, which\n\
                    # fails when one takes 5 % more. After a change that is worth it: the same with `-- --write`.\n"
        .to_owned();
    for (name, count) in counts {
        text.push_str(&format!("{name} = {count:.0}\n"));
    }
    Ok(std::fs::write(file(), text)?)
}

fn main() -> Result<(), Failure> {
    let argument = std::env::args().nth(1);
    if let Some(path) = PATHS.iter().find(|path| Some(path.name) == argument.as_deref()) {
        println!("{}", (path.run)());
        return Ok(());
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            return Err("valgrind is not installed, and with CI=true nothing is skipped".into());
        }
        println!("skipped: valgrind is not installed");
        return Ok(());
    }
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let (mut counts, mut above) = (vec![], vec![]);
    println!("{:<24}{:>14}{:>10}{:>10}", "path", "instructions", "budget", "");
    for path in PATHS {
        let count = count(path)?;
        let allowed = budget(&text, path.name).unwrap_or(f64::NAN);
        let change = count / allowed - 1.0;
        println!("{:<24}{count:>14.1}{allowed:>10.0}{:>9.1}%", path.name, change * 100.0);
        if change < -TOLERANCE {
            println!("  {} takes less: `-- --write` lets the budget follow", path.name);
        }
        // what has no budget is above it
        if change.is_nan() || change > TOLERANCE {
            above.push(path.name);
        }
        counts.push((path.name, count));
    }
    if argument.as_deref() == Some("--write") {
        return write(&counts);
    }
    if !above.is_empty() {
        let mend = "make it cheaper, or say in the commit why it is worth it and run this with `-- --write`";
        return Err(format!("above the budget of benches/budget.toml: {}: {mend}", above.join(", ")).into());
    }
    Ok(())
}
