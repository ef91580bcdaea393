//! The pipeline of a read that this process's memory did not answer.

use std::pin::pin;
use std::sync::Arc;

use super::load::{Approach, Load, Plan};
use super::wait::{Arrival, For, patience};
use super::{DynSource, Engine, Key, Seen, Value};
use crate::backend::{CacheBackend, Entry};
use crate::cache::Origin;
use crate::clock::{CacheClock, Timestamp};
use crate::observe::{Event, MissCause, Recorder, Tier};
use crate::strategy::Verdict;
use crate::{Error, Result, mutation};
/// How often a reader begins again by itself when the flights it joined were abandoned.
const MOST_TAKEOVERS: u32 = 3;

/// The answer to a read: the entry, and where it came from.
pub(crate) struct Answer<V> {
    pub(crate) entry: Entry<V>,
    pub(crate) origin: Origin,
    pub(crate) now: Timestamp,
    /// What the read found at first, if it missed.
    pub(crate) missed: Option<MissCause>,
    /// Whether the cache keeps the entry.
    pub(crate) kept: bool,
}

impl<V> Answer<V> {
    /// The answer of an entry that is cached.
    pub(super) fn cached(entry: Entry<V>, origin: Origin, now: Timestamp) -> Self {
        Self { entry, origin, now, missed: None, kept: true }
    }
}

/// An entry that was found, and what is to be done with it.
pub(super) struct Found<V> {
    pub(super) entry: Entry<V>,
    pub(super) tier: Tier,
    pub(super) verdict: Verdict,
    pub(super) now: Timestamp,
}

/// A read that this process's memory did not answer. Counts as one miss when it is dropped, unless it became a hit:
/// whatever becomes of its caller, one read is one hit or one miss.
pub(super) struct Reading<'a> {
    recorder: &'a Recorder,
    clock: &'a CacheClock,
    pub(super) began: Timestamp,
    /// What the read found, as far as it is known.
    pub(super) cause: MissCause,
    is_hit: bool,
}

impl Reading<'_> {
    /// Counts the read as a hit.
    pub(super) fn hit(&mut self, tier: Tier) {
        self.is_hit = true;
        self.recorder.record(&Event::Hit { tier });
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if !self.is_hit {
            let elapsed = self.began.until(self.clock.now());
            self.recorder.record(&Event::Missed { elapsed, cause: self.cause });
        }
    }
}

impl<K: Key, V: Value> Engine<K, V> {
    /// The registered source.
    pub(crate) fn registered(&self) -> Result<&Arc<dyn DynSource<K, V>>> {
        self.source.as_ref().ok_or_else(|| {
            Error::config("this cache has no source: call `.source(..)` on its builder, or use `get_or_load`")
        })
    }

    /// Whether the registered source loads many keys at once.
    pub(super) fn is_batched(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_batched())
    }

    /// Reads what is cached, and loads if that is not good enough. The load is only made when it is needed. `seen` is what the
    /// first look at this process's memory saw.
    pub(crate) async fn read(
        self: &Arc<Self>,
        key: &K,
        seen: Seen,
        load: impl FnOnce() -> Load<K, V> + Send,
    ) -> Result<Answer<V>> {
        if self.pending.any() {
            self.retry_pending();
        }
        let mut reading = self.reading();
        // taken before anything is sent: what is proved current at or after this is fresh enough for this caller
        let start = self.sequence.now();
        let (known, approach, cause) = match self.find(key, seen, reading.began).await {
            Ok(Some(found)) => match self.serve(key, found, Some(&mut reading)) {
                Ok((answer, verdict)) => {
                    if verdict == Verdict::Due {
                        self.refresh_behind(key, &answer.entry, load);
                    }
                    return Ok(answer);
                }
                Err(expired) => (Some(expired), Approach::Missing, MissCause::Expired),
            },
            Ok(None) => (None, Approach::Missing, self.absence(key)),
            Err(error) => {
                self.degraded("get", &error);
                (None, Approach::Alone, MissCause::Unreachable)
            }
        };
        reading.cause = cause;
        let (deadlines, mut plan) = (self.deadlines(For::Reader), Some(Plan::new(load(), approach)));
        if let Some(plan) = &mut plan {
            plan.known.clone_from(&known);
        }
        let reading_source = pin!(self.read_source(key, start, &mut plan));
        let answer = self.awaited(key, known, deadlines, reading_source).await;
        answer.map(|answer| Answer { missed: Some(cause), ..answer })
    }

    /// Begins a read that this process's memory did not answer.
    pub(super) fn reading(&self) -> Reading<'_> {
        let (recorder, clock) = (&*self.recorder, &self.clock);
        Reading { recorder, clock, began: clock.now(), cause: MissCause::Abandoned, is_hit: false }
    }

    /// Why nothing was found of a key by a store that did not fail.
    fn absence(&self, key: &K) -> MissCause {
        if self.pending.holds(key) { MissCause::Unacknowledged } else { MissCause::Absent }
    }

    /// Looks for an entry that is alive, good or not: first near, if it can be there and not good, then wherever it is.
    async fn find(&self, key: &K, seen: Seen, now: Timestamp) -> Result<Option<Found<V>>> {
        let settings = &self.strategy.settings;
        if settings.refreshes()
            && seen == Seen::Something
            && let Some(entry) = self.backend.peek(key, now).filter(|entry| self.stands(key, entry))
        {
            // a fresh one has been found due already, by a random number that is not drawn again: any that makes it due will do
            let verdict = settings.judge(&entry, now, || 1.0);
            return Ok(Some(Found { entry, tier: Tier::Near, verdict, now }));
        }
        let Some(answer) = self.ask_far_at(key, now).await? else { return Ok(None) };
        let verdict = settings.judge(&answer.entry, answer.now, fastrand::f64);
        Ok(Some(Found { entry: answer.entry, tier: Tier::Far, verdict, now: answer.now }))
    }

    /// Serves what was found, if it is to be served without a load; else gives the entry back. Counts a hit, of `reading` if
    /// there is one.
    pub(super) fn serve(
        &self,
        key: &K,
        found: Found<V>,
        reading: Option<&mut Reading<'_>>,
    ) -> Result<(Answer<V>, Verdict), Entry<V>> {
        let Found { entry, tier, verdict, now } = found;
        // a source that has just failed is left alone
        if verdict == Verdict::Expired && !(self.is_kept_for_errors(&entry) && self.holdoffs.hold(key, now)) {
            return Err(entry);
        }
        match reading {
            Some(reading) => reading.hit(tier),
            None => self.recorder.record(&Event::Hit { tier }),
        }
        let origin = match tier {
            _ if !entry.is_fresh(now) => {
                self.recorder.record(&Event::StaleServed);
                Origin::Stale
            }
            Tier::Near => Origin::Near,
            Tier::Far => Origin::Far,
        };
        Ok((Answer::cached(entry, origin, now), verdict))
    }

    pub(super) fn is_kept_for_errors(&self, entry: &Entry<V>) -> bool {
        self.strategy.settings.stale.if_error.is_some() && entry.value().is_some()
    }

    /// Loads a key behind its reader, unless somebody does already or the source has just failed. Whatever comes of it is
    /// the flight's own business.
    fn refresh_behind(self: &Arc<Self>, key: &K, entry: &Entry<V>, load: impl FnOnce() -> Load<K, V>) {
        if self.is_refreshable(key) {
            let patience = patience(entry);
            let plan = Plan::new(load(), Approach::Missing).knowing(Some(entry.clone()));
            if let Err(error) = self.board(key, &mut Some(plan), Some(patience)) {
                tracing::debug!(%error, "an entry was not refreshed");
            }
        }
    }

    /// Whether a refresh of `key` is to begin now.
    pub(super) fn is_refreshable(&self, key: &K) -> bool {
        !self.is_closed() && !self.holdoffs.hold(key, self.clock.now()) && !self.flights.contain(key)
    }

    /// Loads by `plan`, or waits for a load under way. Counts nothing: one read is one hit or one miss, whatever it took.
    ///
    /// A future of this is within that of each miss, so what few of them need is boxed where they do.
    pub(super) async fn read_source(
        self: &Arc<Self>,
        key: &K,
        start: u64,
        plan: &mut Option<Plan<K, V>>,
    ) -> Result<Answer<V>> {
        let mut takeovers = 0;
        loop {
            let boarded = self.board(key, plan, None)?;
            let outcome = match self.arrival(key, &boarded).await {
                Arrival::Outcome(outcome) => outcome,
                Arrival::InVain => continue,
                Arrival::Hangs => {
                    if let Some(plan) = plan {
                        plan.approach = plan.approach.overtaking();
                    }
                    continue;
                }
                // whoever followed has a plan of its own, and loads by it
                Arrival::Abandoned(error) if plan.is_none() || takeovers == MOST_TAKEOVERS => {
                    return Err(error);
                }
                Arrival::Abandoned(_) => {
                    takeovers += 1;
                    continue;
                }
            };
            if let Some(answer) = self.acceptable(outcome, start, boarded.leads) {
                return answer;
            }
            // that load began before this caller did, and the key may have been invalidated between
            let found = Box::pin(self.read_far(key)).await;
            if let Some(entry) = found.filter(|entry| entry.is_fresh(self.clock.now())) {
                return Ok(self.answer(entry, Origin::Joined));
            }
        }
    }

    /// The answer of the hit path.
    pub(crate) fn near_answer(&self, entry: Entry<V>) -> Answer<V> {
        self.answer(entry, Origin::Near)
    }

    pub(super) fn answer(&self, entry: Entry<V>, origin: Origin) -> Answer<V> {
        Answer::cached(entry, origin, self.clock.now())
    }

    /// What the backend has, wherever it keeps it, stale or not. A failure is noted and counts as nothing found.
    pub(super) async fn read_far(&self, key: &K) -> Option<Entry<V>> {
        let asked = self.ask_far(key).await.unwrap_or_else(|error| {
            self.degraded("get", &error);
            None
        });
        asked.map(|answer| answer.entry)
    }

    pub(super) async fn ask_far(&self, key: &K) -> Result<Option<Answer<V>>> {
        self.ask_far_at(key, self.clock.now()).await
    }

    async fn ask_far_at(&self, key: &K, now: Timestamp) -> Result<Option<Answer<V>>> {
        if self.pending.holds(key) {
            return Ok(None);
        }
        let doubts = self.pending.doubts();
        let found = self.backend.get(key, now).await?;
        let now = self.clock.recent().max(now);
        // an invalidation of our own that failed before or meanwhile may have been meant for what was read
        let stands = |entry: &Entry<V>| self.stands(key, entry) && !doubts.end(entry);
        let found = found.filter(|entry| self.is_alive(entry, now) && stands(entry));
        Ok(found.map(|entry| Answer::cached(entry, Origin::Far, now)))
    }

    /// Whether no invalidation of our own that was not acknowledged may be meant for an entry.
    pub(super) fn stands(&self, key: &K, entry: &Entry<V>) -> bool {
        !self.pending.any()
            || mutation::on("what was read while an invalidation failed is served")
            || !(self.pending.holds(key) || self.pending.ends(entry))
    }

    /// Whether an entry is alive at a cheap reading of the clock.
    fn is_alive(&self, entry: &Entry<V>, recent: Timestamp) -> bool {
        entry.expires() > recent.after_lag() || entry.is_alive(self.clock.now())
    }

    /// Reads what is cached and fresh, and never loads.
    pub(crate) async fn get_if_present(&self, key: &K) -> Result<Option<Answer<V>>> {
        if let Some(entry) = self.peek(key) {
            return Ok(Some(self.answer(entry, Origin::Near)));
        }
        let found = self.find(key, Seen::Something, self.clock.now()).await?;
        let served =
            found.filter(|found| found.verdict != Verdict::Expired).map(|found| self.serve(key, found, None));
        Ok(served.and_then(Result::ok).map(|(answer, _)| answer))
    }

    /// Loads whatever is cached, and puts the result in its place.
    pub(crate) async fn refresh(self: &Arc<Self>, key: &K, load: Load<K, V>) -> Result<Answer<V>> {
        let start = self.sequence.now();
        let known = match load {
            Load::Registered if self.registered()?.is_conditional() => self.read_far(key).await,
            _ => None,
        };
        let mut plan = Some(Plan::new(load, Approach::Refresh).knowing(known));
        loop {
            let boarded = self.board(key, &mut plan, None)?;
            let outcome = match self.arrival(key, &boarded).await {
                Arrival::Outcome(outcome) => outcome,
                Arrival::InVain | Arrival::Hangs => continue,
                Arrival::Abandoned(error) if plan.is_none() => return Err(error),
                Arrival::Abandoned(_) => continue,
            };
            // a load that began before this call may have read what this call is meant to replace
            if outcome.loaded_from.is_some_and(|from| from >= start)
                && let Some(answer) = self.acceptable(outcome, start, boarded.leads)
            {
                return answer;
            }
        }
    }
}

impl Approach {
    pub(super) fn overtaking(self) -> Self {
        if self == Self::Missing { Self::Overtaking } else { self }
    }
}
