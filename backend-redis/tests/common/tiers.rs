//! Processes with two tiers each, and the check that none reads what it must not.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use larder::cache::Origin;
use larder::codec::Json;
use larder::{Cache, Quick, Stats, Strategy, Tag, Tiered, source_fn};
use larder_redis::RedisBackend;

const KEYS: u64 = 200;
const TASKS: usize = 8;
/// A tenth of all operations writes.
const WRITES: f64 = 0.1;
pub(crate) const BOUND: Duration = Duration::from_secs(1);

/// A few keys share a tag.
fn shelf(key: u64) -> Tag {
    Tag::new("shelf", key % 50)
}

/// The source, with the version of each acknowledged invalidation, its time and its process.
#[derive(Debug)]
struct Truth {
    versions: Vec<AtomicU64>,
    acknowledged: Vec<Mutex<Vec<Acknowledged>>>,
    over: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    unacknowledged: AtomicU64,
    near: AtomicU64,
    far: AtomicU64,
    stalest: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    version: u64,
    at: Instant,
    process: usize,
}

impl Truth {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            versions: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            acknowledged: (0..KEYS).map(|_| Mutex::default()).collect(),
            over: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            unacknowledged: AtomicU64::new(0),
            near: AtomicU64::new(0),
            far: AtomicU64::new(0),
            stalest: AtomicU64::new(0),
        })
    }

    async fn load(self: Arc<Self>, key: u64) -> Result<Option<u64>, std::io::Error> {
        let version = self.versions[key as usize].load(SeqCst);
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..2_000))).await;
        Ok(Some(version))
    }

    async fn read(&self, cache: &Cache<u64, u64>, process: usize, key: u64) {
        let began = Instant::now();
        let known = self.acknowledged[key as usize].lock().expect("no panic").clone();
        let fetched = cache.get_entry(&key).await.expect("a read never fails for the cache's sake");
        let value = fetched.value.map_or(0, |value| *value);
        self.reads.fetch_add(1, SeqCst);
        match fetched.origin {
            Origin::Near => _ = self.near.fetch_add(1, SeqCst),
            Origin::Far => _ = self.far.fetch_add(1, SeqCst),
            _ => {}
        }
        for missed in known.iter().filter(|known| known.version > value) {
            let age = began.saturating_duration_since(missed.at);
            assert_ne!(
                missed.process, process,
                "key {key}: {value} was read ({:?}) although this process had {missed:?} acknowledged",
                fetched.origin
            );
            assert!(
                age <= BOUND,
                "key {key}: {value} ({:?}) is {age:?} older than {missed:?}",
                fetched.origin
            );
            self.stalest.fetch_max(u64::try_from(age.as_micros()).unwrap_or(u64::MAX), SeqCst);
        }
    }

    async fn write(&self, cache: &Cache<u64, u64>, process: usize, key: u64) {
        let write = || self.versions[key as usize].fetch_add(1, SeqCst) + 1;
        let (version, acknowledged) = match fastrand::u8(0..10) {
            0 => (write(), cache.invalidate_tag(&shelf(key)).await),
            1 => match cache.write_guard(&[key], Duration::from_secs(5)).await {
                Ok(guard) => (write(), guard.finish().await),
                Err(_) => (write(), cache.invalidate(&key).await),
            },
            _ => (write(), cache.invalidate(&key).await),
        };
        self.writes.fetch_add(1, SeqCst);
        if acknowledged.is_err() {
            self.unacknowledged.fetch_add(1, SeqCst);
            return;
        }
        let mut known = self.acknowledged[key as usize].lock().expect("no panic");
        known.push(Acknowledged { version, at: Instant::now(), process });
        // the latest of each process says all
        let latest: Vec<_> = known
            .iter()
            .filter(|one| {
                let later =
                    |other: &&Acknowledged| other.process == one.process && other.version > one.version;
                known.iter().find(later).is_none_or(|later| later.at.elapsed() < BOUND * 2)
            })
            .copied()
            .collect();
        *known = latest;
    }

    async fn task(self: Arc<Self>, cache: Cache<u64, u64>, process: usize) {
        while !self.over.load(SeqCst) {
            let key = fastrand::u64(0..KEYS);
            match fastrand::f64() < WRITES {
                true => self.write(&cache, process, key).await,
                false => self.read(&cache, process, key).await,
            }
            // a service does something else too; and a hit does not yield
            match fastrand::u8(0..16) {
                0 => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => tokio::task::yield_now().await,
            }
        }
    }
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) unacknowledged: u64,
    pub(crate) near: u64,
    pub(crate) far: u64,
    pub(crate) stalest: Duration,
    pub(crate) unverified: Duration,
    pub(crate) flushes: u64,
    pub(crate) pushes: u64,
    pub(crate) refused: u64,
}

impl Report {
    fn since(self, before: &Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
            unacknowledged: self.unacknowledged - before.unacknowledged,
            near: self.near - before.near,
            far: self.far - before.far,
            stalest: self.stalest,
            unverified: self.unverified - before.unverified,
            flushes: self.flushes - before.flushes,
            pushes: self.pushes - before.pushes,
            refused: self.refused - before.refused,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: u64| 100.0 * part as f64 / self.reads.max(1) as f64;
        write!(
            f,
            "{} reads ({:.1} % near, {:.1} % far), {} writes ({} unacknowledged), stalest elsewhere {:.1?}, {} pushes, \
             {} placements refused, {} flushes, unverified for {:.1?} (all processes together)",
            self.reads,
            share(self.near),
            share(self.far),
            self.writes,
            self.unacknowledged,
            self.stalest,
            self.pushes,
            self.refused,
            self.flushes,
            self.unverified
        )
    }
}

/// Several processes, each with a near tier of its own before one Redis.
pub(crate) struct Processes {
    truth: Arc<Truth>,
    pub(crate) caches: Vec<Cache<u64, u64>>,
}

impl Processes {
    pub(crate) fn new(handles: &[RedisBackend]) -> Self {
        let (truth, namespace) = (Truth::new(), super::namespace());
        let cache = |redis: &RedisBackend| {
            let source = Arc::clone(&truth);
            Cache::builder()
                .namespace(&namespace)
                .backend(Tiered::new(Quick::new(10_000), redis.encoded(Json)).max_staleness(BOUND))
                .source(source_fn(move |key: u64| Arc::clone(&source).load(key)))
                .strategy(Strategy::aside(Duration::from_secs(600)))
                .tag_keys(|key| [shelf(*key)])
                .build()
                .expect("a sound configuration")
        };
        Self { caches: handles.iter().map(cache).collect(), truth }
    }

    /// Reads and writes until `fault` is over; the report tells of this run alone.
    pub(crate) async fn run(&self, fault: impl Future<Output = ()>) -> Report {
        self.truth.over.store(false, SeqCst);
        self.truth.stalest.store(0, SeqCst);
        let before = self.report();
        let mut tasks = tokio::task::JoinSet::new();
        for (process, cache) in self.caches.iter().enumerate() {
            for _ in 0..TASKS {
                tasks.spawn(Arc::clone(&self.truth).task(cache.clone(), process));
            }
        }
        fault.await;
        self.truth.over.store(true, SeqCst);
        while let Some(ended) = tasks.join_next().await {
            ended.expect("nothing was too old");
        }
        self.report().since(&before)
    }

    /// All runs together.
    fn report(&self) -> Report {
        let stats: Vec<Stats> = self.caches.iter().map(Cache::stats).collect();
        let sum = |of: fn(&Stats) -> u64| stats.iter().map(of).sum();
        Report {
            reads: self.truth.reads.load(SeqCst),
            writes: self.truth.writes.load(SeqCst),
            unacknowledged: self.truth.unacknowledged.load(SeqCst),
            near: self.truth.near.load(SeqCst),
            far: self.truth.far.load(SeqCst),
            stalest: Duration::from_micros(self.truth.stalest.load(SeqCst)),
            unverified: stats.iter().map(|stats| stats.unverified).sum(),
            flushes: sum(|stats| stats.near_flushes),
            pushes: sum(|stats| stats.pushes),
            refused: sum(|stats| stats.near_refused),
        }
    }
}
