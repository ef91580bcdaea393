//! The steps on a flight's own task: request a fence, load, fill, publish the outcome.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument as _;

use super::chain::Chain;
use super::elect::{Elected, Held};
use super::fill::Fetch;
use super::flight::{Flight, Landing, Outcome, Role};
use super::{DynSource, Engine, Key, Value};
use crate::backend::{BeginOutcome, CacheBackend, Entry, Fence, LoadIntent};
use crate::observe::Event;
use crate::source::Loaded;
use crate::{Error, ErrorKind, Result, mutation};

/// The future of a loader.
pub(crate) type LoadFuture<V> = Loading<'static, Loaded<V>>;
/// A load under way.
pub(super) type Loading<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;
/// A loader that a caller passes with its read.
pub(crate) type Loader<V> = Box<dyn FnOnce() -> LoadFuture<V> + Send>;

/// The loader of a key.
pub(crate) enum Load<K, V> {
    /// The source that was registered with the builder.
    Registered,
    /// The loader that the caller passed.
    Given(Loader<V>),
    /// The loader of a caller that cannot be told of an overload or a timeout. It waits for its turn, and has no time
    /// limit.
    #[cfg_attr(not(feature = "macros"), allow(dead_code, reason = "only cached functions have such callers"))]
    Patient(Loader<V>),
    /// The source of a batch: the registered one, or the caller's.
    From(Arc<dyn DynSource<K, V>>),
}

impl<K, V> Load<K, V> {
    fn is_patient(&self) -> bool {
        matches!(self, Self::Patient(_))
    }
}

/// The treatment of an entry that the backend holds when a load begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approach {
    /// An entry that has come to the backend meanwhile is used, and nothing is loaded.
    Missing,
    /// The entry is replaced.
    Refresh,
    /// As [`Missing`](Self::Missing), while a refresh of this process hangs and may hold the lock. No lock is taken.
    Overtaking,
    /// The backend has just failed. It is not asked again, so that the caller does not wait for it twice.
    Alone,
}

/// The input of a load.
pub(super) struct Plan<K, V> {
    pub(super) load: Load<K, V>,
    pub(super) approach: Approach,
    /// The cached entry of the key that is not good enough.
    pub(super) known: Option<Entry<V>>,
}

impl<K, V> Plan<K, V> {
    pub(super) fn new(load: Load<K, V>, approach: Approach) -> Self {
        Self { load, approach, known: None }
    }

    pub(super) fn knowing(self, known: Option<Entry<V>>) -> Self {
        Self { known, ..self }
    }
}

/// The backend's answer to the request for a fence.
pub(super) enum Announced<V> {
    /// A valid entry: no load is needed.
    Hit(Entry<V>),
    /// A load is needed. It fills with this fence, or stores nothing if there is none.
    Load(Option<Fence>),
}

/// A joined flight, and the caller's role in it.
pub(super) struct Boarded<V> {
    pub(super) flight: Arc<Flight<V>>,
    pub(super) leads: bool,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Joins the flight of `key`, or starts one with `plan`, which is taken then.
    ///
    /// # Errors
    /// If the load is refused by [`admit`](Self::admit), if `plan` was taken before, or outside of a tokio runtime.
    pub(super) fn board(
        self: &Arc<Self>,
        key: &K,
        plan: &mut Option<Plan<K, V>>,
        patience: Option<Duration>,
    ) -> Result<Boarded<V>> {
        self.admit(key)?;
        let landing = match self.flights.join(key, patience) {
            Role::Follow(flight) => {
                self.recorder.record(&Event::Joined);
                return Ok(Boarded { flight, leads: false });
            }
            Role::Lead(landing) => landing,
        };
        let boarded = Boarded { flight: landing.flight(), leads: true };
        // on every error below, the drop of `landing` frees the key and wakes the followers
        let Some(Plan { load, approach, known }) = plan.take() else {
            return Err(Error::new(ErrorKind::Closed, "the loader was used up by a load that was abandoned"));
        };
        if let (Load::Registered, Approach::Missing, Some(gather)) = (&load, approach, self.gathers()) {
            self.gather(landing, known, gather)?;
            return Ok(boarded);
        }
        if let Load::Registered = load {
            self.registered()?;
        }
        let engine = Arc::clone(self);
        let chain = Chain::load(Chain::waiting(patience), self.id, key.clone());
        boarded.flight.run_by(&chain);
        // boxed, because it is moved several times before it runs
        Self::spawn(chain.scope(Box::pin(async move {
            let outcome = engine.fly(landing.key(), load, approach, known.as_ref()).await;
            engine.land(landing, outcome);
        })))?;
        Ok(boarded)
    }

    /// Refuses a load that asks for a key it is loading itself, and any load of a cache that was shut down.
    pub(super) fn admit(&self, key: &K) -> Result<()> {
        // Prevents: a loader follows a flight that waits for that loader, and neither ends
        if Chain::current().is_some_and(|chain| self.flights.may_load(key) && chain.contains(self.id, key)) {
            let mend = "load it from the source instead, or ask for another key";
            return Err(Error::new(
                ErrorKind::Reentrant,
                format!("a loader asked for the key it is loading: {mend}"),
            ));
        }
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the cache was shut down"));
        }
        Ok(())
    }

    /// Runs a flight on a task of its own, within the caller's tracing span.
    pub(super) fn spawn(flight: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let runtime = Handle::try_current().map_err(|cause| {
            Error::config("loads run on tokio: call the cache from within a tokio runtime").with_source(cause)
        })?;
        drop(runtime.spawn(flight.in_current_span()));
        Ok(())
    }

    /// Runs a whole flight: takes the lock if the strategy has one, requests a fence, loads, fills.
    ///
    /// Each miss makes a future of this, so that rarely needed parts of it are boxed where they are needed.
    pub(super) async fn fly(
        &self,
        key: &K,
        load: Load<K, V>,
        approach: Approach,
        known: Option<&Entry<V>>,
    ) -> Outcome<V> {
        match approach {
            Approach::Missing | Approach::Refresh if self.elects() => {
                Box::pin(self.fly_if_elected(key, load, approach, known)).await
            }
            _ => self.fly_elected(key, load, approach, known, None).await,
        }
    }

    /// Runs a flight as the lock holder, or uses the entry that another lock holder has loaded.
    async fn fly_if_elected(
        &self,
        key: &K,
        load: Load<K, V>,
        approach: Approach,
        known: Option<&Entry<V>>,
    ) -> Outcome<V> {
        match self.elect(key, approach, known).await {
            Ok(Elected::Chosen(held)) => {
                let outcome = self.fly_elected(key, load, approach, known, held.as_ref()).await;
                self.resign(held).await;
                outcome
            }
            Ok(Elected::Found(entry, _)) if mutation::on("a hit is current when its answer comes") => {
                Outcome::found(entry, self.sequence.next())
            }
            Ok(Elected::Found(entry, asked)) => Outcome::found(entry, asked),
            // the lock holder takes too long: load without a fence, so that the fill is left to the lock holder
            Ok(Elected::Unelected) => self.fly_elected(key, load, Approach::Alone, known, None).await,
            Err(error) => Outcome::failed(error),
        }
    }

    /// Runs a flight that needs no lock, or holds it.
    async fn fly_elected(
        &self,
        key: &K,
        load: Load<K, V>,
        approach: Approach,
        known: Option<&Entry<V>>,
        held: Option<&Held>,
    ) -> Outcome<V> {
        let budget = if load.is_patient() { Duration::MAX } else { self.budget() };
        let entered = match self.gate.is_open() {
            true => Ok(None),
            false if load.is_patient() => Ok(Box::pin(self.gate.turn()).await),
            false => Box::pin(self.enter()).await,
        };
        let _permit = match entered {
            Ok(permit) => permit,
            Err(error) => return Outcome::failed(error),
        };
        // taken before the request: an entry that the backend answers was current at this moment, and perhaps not
        // later. Prevents: a caller that starts after an invalidation shares an entry that was read before it
        let asked = self.sequence.next();
        let fence = match self.announce(key, approach, known).await {
            Announced::Hit(entry) if mutation::on("a hit is current when its answer comes") => {
                return Outcome::found(entry, self.sequence.next());
            }
            Announced::Hit(entry) => return Outcome::found(entry, asked),
            Announced::Load(fence) => fence,
        };
        // taken after the fence is granted and before the source is called: the earliest moment that the value can
        // be of
        let started = self.sequence.next();
        let alive = || self.keep(key, fence, held);
        let (loaded, cost) = self.load(budget, || self.loading(key, load, known), alive).await;
        match loaded {
            Ok(loaded) => {
                let replaces =
                    approach == Approach::Refresh || self.strategy.settings.stale.window().is_some();
                self.fill(key, fence, Fetch { loaded, known, cost, started, replaces }).await
            }
            Err(error) => {
                self.withdraw(key, fence).await;
                Outcome::source_failed(error)
            }
        }
    }

    /// Calls the loader: the registered source, which is given the `known` entry, or the loader that the caller
    /// passed.
    fn loading<'a>(
        &'a self,
        key: &'a K,
        load: Load<K, V>,
        known: Option<&Entry<V>>,
    ) -> Loading<'a, Loaded<V>> {
        match (load, self.registered()) {
            (Load::Given(loader) | Load::Patient(loader), _) => loader(),
            (Load::From(source), _) => {
                let known = known.cloned();
                Box::pin(async move { source.load_dyn(key, known).await })
            }
            (Load::Registered, Ok(source)) => source.load_dyn(key, known.cloned()),
            (Load::Registered, Err(error)) => Box::pin(std::future::ready(Err(error))),
        }
    }

    /// Waits for the permission to load. A refused load gets an error.
    pub(super) async fn enter(&self) -> Result<Option<tokio::sync::SemaphorePermit<'_>>> {
        let entered = self.gate.enter(self.strategy.settings.load_timeout).await;
        entered.inspect_err(|_| self.recorder.record(&Event::Overloaded))
    }

    /// Publishes the outcome of a flight, after recording whether the source has to pause.
    ///
    /// A refresh that stored nothing counts as failed. Prevents: the entry is still due, so that each hit starts
    /// another.
    pub(super) fn land(&self, landing: Landing<K, V>, outcome: Outcome<V>) {
        let is_refresh = landing.flight().patience.is_some();
        let has_window = self.strategy.settings.stale.window().is_some();
        let failed = match &outcome.result {
            // (the error of a load that was refused says nothing about the source)
            Err(_) => is_refresh || (has_window && outcome.source_failed),
            Ok(_) => is_refresh && outcome.is_unstored() && !landing.flight().is_detached(),
        };
        if failed {
            self.holdoffs.failed(landing.key(), self.clock.now());
        } else if outcome.result.is_ok() && outcome.loaded_from.is_some() {
            self.holdoffs.succeeded(landing.key());
        }
        landing.land(outcome);
    }

    /// Requests a fence for a load. If the backend fails, the load runs and is not stored.
    pub(super) async fn announce(
        &self,
        key: &K,
        approach: Approach,
        known: Option<&Entry<V>>,
    ) -> Announced<V> {
        if approach == Approach::Alone || self.pending.holds(key) {
            return Announced::Load(None);
        }
        let shared = LoadIntent::shared(self.strategy.settings.lease);
        let announce = if approach == Approach::Refresh { shared.despite_hit() } else { shared };
        // taken before the backend is asked. Prevents: a tag's invalidation is acknowledged between the answer and
        // its check, so that an answer from before it is used
        let doubts = self.pending.doubts();
        let is_news = |entry: &Entry<V>| self.is_news(key, entry, known) && !doubts.end(entry);
        let now = self.clock.now();
        let mut begun = self.backend.begin(key, announce, now).await;
        // an entry that is not good enough is the one to be replaced
        if matches!(&begun, Ok(BeginOutcome::Hit(entry)) if !is_news(entry)) {
            begun = self.backend.begin(key, announce.despite_hit(), self.clock.now()).await;
        }
        match begun {
            Ok(BeginOutcome::Hit(entry)) if is_news(&entry) => Announced::Hit(entry),
            Ok(BeginOutcome::Granted(fence)) => Announced::Load(Some(fence)),
            // another process that locks holds the key's fence, or a write guard is in place: this load stores
            // nothing
            Ok(BeginOutcome::Hit(_) | BeginOutcome::Busy(_) | BeginOutcome::Guarded) => Announced::Load(None),
            Err(error) => {
                self.degraded("begin", &error);
                Announced::Load(None)
            }
        }
    }

    /// Returns the time limit of a load.
    pub(super) fn budget(&self) -> Duration {
        if mutation::on("a load has no budget") { Duration::MAX } else { self.strategy.settings.load_timeout }
    }

    /// Calls the loader within `budget` and returns how long it took. A panic becomes an error. `alive` runs
    /// beside it.
    pub(super) async fn load<'a, T, A: Future + Send>(
        &self,
        budget: Duration,
        loader: impl FnOnce() -> Loading<'a, T>,
        alive: impl FnOnce() -> A,
    ) -> (Result<T>, Duration) {
        let (began, called) = (self.clock.now(), Instant::now());
        let mut work = pin!(caught(loader));
        // a load that answers at once needs no timer, and no renewals of its leases
        let (mut alive, mut beside) = (Some(alive), None);
        let loaded = std::future::poll_fn(|context| {
            if let Poll::Ready(loaded) = work.as_mut().poll(context) {
                return Poll::Ready(loaded);
            }
            if let Some(alive) = alive.take() {
                beside = Some(Box::pin(unconstrained(spent(called.checked_add(budget), alive()))));
            }
            match &mut beside {
                Some(beside) => {
                    beside.as_mut().poll(context).map(|()| Err(Error::timeout("the load", budget)))
                }
                None => Poll::Pending,
            }
        });
        let loaded = loaded.await;
        let elapsed = began.until(self.clock.now());
        self.recorder.record(&Event::Loaded { elapsed, error: loaded.as_ref().err() });
        (loaded, elapsed)
    }

    /// Renews a fence every `period`, until it is lost.
    pub(super) async fn keep_announced(&self, key: &K, fence: Fence, period: Duration) {
        let lease = self.strategy.settings.lease;
        loop {
            sleep(period).await;
            match self.backend.renew(key, fence, lease, self.clock.now()).await {
                Ok(true) => {}
                Ok(false) => return,
                // the next try may succeed before the lease ends
                Err(error) => self.degraded("renew", &error),
            }
        }
    }
}

/// Runs the user's code. A panic becomes an error, also one before the first await.
async fn caught<'a, T>(loader: impl FnOnce() -> Loading<'a, T>) -> Result<T> {
    let mut load = catch_unwind(AssertUnwindSafe(loader)).map_err(panicked)?;
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context))) {
        Ok(Poll::Ready(loaded)) => Poll::Ready(loaded),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panicked(panic))),
    })
    .await
}

/// Runs `alive` until `end`; without an end if the clock cannot represent it.
async fn spent(end: Option<Instant>, alive: impl Future) {
    let alive = async {
        alive.await;
        std::future::pending::<()>().await;
    };
    match end {
        Some(end) => _ = timeout_at(end, alive).await,
        None => alive.await,
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what `catch_unwind` gives is passed on")]
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Error {
    Error::panicked("the load", &*panic)
}

/// The flights that one task leads, each with the known entry of its key.
pub(super) type Leading<K, V> = Vec<(Landing<K, V>, Option<Entry<V>>)>;
