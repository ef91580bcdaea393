//! The recovery of a service whose cache is emptied under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder_testkit::servers::RedisServer;
use tokio::sync::Semaphore;

use crate::load::{Draw, Skew, value};
use crate::measure::double;
use crate::peers::whole::{self, Source, Whole};
use crate::report::{Table, number};

use super::Effort;

const KEYS: u64 = 5_000;
const TASKS: u64 = 128;
/// The capacity of the source: so many loads at once, each of the duration `LOAD`.
const AT_ONCE: usize = 8;
const LOAD: Duration = Duration::from_millis(2);
const STEP: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(effort: Effort) -> Vec<Table> {
    let about = format!(
        "{TASKS} tasks read {} keys, Zipf 0.99, through Redis; the source takes {AT_ONCE} loads at once, {LOAD:?} each. Then `FLUSHALL`: seconds \
         until as many reads a second are answered as by hand before (90 % of that), until the contender's own rate is at 90 %, loads until \
         then, and reads answered in the first second. One run each in turn, medians of {}.",
        number(KEYS as f64),
        effort.pick(1, 3)
    );
    let columns = [
        "through",
        "reads/s before",
        "s to 90 % of by hand",
        "s to 90 % of its own",
        "loads till then",
        "loads a key",
        "reads in the first second",
    ];
    let mut table = Table::new("Recovery after a flush", about, &columns);
    let names = [
        "redis-rs by hand",
        "multi-tier-cache, Redis",
        "amalgam-cache, Redis",
        "larder in Redis",
        "larder in Redis, limited",
    ];
    let mut found: Vec<Vec<Recovery>> = names.iter().map(|_| vec![]).collect();
    // the rate of the first, by hand: what is served by any of them without its cache emptied
    let mut common = None;
    for _ in 0..effort.pick(1, 3) {
        for (name, found) in names.iter().zip(&mut found) {
            let Some(server) = RedisServer::start(&[]) else { return vec![] };
            let recovery = by_name(name, &server, common);
            common = common.or(Some(recovery.before));
            found.push(recovery);
        }
    }
    for (name, found) in names.iter().zip(&found) {
        let middle =
            |figure: fn(&Recovery) -> f64| crate::measure::median(found.iter().map(figure).collect());
        table.row([
            (*name).to_owned(),
            number(middle(|found| found.before)),
            number(middle(|found| found.usable)),
            number(middle(|found| found.seconds)),
            number(middle(|found| found.loads)),
            number(middle(|found| found.loads / KEYS as f64)),
            number(middle(|found| found.first)),
        ]);
    }
    let bars = names.iter().zip(&found);
    let bars = bars.map(|(name, found)| {
        ((*name).to_owned(), crate::measure::median(found.iter().map(|found| found.usable).collect()))
    });
    let bars = bars.collect();
    vec![table.drawn("seconds to the rate by hand: less is better", bars)]
}

struct Recovery {
    before: f64,
    /// Until the service is what it was by hand.
    usable: f64,
    seconds: f64,
    loads: f64,
    first: f64,
}

fn by_name(name: &str, server: &RedisServer, common: Option<f64>) -> Recovery {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let source = Source::new(move |key| {
        let gate = Arc::clone(&gate);
        async move {
            let _permit = gate.acquire().await.expect("it is never closed");
            tokio::time::sleep(LOAD).await;
            value(key)
        }
    });
    let (runtime, url) = (double(), server.url());
    runtime.block_on(async {
        match name {
            "redis-rs by hand" => {
                recover(whole::by_hand(&url, source.clone()).await, server, &source, common).await
            }
            "multi-tier-cache, Redis" => {
                recover(whole::multi_tier_far(&url, source.clone()).await, server, &source, common).await
            }
            "amalgam-cache, Redis" => {
                recover(whole::amalgam_far(&url, source.clone()).await, server, &source, common).await
            }
            "larder in Redis" => {
                recover(whole::larder_far(&url, source.clone()).await, server, &source, common).await
            }
            _ => recover(whole::larder_limited(&url, source.clone()).await, server, &source, common).await,
        }
    })
}

async fn recover<W: Whole>(cache: W, server: &RedisServer, source: &Source, common: Option<f64>) -> Recovery {
    let mut warming = tokio::task::JoinSet::new();
    for task in 0..64 {
        let cache = cache.clone();
        warming.spawn(async move {
            for key in (task..KEYS).step_by(64) {
                cache.get(key).await;
            }
        });
    }
    warming.join_all().await;
    let (reads, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (cache, reads, stop) = (cache.clone(), Arc::clone(&reads), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut draw = Draw::new(Skew::Zipf, KEYS, task);
            while !stop.load(Ordering::Relaxed) {
                cache.get(draw.next()).await;
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let count = || reads.load(Ordering::Relaxed) as f64;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (from, began) = (count(), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = (count() - from) / began.elapsed().as_secs_f64();
    let (loads, from) = (source.loads(), count());
    server.command(&["FLUSHALL"]);
    let flushed = Instant::now();
    let (mut last, mut first, mut usable) = ((from, flushed), 0.0, None);
    while flushed.elapsed() < PATIENCE {
        tokio::time::sleep(STEP).await;
        if first == 0.0 && flushed.elapsed() >= Duration::from_secs(1) {
            first = count() - from;
        }
        let rate = (count() - last.0) / last.1.elapsed().as_secs_f64();
        last = (count(), Instant::now());
        if rate >= 0.9 * common.unwrap_or(before) {
            usable.get_or_insert(flushed.elapsed().as_secs_f64());
        }
        if rate >= 0.9 * before {
            break;
        }
    }
    let (seconds, loads) = (flushed.elapsed().as_secs_f64(), (source.loads() - loads) as f64);
    if first == 0.0 {
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(flushed.elapsed())).await;
        first = count() - from;
    }
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    Recovery { before, usable: usable.unwrap_or(seconds), seconds, loads, first }
}
