//! Loads under way, each shared by everybody who asks for its key meanwhile.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tokio::sync::{Notify, SetOnce};

use super::Key;
use super::chain::Chain;
use crate::backend::Entry;
use crate::shards::Shards;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::{Error, ErrorKind, Result, mutation};

/// How a flight ended: the same for all who waited.
pub(super) struct Outcome<V> {
    /// The entry, stored or not, or the error.
    pub(super) result: Result<Entry<V>>,
    /// The moment at which the result was proved current: taken before the command that proved it was sent. Who started
    /// later must not use the result, for there may have been an invalidation between.
    pub(super) as_of: u64,
    /// When the load began, if there was one: `None` when the value turned out to be there.
    pub(super) loaded_from: Option<u64>,
    /// Set if nothing was tried to the end: a caller that still needs the value may load it.
    pub(super) abandoned: bool,
    /// Set if the source was asked and failed.
    pub(super) source_failed: bool,
}

impl<V> Outcome<V> {
    /// An entry that was there, in an answer to a command sent after `asked`.
    pub(super) fn found(entry: Entry<V>, asked: u64) -> Self {
        Self { result: Ok(entry), as_of: asked, loaded_from: None, abandoned: false, source_failed: false }
    }

    /// An entry that was loaded by a load that began at `started`, and was proved current at `as_of`.
    pub(super) fn loaded(entry: Entry<V>, started: u64, as_of: u64) -> Self {
        Self { result: Ok(entry), as_of, loaded_from: Some(started), abandoned: false, source_failed: false }
    }

    /// Returns `true` if a value was loaded and is not in the store.
    pub(super) fn is_unstored(&self) -> bool {
        self.result.is_ok() && self.loaded_from == Some(self.as_of)
    }

    pub(super) fn failed(error: Error) -> Self {
        // an error holds no data that could be too old: everybody may have it
        let (as_of, loaded_from) = (u64::MAX, Some(u64::MAX));
        Self { result: Err(error), as_of, loaded_from, abandoned: false, source_failed: false }
    }

    /// The source was asked, and failed.
    pub(super) fn source_failed(error: Error) -> Self {
        Self { source_failed: true, ..Self::failed(error) }
    }

    /// The load ended before it had an outcome: its runtime shut down, its task panicked or was never spawned.
    fn abandoned() -> Self {
        let why = "its runtime is shutting down, or has no timer (build it with `enable_all()`)";
        let error = Error::new(ErrorKind::Closed, format!("the load was abandoned: {why}")).transient();
        Self { abandoned: true, ..Self::failed(error) }
    }
}

/// One load under way.
pub(super) struct Flight<V> {
    /// Set for a refresh behind a reader's back: how long a reader who needs the value waits for it before it loads by
    /// itself.
    pub(super) patience: Option<Duration>,
    /// The runtime that runs the load.
    pub(super) runtime: Option<runtime::Id>,
    /// Wakes those who wait in the order in which they came.
    outcome: SetOnce<Outcome<V>>,
    /// Set while the load runs out of sight, because its key was invalidated.
    detached: AtomicBool,
    /// The loads of its task, once there is one.
    chain: OnceLock<Arc<Chain>>,
    /// Set once a load joined.
    needed: AtomicBool,
}

impl<V> Flight<V> {
    /// Gives the flight to the task that runs `chain`.
    pub(super) fn run_by(&self, chain: &Arc<Chain>) {
        // the first is the only one
        _ = self.chain.set(Arc::clone(chain));
        if self.needed.load(Ordering::SeqCst) {
            chain.need();
        }
    }

    /// Notes that a load waits for this flight, which then waits for no permit: the load may hold the last one.
    fn need(&self) {
        self.needed.store(true, Ordering::SeqCst);
        if let Some(chain) = self.chain.get() {
            chain.need();
        }
    }

    /// Returns `true` if the key was invalidated since the flight began, or its load has landed.
    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::SeqCst)
    }

    /// Waits for the end of the flight. Dropping this strands nobody.
    pub(super) async fn outcome(&self) -> &Outcome<V> {
        // set by the landing, by its drop at the latest
        self.outcome.wait().await
    }
}

/// What somebody who asks for a key is: the one who loads, or one who waits.
pub(super) enum Role<K: Key, V> {
    Lead(Landing<K, V>),
    Follow(Arc<Flight<V>>),
}

/// All loads under way. An entry is there only while its load runs.
pub(super) struct Flights<K, V> {
    loads: Shards<K, Arc<Flight<V>>>,
    airborne: AtomicUsize,
    /// How many of them are out of sight.
    detached: AtomicUsize,
    landed: Notify,
}

impl<K: Key, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self {
            loads: Shards::default(),
            airborne: AtomicUsize::new(0),
            detached: AtomicUsize::new(0),
            landed: Notify::new(),
        }
    }

    /// Joins the load of `key`, or becomes the one who loads it, with this patience of those who join.
    pub(super) fn join(self: &Arc<Self>, key: &K, patience: Option<Duration>) -> Role<K, V> {
        let mut shard = self.loads.of(key);
        if let Some(flight) = shard.get(key).cloned() {
            drop(shard);
            if Chain::current().is_some() {
                flight.need();
            }
            return Role::Follow(flight);
        }
        // both before the insert: a `Clone` that panics leaves no flight that never lands
        let (shared, key) = (key.clone(), key.clone());
        let flight = Arc::new(Flight {
            patience,
            runtime: Handle::try_current().ok().map(|handle| handle.id()),
            outcome: SetOnce::new(),
            detached: AtomicBool::new(false),
            chain: OnceLock::new(),
            needed: AtomicBool::new(false),
        });
        shard.insert(shared, Arc::clone(&flight));
        self.airborne.fetch_add(1, Ordering::SeqCst);
        Role::Lead(Landing { flights: Arc::clone(self), key, flight })
    }

    /// Takes the load of `key` out of sight: later callers start a new one, those who wait get what they waited for.
    pub(super) fn detach(&self, key: &K) {
        let detached = self.loads.of(key).remove(key);
        self.note_detached(detached);
    }

    /// Takes all loads out of sight.
    pub(super) fn detach_all(&self) {
        self.loads.drain(|detached| self.note_detached(detached.into_values()));
    }

    /// Takes this very flight out of sight; a successor under the same key stays.
    pub(super) fn detach_this(&self, key: &K, flight: &Arc<Flight<V>>) {
        self.note_detached(self.remove(key, flight));
    }

    fn note_detached(&self, flights: impl IntoIterator<Item = Arc<Flight<V>>>) {
        for flight in flights {
            self.detached.fetch_add(1, Ordering::SeqCst);
            // (if it has landed meanwhile, its landing did not count it out)
            if flight.detached.swap(true, Ordering::SeqCst) {
                self.detached.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Returns `true` if `key` is being loaded.
    pub(super) fn contain(&self, key: &K) -> bool {
        self.loads.of(key).contains_key(key)
    }

    /// Returns `false` if no load of `key` is under way, in sight or not.
    pub(super) fn may_load(&self, key: &K) -> bool {
        self.detached.load(Ordering::SeqCst) > 0 || self.contain(key)
    }

    fn remove(&self, key: &K, flight: &Arc<Flight<V>>) -> Option<Arc<Flight<V>>> {
        let mut shard = self.loads.of(key);
        let (key, found) = shard.remove_entry(key)?;
        if Arc::ptr_eq(&found, flight) {
            drop(shard);
            return Some(found);
        }
        // a successor stays
        shard.insert(key, found);
        None
    }

    /// How many keys are being loaded.
    pub(super) fn len(&self) -> usize {
        self.airborne.load(Ordering::SeqCst)
    }

    /// Waits until no load is under way.
    pub(super) async fn landed(&self) {
        loop {
            let landed = self.landed.notified();
            if self.len() == 0 {
                return;
            }
            landed.await;
        }
    }
}

/// The duty to end a flight. Whatever becomes of the load (an error, a panic, a runtime that shuts down), dropping this
/// frees the key and answers everybody who waits.
pub(super) struct Landing<K: Key, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
    flight: Arc<Flight<V>>,
}

impl<K: Key, V> Landing<K, V> {
    pub(super) fn key(&self) -> &K {
        &self.key
    }

    pub(super) fn flight(&self) -> Arc<Flight<V>> {
        Arc::clone(&self.flight)
    }

    pub(super) fn land(self, outcome: Outcome<V>) {
        self.end(outcome);
    }

    /// The key is free before anybody has the outcome: who is answered and asks again starts anew.
    fn end(&self, outcome: Outcome<V>) {
        // (a refresh that stays would be joined for ever)
        let stays = outcome.result.is_err() && self.flight.patience.is_none();
        if !(stays && mutation::on("a failed load stays in flight")) {
            self.flights.remove(&self.key, &self.flight);
        }
        // the first outcome is the only one
        _ = self.flight.outcome.set(outcome);
    }
}

impl<K: Key, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        if !self.flight.outcome.initialized() {
            self.end(Outcome::abandoned());
        }
        if self.flight.detached.swap(true, Ordering::SeqCst) {
            self.flights.detached.fetch_sub(1, Ordering::SeqCst);
        }
        self.flights.airborne.fetch_sub(1, Ordering::SeqCst);
        self.flights.landed.notify_waiters();
    }
}
