//! The engine beside a model of a cache that fits on a page. After any acts in any order, both answer the same from
//! the same place, load as often, and fail alike.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::{Table, over, settle};
use larder::clock::ManualClock;
use larder::codec::Json;
use larder::{Cache, Quick, Strategy as Caching, Tag, Tiered};
use larder_memory::MemoryServer;
use proptest::prelude::*;

const KEYS: u64 = 5;
const TAGS: u64 = 2;
// time moves in sevens of milliseconds: no life ends at the very moment of a read
const STEP: u64 = 7;
const TTL: u64 = 1_003;
const NEGATIVE_TTL: u64 = 402;

/// Something that is done, and waited for.
#[derive(Debug, Clone)]
enum Act {
    /// The source changes, without an invalidation.
    Write(u64, Option<u64>),
    Get(u64),
    GetMany(Vec<u64>),
    GetOrLoad(u64, u64),
    Lookup(u64),
    Refresh(u64),
    Insert(u64, u64),
    Invalidate(u64),
    InvalidateMany(Vec<u64>),
    InvalidateTag(u64),
    Clear,
    /// The source fails from now on, or no more.
    Fail(bool),
    /// Time passes, in steps.
    Wait(u64),
    /// The store loses everything.
    Flush,
}

fn act() -> impl Strategy<Value = Act> {
    let key = || 0..KEYS;
    let keys = || proptest::collection::vec(0..KEYS, 0..6);
    prop_oneof![
        4 => (key(), proptest::option::weighted(0.8, any::<u64>())).prop_map(|(key, row)| Act::Write(key, row)),
        10 => key().prop_map(Act::Get),
        4 => keys().prop_map(Act::GetMany),
        2 => (key(), any::<u64>()).prop_map(|(key, value)| Act::GetOrLoad(key, value)),
        3 => key().prop_map(Act::Lookup),
        2 => key().prop_map(Act::Refresh),
        2 => (key(), any::<u64>()).prop_map(|(key, value)| Act::Insert(key, value)),
        3 => key().prop_map(Act::Invalidate),
        1 => keys().prop_map(Act::InvalidateMany),
        2 => (0..TAGS).prop_map(Act::InvalidateTag),
        1 => Just(Act::Clear),
        2 => any::<bool>().prop_map(Act::Fail),
        5 => (0..120u64).prop_map(Act::Wait),
        1 => Just(Act::Flush),
    ]
}

/// The answer for one key: `Err` if the source fails.
type Answer = Result<Option<u64>, ()>;

/// A value, or that there is none, and when that ends.
#[derive(Clone, Copy)]
struct Kept {
    value: Option<u64>,
    end: u64,
}

/// A cache as its documentation has it.
#[derive(Default)]
struct Model {
    rows: HashMap<u64, u64>,
    failing: bool,
    now: u64,
    kept: HashMap<u64, Kept>,
    /// The number of calls to the source, each for any number of keys.
    loads: u64,
}

impl Model {
    fn cached(&self, key: u64) -> Option<Kept> {
        self.kept.get(&key).filter(|kept| self.now < kept.end).copied()
    }

    fn keep(&mut self, key: u64, value: Option<u64>) {
        let life = if value.is_some() { TTL } else { NEGATIVE_TTL };
        self.kept.insert(key, Kept { value, end: self.now + life });
    }

    fn load(&mut self, key: u64) -> Answer {
        if self.failing {
            return Err(());
        }
        let row = self.rows.get(&key).copied();
        self.keep(key, row);
        Ok(row)
    }

    /// Reads these keys, and loads the missing ones together.
    fn get(&mut self, keys: &[u64]) -> Vec<Answer> {
        self.loads += u64::from(keys.iter().any(|key| self.cached(*key).is_none()));
        let mut answers = HashMap::new();
        for &key in keys {
            answers
                .entry(key)
                .or_insert_with(|| self.cached(key).map_or_else(|| self.load(key), |kept| Ok(kept.value)));
        }
        keys.iter().map(|key| answers[key]).collect()
    }

    /// Returns the answers to one act, key by key.
    fn act(&mut self, act: &Act) -> Vec<Answer> {
        match act {
            Act::Write(key, row) => {
                match row {
                    Some(value) => self.rows.insert(*key, *value),
                    None => self.rows.remove(key),
                };
            }
            Act::Get(key) => return self.get(&[*key]),
            Act::GetMany(keys) => return self.get(keys),
            Act::GetOrLoad(key, value) => {
                if self.cached(*key).is_none() {
                    self.loads += 1;
                    self.keep(*key, Some(*value));
                }
                return vec![Ok(self.cached(*key).and_then(|kept| kept.value))];
            }
            Act::Lookup(key) => return self.cached(*key).map(|kept| Ok(kept.value)).into_iter().collect(),
            Act::Refresh(key) => {
                self.loads += 1;
                return vec![self.load(*key)];
            }
            Act::Insert(key, value) => self.keep(*key, Some(*value)),
            Act::Invalidate(key) => _ = self.kept.remove(key),
            Act::InvalidateMany(keys) => keys.iter().for_each(|key| _ = self.kept.remove(key)),
            Act::InvalidateTag(tag) => self.kept.retain(|key, _| key % TAGS != *tag),
            Act::Clear | Act::Flush => self.kept.clear(),
            Act::Fail(failing) => self.failing = *failing,
            Act::Wait(steps) => self.now += steps * STEP,
        }
        vec![]
    }
}

/// The real thing.
struct Real {
    table: Table,
    clock: ManualClock,
    server: MemoryServer,
    cache: Cache<u64, u64>,
}

fn answer(found: larder::Result<Option<std::sync::Arc<u64>>>) -> Answer {
    found.map(|value| value.as_deref().copied()).map_err(|_| ())
}

impl Real {
    fn new(near: Option<u64>) -> Self {
        let (table, clock) = (Table::default(), ManualClock::new());
        let server = MemoryServer::with_clock(clock.clone());
        let strategy = Caching::aside(Duration::from_millis(TTL))
            .negative_ttl(Duration::from_millis(NEGATIVE_TTL))
            .jitter(0.0);
        let far = server.connect("one").encoded(Json);
        let builder = over(&table, &clock).strategy(strategy).tag_keys(|key| [Tag::new("n", key % TAGS)]);
        let built = match near {
            Some(most) => builder.backend(Tiered::new(Quick::new(most), far)).build(),
            None => builder.backend(far).build(),
        };
        Self { table, clock, server, cache: built.unwrap() }
    }

    async fn act(&self, act: &Act) -> Vec<Answer> {
        let cache = &self.cache;
        match act {
            Act::Write(key, Some(value)) => self.table.set(*key, *value),
            Act::Write(key, None) => self.table.delete(*key),
            Act::Get(key) => return vec![answer(cache.get(key).await)],
            Act::GetMany(keys) => {
                let found = cache.get_many_entries(keys).await.unwrap().into_iter();
                return found.map(|found| answer(found.map(|found| found.value))).collect();
            }
            Act::GetOrLoad(key, value) => {
                let value = *value;
                return vec![answer(
                    cache.get_or_load(key, move || async move { Ok::<_, std::io::Error>(value) }).await,
                )];
            }
            Act::Lookup(key) => {
                let found = cache.get_if_present(key).await.unwrap();
                return found.into_iter().map(|found| Ok(found.value.as_deref().copied())).collect();
            }
            Act::Refresh(key) => return vec![answer(cache.refresh(key).await)],
            Act::Insert(key, value) => cache.insert(key, *value).await.unwrap(),
            Act::Invalidate(key) => cache.invalidate(key).await.unwrap(),
            Act::InvalidateMany(keys) => cache.invalidate_many(keys).await.unwrap(),
            Act::InvalidateTag(tag) => cache.invalidate_tag(&Tag::new("n", tag)).await.unwrap(),
            Act::Clear => cache.clear().await.unwrap(),
            Act::Fail(failing) => self.table.fail(failing.then_some("told to")),
            Act::Wait(steps) => self.clock.advance(Duration::from_millis(steps * STEP)),
            Act::Flush => {
                self.server.flush();
                // near tiers are told
                settle().await;
            }
        }
        vec![]
    }
}

/// Does the same with both.
fn agree(near: Option<u64>, acts: &[Act]) -> Result<(), TestCaseError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (real, mut model) = (Real::new(near), Model::default());
        for (number, act) in acts.iter().enumerate() {
            let (expected, found) = (model.act(act), real.act(act).await);
            prop_assert_eq!(found, expected, "act {}: {:?}", number, act);
            prop_assert_eq!(real.cache.stats().loads, model.loads, "loads after act {}: {:?}", number, act);
        }
        prop_assert_eq!(real.cache.in_flight() + real.cache.unacknowledged(), 0);
        prop_assert_eq!(real.server.fences(), 0, "no fence is left standing");
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_tier_is_what_the_model_is(acts in proptest::collection::vec(act(), 1..60)) {
        agree(None, &acts)?;
    }

    #[test]
    fn two_tiers_are_what_the_model_is(acts in proptest::collection::vec(act(), 1..60), most in 1..8u64) {
        // where an entry is makes no difference to what is read
        agree(Some(most), &acts)?;
    }
}
