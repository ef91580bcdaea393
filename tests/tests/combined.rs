//! Strategies together: every pair, in any order, keeps every promise, and the order makes no difference.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use common::Table;
use larder::clock::{Clock as _, ManualClock, Timestamp};
use larder::codec::Json;
use larder::strategy::EarlyRefresh;
use larder::{Cache, CacheBuilder, ErrorKind, Quick, Strategy, Tag, Tiered};
use larder_memory::MemoryServer;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

const TTL: Duration = Duration::from_secs(10);
const REVALIDATE: Duration = Duration::from_secs(20);
const ON_ERROR: Duration = Duration::from_secs(40);
const NEAR: Duration = Duration::from_secs(1);
const KEYS: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Feature {
    StaleWhileRevalidate,
    StaleIfError,
    Backoff,
    EarlyRefresh,
    EagerRefresh,
    Tagged,
    KeyTags,
    Locked,
    LimitLoads,
    Gather,
    Conditional,
    HardTimeout,
    NegativeTtl,
    Jitter,
    Lease,
}

use Feature as F;

const ALL: [Feature; 15] = [
    F::StaleWhileRevalidate,
    F::StaleIfError,
    F::Backoff,
    F::EarlyRefresh,
    F::EagerRefresh,
    F::Tagged,
    F::KeyTags,
    F::Locked,
    F::LimitLoads,
    F::Gather,
    F::Conditional,
    F::HardTimeout,
    F::NegativeTtl,
    F::Jitter,
    F::Lease,
];

/// One replaces the other, or `build()` refuses both.
const EXCLUSIVE: [[Feature; 2]; 2] = [[F::EarlyRefresh, F::EagerRefresh], [F::Gather, F::Conditional]];

fn tag(value: &u64) -> Tag {
    Tag::new("last digit", value % 10)
}

struct World {
    table: Table,
    clock: ManualClock,
    caches: Vec<Cache<u64, u64>>,
    /// The versions of each key, with the times from which they were current.
    versions: BTreeMap<u64, Vec<(Timestamp, u64)>>,
    /// The first of them that may still be read.
    acknowledged: BTreeMap<u64, usize>,
    failing: bool,
    next: u64,
    features: Vec<Feature>,
    trace: String,
}

impl World {
    fn new(features: &[Feature], near: bool, seed: u64) -> Self {
        fastrand::seed(seed);
        let clock = ManualClock::new();
        let server = MemoryServer::with_clock(clock.clone()).seed(seed);
        let table = Table::with((0..KEYS).map(|key| (key, key)));
        let now = clock.now();
        let caches = ["one", "two"].map(|process| {
            let memory = server.connect(process);
            let builder = Cache::builder().namespace("combined").clock(clock.clone());
            let builder = match near {
                true => builder.backend(Tiered::new(Quick::new(100), memory.encoded(Json)).near_ttl(NEAR)),
                false => builder.backend(memory.encoded(Json)),
            };
            let mut builder: CacheBuilder<u64, u64> = builder.batch_source(table.clone());
            let mut strategy = Strategy::aside(TTL);
            for feature in features {
                strategy = match feature {
                    F::StaleWhileRevalidate => strategy.stale_while_revalidate(REVALIDATE),
                    F::StaleIfError => strategy.stale_if_error(ON_ERROR),
                    F::Backoff => {
                        strategy.min_backoff(Duration::from_secs(2)).max_backoff(Duration::from_secs(5))
                    }
                    F::EarlyRefresh => strategy.early_refresh(EarlyRefresh::probabilistic(1.0)),
                    F::EagerRefresh => strategy.early_refresh(EarlyRefresh::after(0.5)),
                    F::Tagged => strategy.tagged(|value| [tag(value)]),
                    F::Locked => strategy.locked(memory.locks()),
                    F::LimitLoads => strategy.max_concurrent_loads(2).max_queued_loads(100),
                    F::Gather => strategy.batch_window(Duration::from_millis(2)).max_batch(2),
                    F::HardTimeout => strategy.hard_timeout(Duration::from_secs(5)),
                    F::NegativeTtl => strategy.negative_ttl(TTL),
                    F::Jitter => strategy.jitter(0.2),
                    F::Lease => strategy.lease(Duration::from_secs(100)),
                    F::KeyTags => {
                        builder = builder.tag_keys(|key| [Tag::new("key", *key)]);
                        strategy
                    }
                    F::Conditional => {
                        builder = builder.conditional_source(table.clone());
                        strategy
                    }
                };
            }
            builder.strategy(strategy).build().unwrap()
        });
        Self {
            table,
            clock,
            caches: caches.into(),
            versions: (0..KEYS).map(|key| (key, vec![(now, key)])).collect(),
            acknowledged: (0..KEYS).map(|key| (key, 0)).collect(),
            failing: false,
            next: 100,
            features: features.to_vec(),
            trace: String::new(),
        }
    }

    fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Writes a row; answers the version before.
    fn write(&mut self, key: u64) -> u64 {
        let before = self.table.row(key).unwrap();
        self.next += 1;
        self.table.set(key, self.next);
        self.versions.get_mut(&key).unwrap().push((self.clock.now(), self.next));
        before
    }

    fn acknowledge(&mut self, key: u64) {
        self.acknowledged.insert(key, self.versions[&key].len() - 1);
    }

    /// Checks that an answer keeps the guarantees: not older than the last acknowledged invalidation, and not older
    /// than the strategy allows.
    fn check(&self, key: u64, value: Option<u64>) {
        let versions = &self.versions[&key];
        let value =
            value.unwrap_or_else(|| panic!("{key} is there, and the cache says it is not\n{}", self.trace));
        let found = versions.iter().position(|(_, version)| *version == value);
        let found = found.unwrap_or_else(|| panic!("{value} was never a value of {key}\n{}", self.trace));
        assert!(
            found >= self.acknowledged[&key],
            "{key}: {value} was invalidated ({:?})\n{}",
            self.features,
            self.trace
        );
        let window = match (self.has(F::StaleWhileRevalidate), self.has(F::StaleIfError)) {
            (_, true) => ON_ERROR,
            (true, false) => REVALIDATE,
            (false, false) => Duration::ZERO,
        };
        if let Some((replaced, _)) = versions.get(found + 1) {
            let age = replaced.until(self.clock.now());
            assert!(
                age <= TTL + window,
                "{key}: {value} is {age:?} too old ({:?})\n{}",
                self.features,
                self.trace
            );
        }
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.trace, "{:?} {what}", self.clock.now()).unwrap();
    }

    async fn step(&mut self, random: &mut SmallRng) {
        let (key, process) = (random.random_range(0..KEYS), random.random_range(0..2usize));
        let cache = self.caches[process].clone();
        match random.random_range(0..100) {
            0..40 => {
                let answer = cache.get_entry(&key).await;
                self.note(format_args!("{process} get {key}: {answer:?}"));
                match answer {
                    Ok(fetched) => self.check(key, fetched.value.as_deref().copied()),
                    Err(error) => self.check_error(&error),
                }
            }
            40..50 => {
                let answers = cache.get_many_entries(&[0, 1, 2]).await.unwrap();
                self.note(format_args!("{process} get all: {answers:?}"));
                for (key, answer) in (0..).zip(answers) {
                    match answer {
                        Ok(found) => self.check(key, found.value.as_deref().copied()),
                        Err(error) => self.check_error(&error),
                    }
                }
            }
            50..58 => {
                self.write(key);
                cache.invalidate(&key).await.unwrap();
                self.reach_the_other(process).await;
                self.acknowledge(key);
                self.note(format_args!("{process} write and invalidate {key}"));
            }
            58..66 if self.has(F::Tagged) => {
                let before = self.write(key);
                let tags = [tag(&before), tag(&self.next)];
                // what was written without an invalidation may be cached with other tags
                let old: Vec<Tag> = self.versions[&key].iter().map(|(_, version)| tag(version)).collect();
                cache.invalidate_tags(&[&tags[..], &old].concat()).await.unwrap();
                self.reach_the_other(process).await;
                self.acknowledge(key);
                self.note(format_args!("{process} write {key} and invalidate its tags"));
            }
            66..70 if self.has(F::KeyTags) => {
                self.write(key);
                cache.invalidate_tag(&Tag::new("key", key)).await.unwrap();
                self.reach_the_other(process).await;
                self.acknowledge(key);
                self.note(format_args!("{process} write {key} and invalidate the key's tag"));
            }
            70..74 => {
                let guard = cache.write_guard(&[key], Duration::from_secs(60)).await.unwrap();
                self.reach_the_other(process).await;
                self.write(key);
                self.acknowledge(key);
                let value = self.caches[1 - process].get(&key).await;
                self.note(format_args!("{process} write {key} under a guard: {value:?}"));
                match value {
                    Ok(value) => self.check(key, value.as_deref().copied()),
                    Err(error) => self.check_error(&error),
                }
                guard.finish().await.unwrap();
            }
            74..78 => {
                self.write(key);
                self.note(format_args!("write {key} behind the cache's back"));
            }
            78..82 => {
                self.failing = !self.failing;
                self.table.fail(self.failing.then_some("down"));
                let failing = self.failing;
                self.note(format_args!("failing: {failing}"));
            }
            82..83 => {
                let answer = cache.refresh(&key).await;
                self.note(format_args!("{process} refresh {key}: {answer:?}"));
            }
            83..85 => {
                let report = cache.warm(0..KEYS).batch(2).retries(1).run().await;
                self.note(format_args!("{process} warm: {report:?}"));
                assert!(self.failing || report.failed.is_empty(), "{}", self.trace);
            }
            85..94 => {
                self.clock.advance(Duration::from_millis(random.random_range(1..15_000)));
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }

    /// A near tier of another process learns of an invalidation within its bound.
    async fn reach_the_other(&self, _process: usize) {
        self.clock.advance(NEAR);
    }

    fn check_error(&self, error: &larder::Error) {
        assert!(self.failing && error.kind() == ErrorKind::Source, "{error:?}\n{}", self.trace);
    }
}

/// Walks at random, and answers what was seen.
async fn walk(features: &[Feature], near: bool, seed: u64, steps: usize) -> String {
    let mut world = World::new(features, near, seed);
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..steps {
        world.step(&mut random).await;
    }
    for cache in world.caches.clone() {
        cache.shutdown().await.unwrap();
        assert_eq!((cache.in_flight(), cache.unacknowledged()), (0, 0));
        let stats = cache.stats();
        let counted = [stats.reads(), stats.hits(), stats.loads, stats.stale_served, stats.fills];
        world.note(format_args!("{counted:?}"));
    }
    world.trace
}

fn is_possible(features: &[Feature]) -> bool {
    EXCLUSIVE.iter().all(|pair| !pair.iter().all(|feature| features.contains(feature)))
}

fn pairs() -> Vec<[Feature; 2]> {
    let pair = |(at, &one): (usize, &Feature)| ALL[at + 1..].iter().map(move |&other| [one, other]);
    ALL.iter().enumerate().flat_map(pair).filter(|pair| is_possible(pair)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_pair_keeps_every_promise() {
    for (seed, pair) in (0..).zip(pairs()) {
        for near in [false, true] {
            walk(&pair, near, seed, 400).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn any_combination_keeps_every_promise() {
    for seed in 0..150 {
        let mut random = SmallRng::seed_from_u64(seed);
        let features: BTreeSet<Feature> = ALL.into_iter().filter(|_| random.random_bool(0.5)).collect();
        let mut features: Vec<Feature> = features.into_iter().collect();
        for [one, other] in EXCLUSIVE {
            if features.contains(&one) && features.contains(&other) {
                let gone = *[one, other].choose(&mut random).unwrap();
                features.retain(|feature| *feature != gone);
            }
        }
        features.shuffle(&mut random);
        walk(&features, seed % 2 == 0, seed, 400).await;
    }
}

fn orders(features: &[Feature]) -> Vec<Vec<Feature>> {
    if features.len() < 2 {
        return vec![features.to_vec()];
    }
    let mut all = vec![];
    for (at, &first) in features.iter().enumerate() {
        let rest: Vec<Feature> =
            features.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, f)| *f).collect();
        all.extend(orders(&rest).into_iter().map(|rest| [vec![first], rest].concat()));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn all_orders_of_composition_behave_alike() {
    let sets = [
        vec![F::StaleWhileRevalidate, F::Locked, F::Tagged, F::EagerRefresh],
        vec![F::StaleIfError, F::Backoff, F::LimitLoads, F::Gather],
        vec![F::StaleWhileRevalidate, F::Conditional, F::Tagged, F::Jitter],
        vec![F::Locked, F::EarlyRefresh, F::KeyTags, F::HardTimeout],
    ];
    for (seed, set) in (0..).zip(sets) {
        let mut seen: Option<String> = None;
        for order in orders(&set) {
            let trace = walk(&order, false, seed, 200).await;
            let first = seen.get_or_insert_with(|| trace.clone());
            assert_eq!(*first, trace, "{order:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everything_at_once_behaves_alike_in_any_order() {
    let excluded = [F::EagerRefresh, F::Conditional];
    let mut features: Vec<Feature> = ALL.into_iter().filter(|feature| !excluded.contains(feature)).collect();
    let mut random = SmallRng::seed_from_u64(1);
    let first = walk(&features, true, 1, 400).await;
    for _ in 0..30 {
        features.shuffle(&mut random);
        assert_eq!(walk(&features, true, 1, 400).await, first, "{features:?}");
    }
}

#[test]
fn what_excludes_each_other_is_refused_or_replaced() {
    let builder = Cache::builder().backend(Quick::new(10)).conditional_source(Table::default());
    let refused = builder.strategy(Strategy::aside(TTL).batch_window(NEAR).max_batch(10)).build();
    assert!(refused.unwrap_err().to_string().contains(".batch_source(..)"));
}
