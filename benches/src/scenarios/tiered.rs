//! Several processes read with a skew and write: how much they read, how often the source is asked, and how old reads are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use larder_testkit::servers::{Folder, RedisServer};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

use crate::load::{Draw, Skew, value};
use crate::measure::double;
use crate::peers::far::redis_rs;
use crate::peers::whole::{self, Source, Whole};
use crate::processes::{Crew, orders};
use crate::report::{Table, number};

use super::Effort;

const PROCESSES: usize = 3;
const TASKS: u64 = 8;
const KEYS: u64 = 10_000;
const WRITES: f64 = 0.01;
/// One key in so many is watched: every read of it is checked.
const WATCHED: u64 = 8;
/// From reading the row to having it: what a write can come between.
const LOAD: Duration = Duration::from_millis(1);

const CONTENDERS: [&str; 6] = [
    "redis-rs by hand",
    "moka (1 s) before redis-rs by hand",
    "multi-tier-cache",
    "amalgam-cache",
    "larder in Redis",
    "larder, two tiers",
];

pub fn run(effort: Effort) -> Vec<Table> {
    let about = format!(
        "{PROCESSES} processes with {TASKS} tasks each over {} keys, Zipf 0.99, {:.0} % writes that invalidate; a load takes {LOAD:?} after it has \
         read the row. A stale read began after the invalidation of what it got was acknowledged; at the end nothing is written for 2 s, and what \
         is then still old stays so until its TTL.",
        number(KEYS as f64),
        WRITES * 100.0
    );
    let columns = [
        "through",
        "reads/s",
        "x by hand",
        "loads/s",
        "stale reads in a million",
        "oldest, ms",
        "old at the end",
    ];
    let mut table = Table::new("Reads and writes of several processes", about, &columns);
    let mut found: Vec<(&str, Outcome)> = vec![];
    for contender in CONTENDERS {
        let Some(outcome) = measure(contender, effort.pick(3, 15)) else { return vec![] };
        found.push((contender, outcome));
    }
    let base = found[0].1.reads;
    for (contender, outcome) in &found {
        table.row([
            (*contender).to_owned(),
            number(outcome.reads),
            number(outcome.reads / base),
            number(outcome.loads),
            number(outcome.stale * 1e6),
            number(outcome.oldest),
            outcome.left.to_string(),
        ]);
    }
    let bars = found.iter().map(|(contender, outcome)| ((*contender).to_owned(), outcome.reads)).collect();
    vec![table.drawn("reads a second of all processes: more is better", bars)]
}

struct Outcome {
    reads: f64,
    loads: f64,
    /// The part of the watched reads that were stale.
    stale: f64,
    oldest: f64,
    left: usize,
}

fn measure(contender: &str, seconds: u64) -> Option<Outcome> {
    let (server, rows) = (RedisServer::start(&[])?, RedisServer::start(&[])?);
    let folder = Folder::new("tiered");
    let path = folder.path().display().to_string();
    let mut crew = Crew::start(PROCESSES, &["tiered", contender, &server.url(), &rows.url(), &path]);
    crew.order("warm 1");
    let (mut reads, mut loads) = (0.0, 0.0);
    for answer in crew.order(&format!("run {seconds}")) {
        let (own_reads, own_loads) = answer.split_once(' ').expect("two numbers");
        reads += own_reads.parse::<f64>().expect("a number");
        loads += own_loads.parse::<f64>().expect("a number");
    }
    std::thread::sleep(Duration::from_secs(2));
    crew.order("rest");
    drop(crew);
    let (stale, oldest, left) = judge(&path);
    let seconds = seconds as f64;
    Some(Outcome { reads: reads / seconds, loads: loads / seconds, stale, oldest, left })
}

/// An event of a watched key: one line of a process's file.
#[derive(Clone, Copy)]
enum Event {
    /// This version was written and everything older invalidated, acknowledged then.
    Written { version: u64, at: u64 },
    /// A read that began then got this version.
    Read { version: u64, at: u64 },
    /// The same after everything had come to rest.
    Last { version: u64 },
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("it is later").as_micros() as u64
}

/// The part of reads that were stale, the age of the oldest in milliseconds, and how many keys were old at the end.
fn judge(folder: &str) -> (f64, f64, usize) {
    let mut events: HashMap<u64, Vec<Event>> = HashMap::new();
    for process in 0..PROCESSES {
        let text = std::fs::read_to_string(format!("{folder}/{process}")).expect("it was written");
        for line in text.lines() {
            let mut parts = line.split(' ');
            let what = parts.next();
            let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).expect("a number");
            let (key, version, at) = (number(), number(), number());
            let event = match what {
                Some("w") => Event::Written { version, at },
                Some("r") => Event::Read { version, at },
                _ => Event::Last { version },
            };
            events.entry(key).or_default().push(event);
        }
    }
    let (mut reads, mut stale, mut oldest, mut left) = (0u64, 0u64, 0u64, 0);
    for events in events.values() {
        let mut written: Vec<(u64, u64)> = events
            .iter()
            .filter_map(|event| match event {
                Event::Written { version, at } => Some((*version, *at)),
                _ => None,
            })
            .collect();
        written.sort_unstable();
        let newest = written.last().map_or(0, |(version, _)| *version);
        // when everything below a version had been invalidated: at the first acknowledgement of it or of a later one
        let mut ended = written.clone();
        for at in (1..ended.len()).rev() {
            ended[at - 1].1 = ended[at - 1].1.min(ended[at].1);
        }
        for event in events {
            match *event {
                Event::Read { version, at } => {
                    reads += 1;
                    let later = ended.partition_point(|(written, _)| *written <= version);
                    let age =
                        ended.get(later).map_or(0, |(_, acknowledged)| at.saturating_sub(*acknowledged));
                    stale += u64::from(age > 0);
                    oldest = oldest.max(age);
                }
                Event::Last { version } => left += usize::from(version < newest),
                Event::Written { .. } => {}
            }
        }
    }
    (stale as f64 / reads.max(1) as f64, oldest as f64 / 1_000.0, left)
}

/// One of the processes.
pub fn process(arguments: &[String]) {
    let [contender, url, rows, folder, number] = arguments else { panic!("five arguments") };
    let runtime = double();
    let rows = runtime.block_on(redis_rs(rows)).0;
    let source = {
        let rows = rows.clone();
        Source::new(move |key| {
            let mut rows = rows.clone();
            async move {
                let version: Option<u64> = rows.get(key).await.expect("the server answers");
                tokio::time::sleep(LOAD).await;
                value(version.unwrap_or_default())
            }
        })
    };
    let process =
        Process { runtime, rows, source: source.clone(), folder: folder.clone(), number: number.clone() };
    match contender.as_str() {
        "redis-rs by hand" => process.serve(&process.runtime.block_on(whole::by_hand(url, source))),
        "moka (1 s) before redis-rs by hand" => {
            process.serve(&process.runtime.block_on(whole::moka_by_hand(url, source)))
        }
        "multi-tier-cache" => process.serve(&process.runtime.block_on(whole::multi_tier(url, source))),
        "amalgam-cache" => process.serve(&process.runtime.block_on(whole::amalgam_tiered(url, source))),
        "larder in Redis" => process.serve(&process.runtime.block_on(whole::larder_far(url, source))),
        _ => process.serve(&process.runtime.block_on(whole::larder_tiered(url, source))),
    }
}

struct Process {
    runtime: tokio::runtime::Runtime,
    rows: MultiplexedConnection,
    source: Source,
    folder: String,
    number: String,
}

/// A key, what happened, a version and a time.
type Log = Arc<Mutex<Vec<(char, u64, u64, u64)>>>;

fn version(value: &str) -> u64 {
    value.trim_start_matches('0').parse().unwrap_or_default()
}

impl Process {
    fn serve<W: Whole>(&self, cache: &W) {
        let log = Log::default();
        for order in orders() {
            let (order, seconds) = order.split_once(' ').unwrap_or((&order, "0"));
            if order == "rest" {
                self.runtime.block_on(rest(cache, &log));
                self.write(&log);
                println!("done");
                continue;
            }
            let (reads, loads) = (Arc::new(AtomicU64::new(0)), self.source.loads());
            let until = Instant::now() + Duration::from_secs(seconds.parse().expect("seconds"));
            self.runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for task in 0..TASKS {
                    let seed = self.number.parse::<u64>().expect("a number") * 1_000 + task;
                    let (cache, rows, log) = (cache.clone(), self.rows.clone(), Arc::clone(&log));
                    let reads = Arc::clone(&reads);
                    tasks.spawn(async move {
                        let own = work(&cache, rows, seed, until, &log).await;
                        reads.fetch_add(own, Ordering::Relaxed);
                    });
                }
                tasks.join_all().await;
            });
            println!("{} {}", reads.load(Ordering::Relaxed), self.source.loads() - loads);
        }
    }

    fn write(&self, log: &Log) {
        let log = log.lock().expect("nobody panicked");
        let line =
            |(what, key, version, at): &(char, u64, u64, u64)| format!("{what} {key} {version} {at}\n");
        let text: String = log.iter().map(line).collect();
        std::fs::write(format!("{}/{}", self.folder, self.number), text).expect("the folder can be written");
    }
}

/// Reads and now and then writes; says how much it read.
async fn work<W: Whole>(
    cache: &W,
    mut rows: MultiplexedConnection,
    seed: u64,
    until: Instant,
    log: &Log,
) -> u64 {
    let mut draw = Draw::new(Skew::Zipf, KEYS, seed);
    let (mut reads, mut own) = (0, vec![]);
    while Instant::now() < until {
        let key = draw.next();
        let watched = key.is_multiple_of(WATCHED);
        if draw.chance(WRITES) {
            let version: u64 = rows.incr(key, 1).await.expect("the server answers");
            cache.invalidate(key).await;
            if watched {
                own.push(('w', key, version, now()));
            }
        } else {
            let at = if watched { now() } else { 0 };
            let found = cache.get(key).await;
            if watched {
                own.push(('r', key, version(&found), at));
            }
            reads += 1;
            // a hit in memory never waits: others are to have their turn
            if reads % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    log.lock().expect("nobody panicked").extend(own);
    reads
}

/// Reads everything that is watched once more.
async fn rest<W: Whole>(cache: &W, log: &Log) {
    for key in (0..KEYS).step_by(WATCHED as usize) {
        let found = version(&cache.get(key).await);
        log.lock().expect("nobody panicked").push(('l', key, found, now()));
    }
}
