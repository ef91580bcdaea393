//! What happens on a flight's own task: announce, load, fill, land.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join;
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

pub(crate) type LoadFuture<V> = Loading<'static, Loaded<V>>;
/// A load under way.
pub(super) type Loading<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;
pub(crate) type Loader<V> = Box<dyn FnOnce() -> LoadFuture<V> + Send>;

/// By what a key is loaded.
pub(crate) enum Load<K, V> {
    /// The source that the builder was given.
    Registered,
    /// The loader that the caller passed.
    Given(Loader<V>),
    /// The source of a batch: the registered one, or the caller's.
    From(Arc<dyn DynSource<K, V>>),
}

/// How a load treats what the backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Approach {
    /// What is there after all is taken.
    Missing,
    /// What is there is replaced.
    Refresh,
    /// As missing, while a refresh of this process hangs and may hold the lock: nobody is elected.
    Overtaking,
    /// The backend has just failed: it is not asked again, and the caller does not wait for it twice.
    Alone,
}

/// What a load is begun with.
pub(super) struct Plan<K, V> {
    pub(super) load: Load<K, V>,
    pub(super) approach: Approach,
    /// What is cached of the key and is not good enough.
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

/// What the backend answered to the announcement of a load.
pub(super) enum Announced<V> {
    /// No load is needed.
    Hit(Entry<V>),
    /// Load; fill with this fence, or not at all if there is none.
    Load(Option<Fence>),
}

/// Joining a flight, and which part one has in it.
pub(super) struct Boarded<V> {
    pub(super) flight: Arc<Flight<V>>,
    pub(super) leads: bool,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Joins the flight of `key`, or starts one with `plan`, which is taken then.
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
        // boxed, since it is moved several times before it runs
        Self::spawn(chain.scope(Box::pin(async move {
            let outcome = engine.fly(landing.key(), load, approach, known.as_ref()).await;
            engine.land(landing, outcome);
        })))?;
        Ok(boarded)
    }

    /// Refuses what must not load: a loader that asks for its own key, a cache that was shut down.
    pub(super) fn admit(&self, key: &K) -> Result<()> {
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

    /// The whole of a flight: is elected, announces, loads, fills.
    ///
    /// Each miss makes a future of this, so what few of them need is boxed where they do.
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
            Ok(Elected::Unelected) => self.fly_elected(key, load, Approach::Alone, known, None).await,
            Err(error) => Outcome::failed(error),
        }
    }

    async fn fly_elected(
        &self,
        key: &K,
        load: Load<K, V>,
        approach: Approach,
        known: Option<&Entry<V>>,
        held: Option<&Held>,
    ) -> Outcome<V> {
        let entered = if self.gate.is_open() { Ok(None) } else { Box::pin(self.enter()).await };
        let _permit = match entered {
            Ok(permit) => permit,
            Err(error) => return Outcome::failed(error),
        };
        let asked = self.sequence.next();
        let fence = match self.announce(key, approach, known).await {
            Announced::Hit(entry) if mutation::on("a hit is current when its answer comes") => {
                return Outcome::found(entry, self.sequence.next());
            }
            Announced::Hit(entry) => return Outcome::found(entry, asked),
            Announced::Load(fence) => fence,
        };
        let started = self.sequence.next();
        let alive = || join(self.keep_announced(key, fence), self.keep_elected(held));
        let (loaded, cost) = self.load(|| self.loading(key, load, known), alive).await;
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

    /// Asks the registered source, which is told what is `known`, or what the caller brought.
    fn loading<'a>(
        &'a self,
        key: &'a K,
        load: Load<K, V>,
        known: Option<&Entry<V>>,
    ) -> Loading<'a, Loaded<V>> {
        match (load, self.registered()) {
            (Load::Given(loader), _) => loader(),
            (Load::From(source), _) => {
                let known = known.cloned();
                Box::pin(async move { source.load_dyn(key, known).await })
            }
            (Load::Registered, Ok(source)) => source.load_dyn(key, known.cloned()),
            (Load::Registered, Err(error)) => Box::pin(std::future::ready(Err(error))),
        }
    }

    /// The permission to load, or the error of one who is refused.
    pub(super) async fn enter(&self) -> Result<Option<tokio::sync::SemaphorePermit<'_>>> {
        let entered = self.gate.enter(self.strategy.settings.load_timeout).await;
        entered.inspect_err(|_| self.recorder.record(&Event::Overloaded))
    }

    /// Publishes the outcome of a flight, after noting whether the source is to be left alone for a while.
    ///
    /// A refresh that stored nothing counts as failed. Prevents: the entry is still due, so that each hit starts another.
    pub(super) fn land(&self, landing: Landing<K, V>, outcome: Outcome<V>) {
        let is_refresh = landing.flight().patience.is_some();
        let has_window = self.strategy.settings.stale.window().is_some();
        let failed = match &outcome.result {
            // (a load that was refused tells nothing of the source)
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

    /// Announces a load. A backend that fails costs the fill, not the load.
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
        let doubts = self.pending.doubts();
        let is_news = |entry: &Entry<V>| self.is_news(key, entry, known) && !doubts.end(entry);
        let now = self.clock.now();
        let mut begun = self.backend.begin(key, announce, now).await;
        // what is there and not good enough is what is to be replaced
        if matches!(&begun, Ok(BeginOutcome::Hit(entry)) if !is_news(entry)) {
            begun = self.backend.begin(key, announce.despite_hit(), self.clock.now()).await;
        }
        match begun {
            Ok(BeginOutcome::Hit(entry)) if is_news(&entry) => Announced::Hit(entry),
            Ok(BeginOutcome::Granted(fence)) => Announced::Load(Some(fence)),
            // somebody who locks uses this key too; theirs is the fill
            Ok(BeginOutcome::Hit(_) | BeginOutcome::Busy(_) | BeginOutcome::Guarded) => Announced::Load(None),
            Err(error) => {
                self.degraded("begin", &error);
                Announced::Load(None)
            }
        }
    }

    /// Calls the loader within its budget, and tells how long it took; a panic becomes an error. `alive` runs beside it.
    pub(super) async fn load<'a, T, A: Future + Send>(
        &self,
        loader: impl FnOnce() -> Loading<'a, T>,
        alive: impl FnOnce() -> A,
    ) -> (Result<T>, Duration) {
        let mut budget = self.strategy.settings.load_timeout;
        if mutation::on("a load has no budget") {
            budget = Duration::MAX;
        }
        let (began, called) = (self.clock.now(), Instant::now());
        let mut work = pin!(caught(loader));
        // a load that answers at once needs neither a timer nor to be kept alive
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

    /// Renews an announcement every third of its lease, until it is lost.
    pub(super) async fn keep_announced(&self, key: &K, fence: Option<Fence>) {
        let Some(fence) = fence else { return };
        let lease = self.strategy.settings.lease;
        loop {
            sleep((lease / 3).max(Duration::from_millis(1))).await;
            match self.backend.renew(key, fence, lease, self.clock.now()).await {
                Ok(true) => {}
                Ok(false) => return,
                // the next try may reach it before the lease ends
                Err(error) => self.degraded("renew", &error),
            }
        }
    }
}

/// Runs the user's code; a panic, also one before the first await, becomes an error.
async fn caught<'a, T>(loader: impl FnOnce() -> Loading<'a, T>) -> Result<T> {
    let mut load = catch_unwind(AssertUnwindSafe(loader)).map_err(panicked)?;
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context))) {
        Ok(Poll::Ready(loaded)) => Poll::Ready(loaded),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panicked(panic))),
    })
    .await
}

/// Runs `alive`, and ends at `end`, if that is a moment that a clock can show.
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

/// The flights that one task leads, and what is known of their keys.
pub(super) type Leading<K, V> = Vec<(Landing<K, V>, Option<Entry<V>>)>;
