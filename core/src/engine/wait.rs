//! Waiting for loads: time limits, and stale entries served in place of errors.

use super::flight::{Flight, Outcome};
use super::load::Boarded;
use super::read::Answer;
use super::{Engine, Key, Value};
use crate::backend::Entry;
use crate::cache::Origin;
use crate::observe::Event;
use crate::{Error, ErrorKind, Result, mutation};
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The bounds of the time that a reader waits for a refresh in the background before it loads by itself.
/// Within them the time is four times what the last load took.
const PATIENCE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// The time granted to the backend calls around a load, before a flight of another runtime counts as abandoned.
const STORE_CALLS: Duration = Duration::from_secs(3);

/// The time limits of a reader's wait for a load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// The start of the wait. Not read from the clock if there is no limit.
    began: Option<Instant>,
    /// The limit for readers that can be served a stale entry.
    soft: Option<Duration>,
    /// The limit for all readers.
    hard: Option<Duration>,
}

impl Deadlines {
    /// Returns the shorter of the limits that apply.
    pub(super) fn limit(&self, has_stale: bool) -> Option<Duration> {
        [self.soft.filter(|_| has_stale), self.hard].into_iter().flatten().min()
    }

    /// Returns the end of a wait. `None` if there is no limit, or if the clock cannot represent its end.
    pub(super) fn end(&self, limit: Duration) -> Option<Instant> {
        self.began?.checked_add(limit)
    }
}

/// The purpose of a load, which decides how long its caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// A read, which stops waiting at the strategy's soft or hard timeout.
    Reader,
    /// A warm-up, which waits for as long as loads take.
    Warming,
}

/// The result of waiting for a flight.
pub(super) enum Arrival<'a, V> {
    /// The flight ended with an outcome.
    Outcome(&'a Outcome<V>),
    /// The flight's task ended without an outcome, or its runtime is not driven any more.
    Abandoned(Error),
    /// A refresh in the background failed. Its error is no answer to a caller that needs the value.
    InVain,
    /// A refresh in the background hangs. A caller that needs the value waits neither for it nor for its lock.
    Hangs,
}

/// Returns the time that a reader waits for the refresh of `entry`.
pub(super) fn patience<V>(entry: &Entry<V>) -> Duration {
    let [least, most] = PATIENCE;
    entry.load_cost().saturating_mul(4).clamp(least, most)
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Returns the limits of a wait that begins now.
    pub(super) fn deadlines(&self, whom: For) -> Deadlines {
        let settings = &self.strategy.settings;
        let of_readers = |limit: Option<Duration>| limit.filter(|_| whom == For::Reader);
        let (soft, hard) = (of_readers(settings.soft_timeout), of_readers(settings.hard_timeout));
        Deadlines { began: soft.or(hard).map(|_| Instant::now()), soft, hard }
    }

    /// Returns `true` if the limit of a reader that knows this entry has passed.
    pub(super) fn is_over(&self, known: Option<&Entry<V>>, deadlines: Deadlines) -> bool {
        let has_stale = known.is_some_and(|known| self.is_kept_for_errors(known));
        let limit = deadlines.limit(has_stale).zip(deadlines.began);
        limit.is_some_and(|(limit, began)| began.elapsed() >= limit)
    }

    /// Waits for `reading` until the limit that applies. If it fails, a known entry is served under stale-if-error.
    pub(super) async fn awaited(
        &self,
        key: &K,
        known: Option<Entry<V>>,
        deadlines: Deadlines,
        reading: Pin<&mut impl Future<Output = Result<Answer<V>>>>,
    ) -> Result<Answer<V>> {
        let known = known.filter(|known| self.is_kept_for_errors(known));
        let limit = deadlines.limit(known.is_some());
        // without a runtime there is no timer, and nothing is loaded
        let end = limit.and_then(|limit| deadlines.end(limit)).filter(|_| Handle::try_current().is_ok());
        let answer = match (end, limit) {
            (Some(end), Some(limit)) => match Box::pin(tokio::time::timeout_at(end, reading)).await {
                Ok(answer) => answer,
                // only the wait ends: the flight runs on its own task, goes on and fills
                Err(_elapsed) => Err(Error::timeout("waiting for the load", limit)),
            },
            _ => reading.await,
        };
        match (answer, known) {
            (Err(error), Some(known)) => Box::pin(self.stand_in(key, known, error)).await,
            (answer, _) => answer,
        }
    }

    /// Serves an expired entry in place of an error, unless it has been invalidated meanwhile.
    pub(super) async fn stand_in(&self, key: &K, known: Entry<V>, error: Error) -> Result<Answer<V>> {
        if matches!(error.kind(), ErrorKind::Config | ErrorKind::Reentrant) {
            return Err(error);
        }
        // read again, since the wait was long. Prevents: an entry that was invalidated during the wait is served
        let entry = match self.ask_far(key).await {
            Ok(Some(answer)) => answer.entry,
            Ok(None) => return Err(error),
            // the backend fails too: the entry that this call read before
            Err(_) => known,
        };
        if entry.is_fresh(self.clock.now()) {
            return Ok(self.answer(entry, Origin::Far));
        }
        self.recorder.record(&Event::StaleServed);
        tracing::debug!(%error, "a stale value is served, since the load failed");
        Ok(self.answer(entry, Origin::Stale))
    }

    /// Waits for a flight, as long as a caller that needs the value does.
    pub(super) async fn arrival<'a>(&self, key: &K, boarded: &'a Boarded<V>) -> Arrival<'a, V> {
        let Boarded { flight, leads } = boarded;
        // without a runtime there is no timer
        let patience = flight.patience.filter(|_| !leads && Handle::try_current().is_ok());
        let outcome = pin!(flight.outcome());
        let outcome = match patience.or_else(|| self.abandoned_after(flight)) {
            None => outcome.await,
            Some(limit) => match Box::pin(tokio::time::timeout(limit, outcome)).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => {
                    // detached, so that the next `board` starts a load. Prevents: the caller joins the flight that it
                    // gave up
                    self.flights.detach_this(key, flight);
                    return match patience {
                        Some(_) => Arrival::Hangs,
                        None => Arrival::Abandoned(Error::timeout(
                            "waiting for the load of another runtime",
                            limit,
                        )),
                    };
                }
            },
        };
        match &outcome.result {
            Err(error) if outcome.abandoned => Arrival::Abandoned(error.clone()),
            Err(_) if patience.is_some() => Arrival::InVain,
            _ => Arrival::Outcome(outcome),
        }
    }

    /// Returns the time after which a flight of another runtime counts as abandoned, to a follower that comes now.
    /// `None` for a flight of the caller's own runtime, which is driven while the caller is.
    pub(super) fn abandoned_after(&self, flight: &Flight<V>) -> Option<Duration> {
        let here = Handle::try_current().ok()?.id();
        if flight.runtime == Some(here) {
            return None;
        }
        let settings = &self.strategy.settings;
        let queue = settings.limit().map_or(Duration::ZERO, |_| settings.load_timeout);
        let lock = settings.locking.as_ref().map_or(Duration::ZERO, |locking| locking.wait);
        let window = settings.gather().map_or(Duration::ZERO, |gather| gather.window);
        let limit = [queue, lock, window, STORE_CALLS]
            .into_iter()
            .fold(settings.load_timeout, Duration::saturating_add);
        // counted from the first follower. Prevents: followers that wait for less, one after the other, never take the
        // flight over
        let now = self.clock.now();
        Some(limit.saturating_sub(flight.awaited.get_or_init(|| now).until(now)))
    }

    /// Applies the `as_of` rule: a shared outcome is only for callers that started no later than it was proved
    /// current.
    ///
    /// Prevents: a caller that starts after an invalidation gets a value that was loaded before it.
    pub(super) fn acceptable(
        &self,
        outcome: &Outcome<V>,
        start: u64,
        leads: bool,
    ) -> Option<Result<Answer<V>>> {
        if start > outcome.as_of && !mutation::on("flights are shared whenever they began") {
            return None;
        }
        let origin = match (leads, outcome.loaded_from) {
            (false, _) => Origin::Joined,
            (true, Some(_)) => Origin::Loaded,
            (true, None) => Origin::Far,
        };
        let kept = !outcome.is_unstored();
        Some(outcome.result.clone().map(|entry| Answer { kept, ..self.answer(entry, origin) }))
    }
}
