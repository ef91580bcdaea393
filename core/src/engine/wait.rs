//! Waiting for loads: how long, and what is served instead.

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

/// How long a reader waits for a refresh that began behind somebody else's back, before it loads by itself: some times what
/// the last load took, within these bounds.
const PATIENCE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// What the calls of the store around a load may take, before a flight of another runtime is taken to stand still.
const STORE_CALLS: Duration = Duration::from_secs(3);

/// How long a reader waits for a load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// Not read from the clock where there is no limit.
    began: Option<Instant>,
    /// For readers that can be served something stale.
    soft: Option<Duration>,
    hard: Option<Duration>,
}

impl Deadlines {
    pub(super) fn limit(&self, has_stale: bool) -> Option<Duration> {
        [self.soft.filter(|_| has_stale), self.hard].into_iter().flatten().min()
    }

    /// The end of a wait; `None` if it has none, or none that a clock can show.
    pub(super) fn end(&self, limit: Duration) -> Option<Instant> {
        self.began?.checked_add(limit)
    }
}

/// For whom a load is, and so how long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// A reader, who leaves at the strategy's soft or hard timeout.
    Reader,
    /// A warming, which waits as long as loads take.
    Warming,
}

/// What becomes of the wait for a flight.
pub(super) enum Arrival<'a, V> {
    Outcome(&'a Outcome<V>),
    /// Its task ended without an outcome, or stands still in a runtime that is not driven any more.
    Abandoned(Error),
    /// It was a refresh, and failed: a try for somebody who could do without, and no answer.
    InVain,
    /// It is a refresh that hangs: who needs the value does not wait for it, nor for the lock that it may hold.
    Hangs,
}

/// How long a reader waits for the refresh of an entry.
pub(super) fn patience<V>(entry: &Entry<V>) -> Duration {
    let [least, most] = PATIENCE;
    entry.load_cost().saturating_mul(4).clamp(least, most)
}

impl<K: Key, V: Value> Engine<K, V> {
    /// How long a wait that begins now is to last.
    pub(super) fn deadlines(&self, whom: For) -> Deadlines {
        let settings = &self.strategy.settings;
        let of_readers = |limit: Option<Duration>| limit.filter(|_| whom == For::Reader);
        let (soft, hard) = (of_readers(settings.soft_timeout), of_readers(settings.hard_timeout));
        Deadlines { began: soft.or(hard).map(|_| Instant::now()), soft, hard }
    }

    /// Returns `true` if a reader who has this entry to fall back on does not wait for a load any more.
    pub(super) fn is_over(&self, known: Option<&Entry<V>>, deadlines: Deadlines) -> bool {
        let has_stale = known.is_some_and(|known| self.is_kept_for_errors(known));
        let limit = deadlines.limit(has_stale).zip(deadlines.began);
        limit.is_some_and(|(limit, began)| began.elapsed() >= limit)
    }

    /// Waits for a reading as long as a reader is to wait; serves what is known when it fails.
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
                // the load goes on, and fills
                Err(_elapsed) => Err(Error::timeout("waiting for the load", limit)),
            },
            _ => reading.await,
        };
        match (answer, known) {
            (Err(error), Some(known)) => Box::pin(self.stand_in(key, known, error)).await,
            (answer, _) => answer,
        }
    }

    /// Serves an expired entry in place of an error, if it has not been invalidated meanwhile.
    pub(super) async fn stand_in(&self, key: &K, known: Entry<V>, error: Error) -> Result<Answer<V>> {
        if matches!(error.kind(), ErrorKind::Config | ErrorKind::Reentrant) {
            return Err(error);
        }
        let entry = match self.ask_far(key).await {
            Ok(Some(answer)) => answer.entry,
            Ok(None) => return Err(error),
            // what this very call has read before
            Err(_) => known,
        };
        if entry.is_fresh(self.clock.now()) {
            return Ok(self.answer(entry, Origin::Far));
        }
        self.recorder.record(&Event::StaleServed);
        tracing::debug!(%error, "a stale value is served, since the load failed");
        Ok(self.answer(entry, Origin::Stale))
    }

    /// Waits for a flight as long as one who needs the value does.
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

    /// How long a flight in another runtime may take; `None` if it is in the caller's, which is driven while the caller is.
    pub(super) fn abandoned_after(&self, flight: &Flight<V>) -> Option<Duration> {
        let here = Handle::try_current().ok()?.id();
        if flight.runtime == Some(here) {
            return None;
        }
        let settings = &self.strategy.settings;
        let queue = settings.limit().map_or(Duration::ZERO, |_| settings.load_timeout);
        let lock = settings.locking.as_ref().map_or(Duration::ZERO, |locking| locking.wait);
        let window = settings.gather().map_or(Duration::ZERO, |gather| gather.window);
        Some(
            [queue, lock, window, STORE_CALLS]
                .into_iter()
                .fold(settings.load_timeout, Duration::saturating_add),
        )
    }

    /// The `as_of` rule: a shared result is only for those who started no later than it was proved current.
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
