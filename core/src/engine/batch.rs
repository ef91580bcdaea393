//! Reading many keys: one look at the near tier (L1), one round trip to the backend, one load of the missing keys.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::load::{Approach, Boarded, Load, Plan};
use super::read::{Answer, Found, Reading};
use super::wait::{Arrival, Deadlines, For, patience};
use super::{DynSource, Engine, Key, Value};
use crate::backend::{CacheBackend, Entry, Recency};
use crate::cache::Origin;
use crate::observe::{MissCause, Tier};
use crate::strategy::Verdict;
use crate::{Error, ErrorKind, Result};

/// The maximum of loads that a `get_many` has under way when its source loads one key at a time.
const LOADS_AT_ONCE: usize = 32;

/// A key of a batch that the near tier (L1) did not answer.
struct Wanted<'a, K, V> {
    key: &'a K,
    /// The position of its answer.
    at: usize,
    /// The cached entry of the key that is not good enough.
    known: Option<Entry<V>>,
    reading: Reading<'a>,
}

impl<K, V> Wanted<'_, K, V> {
    /// Adds the reason of the miss to the answer of a load.
    fn missed(&self, answer: Answer<V>) -> Answer<V> {
        Answer { missed: Some(self.reading.cause), ..answer }
    }
}

/// The results taken from the answers to a batch, aligned with its keys; `None` for a key without an answer yet.
struct Answers<T, F> {
    taken: Vec<Option<Result<T>>>,
    take: F,
}

impl<T, F> Answers<T, F> {
    fn put<V>(&mut self, at: usize, answer: Result<Answer<V>>)
    where
        F: Fn(Answer<V>) -> T,
    {
        self.taken[at] = Some(answer.map(&self.take));
    }
}

/// The keys without an answer yet.
struct Missing<'a, K, V> {
    /// Each distinct key once.
    wanted: Vec<Wanted<'a, K, V>>,
    repeated: Vec<Repeated<'a>>,
}

/// A further position of a key that is requested more than once.
struct Repeated<'a> {
    at: usize,
    /// The first position of the key.
    first: usize,
    reading: Reading<'a>,
}

fn missing<'a, K: Key, V, T>(
    keys: &'a [K],
    answers: &[Option<Result<T>>],
    reading: impl Fn() -> Reading<'a>,
) -> Missing<'a, K, V> {
    let unanswered = || (0..keys.len()).filter(|&at| answers[at].is_none());
    let count = unanswered().count();
    let (mut wanted, mut repeated) = (Vec::with_capacity(count), Vec::new());
    let mut seen = HashMap::with_capacity_and_hasher(count, RandomState::default());
    for at in unanswered() {
        let key = &keys[at];
        match *seen.entry(key).or_insert(at) {
            first if first == at => wanted.push(Wanted { key, at, known: None, reading: reading() }),
            first => repeated.push(Repeated { at, first, reading: reading() }),
        }
    }
    Missing { wanted, repeated }
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Returns the results that `take` takes from the answers to `keys`, aligned with them.
    /// Each distinct missing key is loaded once, from `source`.
    pub(crate) async fn read_many<T: Clone + Send>(
        self: &Arc<Self>,
        keys: &[K],
        source: &Arc<dyn DynSource<K, V>>,
        whom: For,
        take: impl Fn(Answer<V>) -> T + Copy + Send + Sync,
    ) -> Result<Vec<Result<T>>> {
        let recent = self.clock.recent();
        let near = |entry| Ok(take(Answer::cached(entry, Origin::Near, recent)));
        let taken: Vec<_> =
            keys.iter().map(|key| self.peek_at(key, recent, Recency::Touch).map(near)).collect();
        let mut answers = Answers { taken, take };
        if answers.taken.iter().any(Option::is_none) {
            if self.pending.any() {
                self.retry_pending();
            }
            let Missing { wanted, mut repeated } = missing(keys, &answers.taken, || self.reading());
            let start = self.sequence.now();
            let (mut absent, approach) = self.read_far_many(wanted, source, &mut answers).await;
            let causes: HashMap<usize, MissCause> =
                absent.iter().map(|wanted| (wanted.at, wanted.reading.cause)).collect();
            for Repeated { first, reading, .. } in &mut repeated {
                match causes.get(first) {
                    Some(cause) => reading.cause = *cause,
                    None => reading.hit(Tier::Far),
                }
            }
            let deadlines = self.deadlines(whom);
            self.load_many(start, source, &mut absent, approach, deadlines, &mut answers).await?;
            for Repeated { at, first, .. } in repeated {
                answers.taken[at] = answers.taken[first].clone();
            }
        }
        let unanswered = || Err(Error::new(ErrorKind::Closed, "the key was not read"));
        Ok(answers.taken.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect())
    }

    /// Asks the backend for all keys in one round trip. Answers those with an entry and refreshes those that are due
    /// in the background. Returns the absent ones.
    async fn read_far_many<'a, T: Send>(
        self: &Arc<Self>,
        wanted: Vec<Wanted<'a, K, V>>,
        source: &Arc<dyn DynSource<K, V>>,
        answers: &mut Answers<T, impl Fn(Answer<V>) -> T + Send>,
    ) -> (Vec<Wanted<'a, K, V>>, Approach) {
        let (mut absent, open) = match self.pending.any() {
            true => wanted.into_iter().partition(|wanted| self.pending.holds(wanted.key)),
            false => (vec![], wanted),
        };
        absent.iter_mut().for_each(|wanted| wanted.reading.cause = MissCause::Unacknowledged);
        let asked: Vec<K> = open.iter().map(|wanted| wanted.key.clone()).collect();
        let doubts = self.pending.doubts();
        let found = self.backend.get_many(&asked, self.clock.now()).await.and_then(|found| {
            let message = "get_many answered another number of entries than was asked for";
            let aligned = found.len() == asked.len();
            aligned.then_some(found).ok_or_else(|| Error::new(ErrorKind::Backend, message))
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.degraded("get_many", &error);
                absent.extend(open.into_iter().map(|mut wanted| {
                    wanted.reading.cause = MissCause::Unreachable;
                    wanted
                }));
                return (absent, Approach::Alone);
            }
        };
        let now = self.clock.now();
        let mut due = Vec::new();
        for (mut wanted, entry) in open.into_iter().zip(found) {
            let stands = |entry: &Entry<V>| self.stands(wanted.key, entry) && !doubts.end(entry);
            let Some(entry) = entry.filter(|entry| entry.is_alive(now) && stands(entry)) else {
                wanted.reading.cause = MissCause::Absent;
                absent.push(wanted);
                continue;
            };
            let verdict = self.strategy.settings.judge(&entry, now, fastrand::f64);
            let found = Found { entry, tier: Tier::Far, verdict, now };
            match self.serve(wanted.key, found, Some(&mut wanted.reading)) {
                Ok((answer, verdict)) => {
                    if verdict == Verdict::Due && self.is_refreshable(wanted.key) {
                        due.push((wanted.key, Some(answer.entry.clone())));
                    }
                    answers.put(wanted.at, Ok(answer));
                }
                Err(expired) => {
                    (wanted.known, wanted.reading.cause) = (Some(expired), MissCause::Expired);
                    absent.push(wanted);
                }
            }
        }
        self.refresh_many_behind(source, due);
        (absent, Approach::Missing)
    }

    /// Loads the keys that are due together, in the background.
    fn refresh_many_behind(
        self: &Arc<Self>,
        source: &Arc<dyn DynSource<K, V>>,
        mut due: Vec<(&K, Option<Entry<V>>)>,
    ) {
        if !source.is_batched() {
            // Prevents: a rush of loads of keys that can be served; the others are due at their next read too
            due.truncate(self.loads_at_once(&**source, LOADS_AT_ONCE));
        }
        let Some(patience) = due.iter().filter_map(|(_, entry)| entry.as_ref().map(patience)).max() else {
            return;
        };
        if let Err(error) = self.board_all(source, due, Approach::Missing, Some(patience)) {
            tracing::debug!(%error, "entries were not refreshed");
        }
    }

    /// Returns the maximum of loads that a batch has under way: all if they are one load, else at most the limit on
    /// loads. Beyond the limit, a batch would be refused because of its own width.
    fn loads_at_once(&self, source: &dyn DynSource<K, V>, keys: usize) -> usize {
        if source.is_batched() {
            return keys.max(1);
        }
        self.strategy.settings.limit().map_or(LOADS_AT_ONCE, |limit| limit.loads.clamp(1, LOADS_AT_ONCE))
    }

    /// Returns the maximum of batches that a warm-up has under way: one if a batch is as wide as the limit on loads.
    pub(crate) fn batches_at_once(&self, most: usize) -> usize {
        let is_limited = self.strategy.settings.limit().is_some() && !self.is_batched();
        if is_limited { 1 } else { most }
    }

    async fn load_many<T: Send>(
        self: &Arc<Self>,
        start: u64,
        source: &Arc<dyn DynSource<K, V>>,
        absent: &mut [Wanted<'_, K, V>],
        approach: Approach,
        deadlines: Deadlines,
        answers: &mut Answers<T, impl Fn(Answer<V>) -> T + Send>,
    ) -> Result<()> {
        let at_once = self.loads_at_once(&**source, absent.len());
        for absent in absent.chunks_mut(at_once) {
            // a caller whose limit has passed begins no more loads
            let (late, wanted): (Vec<_>, Vec<_>) =
                absent.iter_mut().partition(|wanted| self.is_over(wanted.known.as_ref(), deadlines));
            for wanted in late {
                let never = std::future::pending();
                let answer = self.awaited(wanted.key, wanted.known.take(), deadlines, pin!(never)).await;
                answers.put(wanted.at, answer.map(|answer| wanted.missed(answer)));
            }
            let keys = wanted.iter().map(|wanted| (wanted.key, wanted.known.clone())).collect();
            let flights = self.board_all(source, keys, approach, None)?;
            for (wanted, boarded) in wanted.into_iter().zip(flights) {
                let reading = self.read_boarded(wanted.key, start, source, boarded, approach);
                let answer = self.awaited(wanted.key, wanted.known.take(), deadlines, pin!(reading)).await;
                answers.put(wanted.at, answer.map(|answer| wanted.missed(answer)));
            }
        }
        Ok(())
    }

    /// Returns the answer of a flight; if that is none, the answer of another flight.
    async fn read_boarded(
        self: &Arc<Self>,
        key: &K,
        start: u64,
        source: &Arc<dyn DynSource<K, V>>,
        boarded: Boarded<V>,
        approach: Approach,
    ) -> Result<Answer<V>> {
        let (answer, approach) = match self.arrival(key, &boarded).await {
            Arrival::Outcome(outcome) => (self.acceptable(outcome, start, boarded.leads), approach),
            // (with its own plan: the source, which any leader can call)
            Arrival::InVain | Arrival::Abandoned(_) => (None, approach),
            Arrival::Hangs => (None, approach.overtaking()),
        };
        match answer {
            Some(answer) => answer,
            None => {
                let mut plan = Some(Plan::new(Load::From(Arc::clone(source)), approach));
                self.read_source(key, start, &mut plan).await
            }
        }
    }
}
