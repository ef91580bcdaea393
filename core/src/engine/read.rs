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

/// The maximum of restarts of one read after the flights it joined were abandoned.
const MOST_TAKEOVERS: u32 = 3;

/// The answer to a read: the entry and its origin.
pub(crate) struct Answer<V> {
    pub(crate) entry: Entry<V>,
    pub(crate) origin: Origin,
    pub(crate) now: Timestamp,
    /// The reason of the miss; `None` if the read was a hit.
    pub(crate) missed: Option<MissCause>,
    /// Set if the cache keeps the entry.
    pub(crate) kept: bool,
}

impl<V> Answer<V> {
    /// Makes the answer of a cached entry.
    pub(super) fn cached(entry: Entry<V>, origin: Origin, now: Timestamp) -> Self {
        Self { entry, origin, now, missed: None, kept: true }
    }
}

/// An entry that was found, with the result of its freshness check.
pub(super) struct Found<V> {
    pub(super) entry: Entry<V>,
    pub(super) tier: Tier,
    pub(super) verdict: Verdict,
    pub(super) now: Timestamp,
}

/// A read that this process's memory did not answer.
///
/// Counts as one miss when it is dropped, unless it became a hit. A read of a cancelled caller is counted too.
pub(super) struct Reading<'a> {
    recorder: &'a Recorder,
    clock: &'a CacheClock,
    pub(super) began: Timestamp,
    /// The reason of the miss, as far as it is known.
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
    /// Returns the registered source, or an error if there is none.
    pub(crate) fn registered(&self) -> Result<&Arc<dyn DynSource<K, V>>> {
        self.source.as_ref().ok_or_else(|| {
            Error::config("this cache has no source: call `.source(..)` on its builder, or use `get_or_load`")
        })
    }

    /// Returns `true` if the registered source loads many keys at once.
    pub(super) fn is_batched(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_batched())
    }

    /// Reads the cached entry, and loads the value if the entry is not good enough.
    ///
    /// `load` is called only if a load may be needed. `seen` is the result of the first look at this process's
    /// memory.
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
        // taken before anything is sent: a result proved current at or after this moment is fresh enough for this
        // caller. Prevents: this caller shares a value that was loaded before an invalidation which the caller had
        // seen
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

    /// Returns the reason why a backend that did not fail gave no entry of `key`.
    fn absence(&self, key: &K) -> MissCause {
        if self.pending.holds(key) { MissCause::Unacknowledged } else { MissCause::Absent }
    }

    /// Looks for a live entry, fresh or not. Looks near first if it may hold one that is not good enough, then asks
    /// the backend.
    async fn find(&self, key: &K, seen: Seen, now: Timestamp) -> Result<Option<Found<V>>> {
        let settings = &self.strategy.settings;
        if settings.refreshes()
            && seen == Seen::Something
            && let Some(entry) = self.backend.peek(key, now).filter(|entry| self.stands(key, entry))
        {
            // a fresh entry was found due before, by a random number that is not drawn again: 1.0 is one that makes
            // it due
            let verdict = settings.judge(&entry, now, || 1.0);
            return Ok(Some(Found { entry, tier: Tier::Near, verdict, now }));
        }
        let Some(answer) = self.ask_far_at(key, now).await? else { return Ok(None) };
        let verdict = settings.judge(&answer.entry, answer.now, fastrand::f64);
        Ok(Some(Found { entry: answer.entry, tier: Tier::Far, verdict, now: answer.now }))
    }

    /// Serves a found entry if that needs no load; otherwise returns the entry as the error.
    /// Counts a hit, of `reading` if there is one.
    pub(super) fn serve(
        &self,
        key: &K,
        found: Found<V>,
        reading: Option<&mut Reading<'_>>,
    ) -> Result<(Answer<V>, Verdict), Entry<V>> {
        let Found { entry, tier, verdict, now } = found;
        // the source has just failed and has to pause
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

    /// Returns `true` if an entry may be served under stale-if-error.
    pub(super) fn is_kept_for_errors(&self, entry: &Entry<V>) -> bool {
        self.strategy.settings.stale.if_error.is_some() && entry.value().is_some()
    }

    /// Refreshes a key in the background, unless a load of it runs already or its source has just failed.
    /// The outcome is handled by the flight.
    fn refresh_behind(self: &Arc<Self>, key: &K, entry: &Entry<V>, load: impl FnOnce() -> Load<K, V>) {
        if self.is_refreshable(key) {
            let patience = patience(entry);
            let plan = Plan::new(load(), Approach::Missing).knowing(Some(entry.clone()));
            if let Err(error) = self.board(key, &mut Some(plan), Some(patience)) {
                tracing::debug!(%error, "an entry was not refreshed");
            }
        }
    }

    /// Returns `true` if a refresh of `key` may begin now.
    pub(super) fn is_refreshable(&self, key: &K) -> bool {
        !self.is_closed() && !self.holdoffs.hold(key, self.clock.now()) && !self.flights.contain(key)
    }

    /// Loads by `plan`, or waits for a load under way. Counts nothing, because the caller counts one hit or one miss.
    ///
    /// Each miss makes a future of this, so that rarely needed parts of it are boxed where they are needed.
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
                // a follower still has its own plan, and loads by it
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
            // the load began before this caller, and the key may have been invalidated in between
            let found = Box::pin(self.read_far(key)).await;
            if let Some(entry) = found.filter(|entry| entry.is_fresh(self.clock.now())) {
                return Ok(self.answer(entry, Origin::Joined));
            }
        }
    }

    /// Makes the answer of the hit path.
    pub(crate) fn near_answer(&self, entry: Entry<V>) -> Answer<V> {
        self.answer(entry, Origin::Near)
    }

    /// Makes the answer of an entry at the current time.
    pub(super) fn answer(&self, entry: Entry<V>, origin: Origin) -> Answer<V> {
        Answer::cached(entry, origin, self.clock.now())
    }

    /// Reads the backend's live entry of `key`, stale or not. A failure is counted, and returns `None`.
    pub(super) async fn read_far(&self, key: &K) -> Option<Entry<V>> {
        let asked = self.ask_far(key).await.unwrap_or_else(|error| {
            self.degraded("get", &error);
            None
        });
        asked.map(|answer| answer.entry)
    }

    /// Asks the backend for a live entry of `key`, stale or not.
    pub(super) async fn ask_far(&self, key: &K) -> Result<Option<Answer<V>>> {
        self.ask_far_at(key, self.clock.now()).await
    }

    async fn ask_far_at(&self, key: &K, now: Timestamp) -> Result<Option<Answer<V>>> {
        if self.pending.holds(key) {
            return Ok(None);
        }
        // taken before the backend is asked, and checked together with the current state after it
        let doubts = self.pending.doubts();
        let found = self.backend.get(key, now).await?;
        let now = self.clock.recent().max(now);
        // Prevents: an own invalidation that failed before or during the read was for this entry, and the entry is
        // served
        let stands = |entry: &Entry<V>| self.stands(key, entry) && !doubts.end(entry);
        let found = found.filter(|entry| self.is_alive(entry, now) && stands(entry));
        Ok(found.map(|entry| Answer::cached(entry, Origin::Far, now)))
    }

    /// Returns `true` if no pending invalidation of this process may be for `entry`.
    pub(super) fn stands(&self, key: &K, entry: &Entry<V>) -> bool {
        !self.pending.any()
            || mutation::on("what was read while an invalidation failed is served")
            || !(self.pending.holds(key) || self.pending.ends(entry))
    }

    /// Returns `true` if an entry is alive at a cheap reading of the clock; near its end the precise one decides.
    fn is_alive(&self, entry: &Entry<V>, recent: Timestamp) -> bool {
        entry.expires() > recent.after_lag() || entry.is_alive(self.clock.now())
    }

    /// Returns the cached entry that may be served without a load. Never loads.
    pub(crate) async fn get_if_present(&self, key: &K) -> Result<Option<Answer<V>>> {
        if let Some(entry) = self.peek(key) {
            return Ok(Some(self.answer(entry, Origin::Near)));
        }
        let found = self.find(key, Seen::Something, self.clock.now()).await?;
        let served =
            found.filter(|found| found.verdict != Verdict::Expired).map(|found| self.serve(key, found, None));
        Ok(served.and_then(Result::ok).map(|(answer, _)| answer))
    }

    /// Loads the value of `key` in any case, and replaces the cached entry.
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
            // Prevents: a load that began before this call has read the value that this call is meant to replace
            if outcome.loaded_from.is_some_and(|from| from >= start)
                && let Some(answer) = self.acceptable(outcome, start, boarded.leads)
            {
                return answer;
            }
        }
    }
}

/// Returns the approach of a load that does not wait for a hanging refresh, nor for its lock.
impl Approach {
    pub(super) fn overtaking(self) -> Self {
        if self == Self::Missing { Self::Overtaking } else { self }
    }
}
