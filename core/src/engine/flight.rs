//! Single flight: the loads under way, each shared by its leader and its followers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tokio::sync::{Notify, SetOnce};

use super::Key;
use super::chain::Chain;
use crate::backend::Entry;
use crate::clock::Timestamp;
use crate::shards::Shards;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::{Error, ErrorKind, Result, mutation};

/// The outcome of a flight: the same for its leader and all followers.
pub(super) struct Outcome<V> {
    /// The entry, stored or not, or the error.
    pub(super) result: Result<Entry<V>>,
    /// The moment at which the result was proved current. Taken before the command that proved it was sent.
    /// A caller that started later must not use the result, because an invalidation may lie between.
    pub(super) as_of: u64,
    /// The moment at which the load began. `None` if the flight found an entry and loaded nothing.
    pub(super) loaded_from: Option<u64>,
    /// Set if the flight ended without an outcome of its own. A caller that still needs the value may load it.
    pub(super) abandoned: bool,
    /// Set if the source was called and failed.
    pub(super) source_failed: bool,
}

impl<V> Outcome<V> {
    /// The outcome of a flight that found an entry, in an answer to a command sent after `asked`.
    pub(super) fn found(entry: Entry<V>, asked: u64) -> Self {
        Self { result: Ok(entry), as_of: asked, loaded_from: None, abandoned: false, source_failed: false }
    }

    /// The outcome of a load that began at `started` and whose entry was proved current at `as_of`.
    pub(super) fn loaded(entry: Entry<V>, started: u64, as_of: u64) -> Self {
        Self { result: Ok(entry), as_of, loaded_from: Some(started), abandoned: false, source_failed: false }
    }

    /// Returns `true` if a value was loaded and is not stored.
    pub(super) fn is_unstored(&self) -> bool {
        self.result.is_ok() && self.loaded_from == Some(self.as_of)
    }

    pub(super) fn failed(error: Error) -> Self {
        // an error holds no data that could be too old: every caller may have it
        let (as_of, loaded_from) = (u64::MAX, Some(u64::MAX));
        Self { result: Err(error), as_of, loaded_from, abandoned: false, source_failed: false }
    }

    /// The outcome of a flight whose source was called and failed.
    pub(super) fn source_failed(error: Error) -> Self {
        Self { source_failed: true, ..Self::failed(error) }
    }

    /// The outcome of a load that ended early: its runtime shut down, its task panicked or was never spawned.
    fn abandoned() -> Self {
        if std::thread::panicking() {
            let why = "a key's `Clone`, `Hash` or `Eq` or a value's `Drop`, or a runtime without a timer";
            let mend = "fix that code, or build the runtime with `enable_all()`";
            let error =
                Error::new(ErrorKind::Panicked, format!("the load's task panicked, by {why}: {mend}"));
            return Self { abandoned: true, ..Self::failed(error) };
        }
        let why = "its runtime is shutting down, or has no timer (build it with `enable_all()`)";
        let error = Error::new(ErrorKind::Closed, format!("the load was abandoned: {why}")).transient();
        Self { abandoned: true, ..Self::failed(error) }
    }
}

/// One load under way.
pub(super) struct Flight<V> {
    /// The time for which a reader that needs the value waits before it loads by itself.
    /// Set for a refresh in the background only.
    pub(super) patience: Option<Duration>,
    /// The runtime that runs the load.
    pub(super) runtime: Option<runtime::Id>,
    /// The moment from which a follower in another runtime has waited.
    pub(super) awaited: OnceLock<Timestamp>,
    /// Wakes the waiters in the order in which they came.
    outcome: SetOnce<Outcome<V>>,
    /// Set once later callers no longer join this flight (its key was invalidated), or once it has ended.
    detached: AtomicBool,
    /// The chain of loads of the task that runs this flight, once there is one.
    chain: OnceLock<Arc<Chain>>,
    /// Set once another load waits for this flight.
    needed: AtomicBool,
}

impl<V> Flight<V> {
    /// Hands the flight to the task that runs `chain`.
    pub(super) fn run_by(&self, chain: &Arc<Chain>) {
        // the first is the only one
        _ = self.chain.set(Arc::clone(chain));
        // `need` stores and then reads the chain; this stores the chain and then reads `needed`.
        // Prevents: both miss each other, and the load waits for a permit that its own waiter holds.
        if self.needed.load(Ordering::SeqCst) {
            chain.need();
        }
    }

    /// Marks the flight as needed by another load. It then waits for no permit, because that load may hold the last
    /// one.
    fn need(&self) {
        self.needed.store(true, Ordering::SeqCst);
        if let Some(chain) = self.chain.get() {
            chain.need();
        }
    }

    /// Returns `true` if later callers no longer join this flight, or if it has ended.
    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::SeqCst)
    }

    /// Waits for the outcome of the flight. Dropping this future leaves the flight and its other waiters unaffected.
    pub(super) async fn outcome(&self) -> &Outcome<V> {
        // set by `Landing::land`, or by the drop of `Landing` at the latest
        self.outcome.wait().await
    }
}

/// The caller's role in a flight: leader (runs the load) or follower (waits for it).
pub(super) enum Role<K: Key, V> {
    Lead(Landing<K, V>),
    Follow(Arc<Flight<V>>),
}

/// All flights of a cache. A flight is in the map only while its load runs and later callers may join it.
pub(super) struct Flights<K, V> {
    loads: Shards<K, Arc<Flight<V>>>,
    /// The number of flights that have not ended, detached ones included.
    airborne: AtomicUsize,
    /// The number of flights that run, but that no caller can join any more.
    detached: AtomicUsize,
    /// Notified at the end of each flight.
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

    /// Joins the flight of `key` as a follower, or starts one as its leader. Followers of a new flight wait for
    /// `patience`.
    pub(super) fn join(self: &Arc<Self>, key: &K, patience: Option<Duration>) -> Role<K, V> {
        let mut shard = self.loads.of(key);
        if let Some(flight) = shard.get(key).cloned() {
            drop(shard);
            if Chain::current().is_some() {
                flight.need();
            }
            return Role::Follow(flight);
        }
        // both before the insert. Prevents: a `Clone` that panics leaves a flight in the map that never ends
        let (shared, key) = (key.clone(), key.clone());
        let flight = Arc::new(Flight {
            patience,
            runtime: Handle::try_current().ok().map(|handle| handle.id()),
            awaited: OnceLock::new(),
            outcome: SetOnce::new(),
            detached: AtomicBool::new(false),
            chain: OnceLock::new(),
            needed: AtomicBool::new(false),
        });
        shard.insert(shared, Arc::clone(&flight));
        self.airborne.fetch_add(1, Ordering::SeqCst);
        Role::Lead(Landing { flights: Arc::clone(self), key, flight })
    }

    /// Detaches the flight of `key`: later callers start a new load. Its followers still get its outcome.
    pub(super) fn detach(&self, key: &K) {
        let detached = self.loads.of(key).remove(key);
        self.note_detached(detached);
    }

    /// Detaches all flights.
    pub(super) fn detach_all(&self) {
        self.loads.drain(|detached| self.note_detached(detached.into_values()));
    }

    /// Detaches `flight` only. Another flight of the same key stays.
    pub(super) fn detach_this(&self, key: &K, flight: &Arc<Flight<V>>) {
        self.note_detached(self.remove(key, flight));
    }

    fn note_detached(&self, flights: impl IntoIterator<Item = Arc<Flight<V>>>) {
        for flight in flights {
            self.detached.fetch_add(1, Ordering::SeqCst);
            // the flag was set already: the flight has ended meanwhile, and its drop did not count it out
            if flight.detached.swap(true, Ordering::SeqCst) {
                self.detached.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Returns `true` if `key` has a flight that callers can join.
    pub(super) fn contain(&self, key: &K) -> bool {
        self.loads.of(key).contains_key(key)
    }

    /// Returns `false` if no load of `key` runs. Returns `true` if `key` has a flight, or if any flight is detached.
    pub(super) fn may_load(&self, key: &K) -> bool {
        self.detached.load(Ordering::SeqCst) > 0 || self.contain(key)
    }

    /// Removes `flight` from the map. Returns `None` if the key has no flight or another one.
    fn remove(&self, key: &K, flight: &Arc<Flight<V>>) -> Option<Arc<Flight<V>>> {
        let mut shard = self.loads.of(key);
        let (key, found) = shard.remove_entry(key)?;
        if Arc::ptr_eq(&found, flight) {
            drop(shard);
            return Some(found);
        }
        // another flight of the key stays. Prevents: the end of a detached flight frees the key of the load after it
        shard.insert(key, found);
        None
    }

    /// Returns the number of flights that have not ended.
    pub(super) fn len(&self) -> usize {
        self.airborne.load(Ordering::SeqCst)
    }

    /// Waits until no load is under way.
    pub(super) async fn landed(&self) {
        loop {
            // registered before the count is read. Prevents: the last flight ends in between, and its notification is
            // lost
            let landed = self.landed.notified();
            if self.len() == 0 {
                return;
            }
            landed.await;
        }
    }
}

/// The leader's duty to end its flight. Dropping this frees the key and wakes all waiters.
/// This also holds after an error, after a panic and when the runtime shuts down.
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

    /// Ends the flight with `outcome`.
    pub(super) fn land(self, outcome: Outcome<V>) {
        self.end(outcome);
    }

    /// Removes the flight before publishing the outcome. A caller that retries at once starts a new load.
    fn end(&self, outcome: Outcome<V>) {
        // (every later read would join a refresh that stays)
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
