//! The network between a process and the store.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use fastrand::Rng;
use larder::backend::{
    BackendContext, BeginOutcome, Entry, Fence, FillOutcome, IntoBackend, LoadIntent, Recency, Watcher,
    WriteIntent,
};
use larder::clock::Timestamp;
use larder::tag::{Pruned, Stamp};
use larder::{CacheBackend, Error, Result, Tag};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pushes::Delayed;
use super::store::{LONGEST_TRIP, Versioned};

/// A process's link to the network, and its faults.
#[derive(Debug)]
pub(super) struct Link {
    /// The number of the process, which changes with a restart.
    pub(super) process: u32,
    trip: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Rng,
    dead: bool,
    paused_until: Instant,
    lossy_until: Instant,
    /// The percentage of messages that are lost. With 0, none is late either.
    loss: u8,
    slow_pushes_until: Instant,
}

/// The fate of a request.
struct Trip {
    out: Duration,
    back: Duration,
    lost: Lost,
}

#[derive(PartialEq, Eq)]
enum Lost {
    Nothing,
    /// The request is refused, and the sender knows at once.
    Refused,
    Request,
    /// The connection breaks after the request was executed.
    Reply,
    /// The reply is lost, and the sender is never notified.
    ReplySilently,
}

impl Link {
    pub(super) fn new(process: u32, seed: u64, trip: Duration, loss: u8) -> Self {
        let now = Instant::now();
        let state = State {
            random: Rng::with_seed(seed ^ u64::from(process).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            dead: false,
            paused_until: now,
            lossy_until: now,
            loss,
            slow_pushes_until: now,
        };
        Self { process, trip, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn kill(&self) {
        self.state().dead = true;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }

    pub(super) fn pause(&self, time: Duration) {
        self.state().paused_until = Instant::now() + time;
    }

    pub(super) fn lose(&self, time: Duration) {
        self.state().lossy_until = Instant::now() + time;
    }

    pub(super) fn slow_pushes(&self, time: Duration) {
        self.state().slow_pushes_until = Instant::now() + time;
    }

    /// Ends all faults.
    pub(super) fn recover(&self) {
        let now = Instant::now();
        let mut state = self.state();
        (state.loss, state.paused_until, state.lossy_until, state.slow_pushes_until) = (0, now, now, now);
    }

    /// Waits while the process is paused.
    pub(super) async fn resumed(&self) {
        loop {
            let until = self.state().paused_until;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn draw(&self) -> Trip {
        let usual = u64::try_from(self.trip.as_micros()).unwrap_or(u64::MAX);
        let state = &mut *self.state();
        let lossy = state.lossy_until > Instant::now();
        let loss = state.loss;
        let random = &mut state.random;
        let mut time = || match random.u8(..100) {
            0..30 => Duration::ZERO,
            99 if loss > 0 => Duration::from_micros(random.u64(..LONGEST_TRIP.as_micros() as u64)),
            _ => Duration::from_micros(random.u64(..=usual)),
        };
        let (out, back) = (time(), time());
        let share = if lossy { 40 } else { loss };
        let lost = match random.u8(..100) < share {
            false => Lost::Nothing,
            true => match random.u8(..4) {
                0 => Lost::Refused,
                1 => Lost::Request,
                2 => Lost::Reply,
                _ => Lost::ReplySilently,
            },
        };
        Trip { out, back, lost }
    }

    /// The time that the next push takes.
    pub(super) fn push_trip(&self) -> Duration {
        let usual = u64::try_from(self.trip.as_micros()).unwrap_or(u64::MAX);
        let mut state = self.state();
        match state.slow_pushes_until > Instant::now() {
            true => Duration::from_micros(state.random.u64(..1_500_000)),
            false => Duration::from_micros(state.random.u64(..=usual)),
        }
    }

    /// Sends a request. If it arrives, it does so even if its sender no longer waits.
    pub(super) async fn send<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let failed = |why: &str| Error::backend(name, why);
        if self.is_dead() {
            return Err(failed("the process is dead"));
        }
        // a paused process sends nothing
        self.resumed().await;
        let Trip { out, back, lost } = self.draw();
        match lost {
            Lost::Refused => return Err(failed("the connection is refused")),
            Lost::Request => std::future::pending().await,
            Lost::Nothing | Lost::Reply | Lost::ReplySilently => {}
        }
        let answer = match out.is_zero() {
            true => request.await,
            false => Self::deliver(out, request).await.unwrap_or_else(|| Err(failed("the request was lost"))),
        };
        match lost {
            Lost::Reply => return Err(failed("the reply was lost")),
            Lost::ReplySilently => std::future::pending().await,
            _ => {}
        }
        if !back.is_zero() {
            tokio::time::sleep(back).await;
        }
        self.resumed().await;
        match self.is_dead() {
            true => Err(failed("the process is dead")),
            false => answer,
        }
    }

    async fn deliver<T: Send + 'static>(
        out: Duration,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Option<Result<T>> {
        let (sender, answer) = oneshot::channel();
        tokio::spawn(async move {
            tokio::time::sleep(out).await;
            // the sender may no longer wait
            _ = sender.send(request.await);
        });
        answer.await.ok()
    }
}

/// A store behind a network.
pub(super) struct Networked<S> {
    pub(super) store: S,
    pub(super) link: Arc<Link>,
}

impl<S: IntoBackend<u64, Versioned>> IntoBackend<u64, Versioned> for Networked<S> {
    type Backend = Remote<S::Backend>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        let Self { store, link } = self;
        Ok(Remote { store: Arc::new(store.into_backend(scope)?), link, pushes: OnceLock::new() })
    }
}

/// An opened [`Networked`].
pub(super) struct Remote<B> {
    store: Arc<B>,
    link: Arc<Link>,
    pushes: OnceLock<Arc<dyn Watcher>>,
}

impl<B: fmt::Debug> fmt::Debug for Remote<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.store).finish()
    }
}

impl<B: CacheBackend<u64, Versioned>> Remote<B> {
    async fn ask<T, F>(&self, name: &'static str, request: impl FnOnce(Arc<B>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        // boxed, since it is passed on several times
        let request: Pin<Box<dyn Future<Output = Result<T>> + Send>> =
            Box::pin(request(Arc::clone(&self.store)));
        self.link.send(name, request).await
    }
}

impl<B: CacheBackend<u64, Versioned>> CacheBackend<u64, Versioned> for Remote<B> {
    fn look<T>(
        &self,
        key: &u64,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<Versioned>) -> Option<T>,
    ) -> Option<T> {
        self.store.look(key, now, recency, look)
    }

    fn shared_name(&self, key: &u64) -> Option<String> {
        self.store.shared_name(key)
    }

    fn is_bounded(&self) -> bool {
        false
    }

    fn watch(&self, watcher: Weak<dyn Watcher>) -> bool {
        let delayed: Arc<dyn Watcher> = Arc::new(Delayed::new(watcher, Arc::clone(&self.link)));
        let watched = self.store.watch(Arc::downgrade(&delayed));
        // the store keeps a weak reference to it
        _ = self.pushes.set(delayed);
        watched
    }

    async fn get(&self, key: &u64, now: Timestamp) -> Result<Option<Entry<Versioned>>> {
        let key = *key;
        self.ask("get", move |store| async move { store.get(&key, now).await }).await
    }

    async fn get_many(&self, keys: &[u64], now: Timestamp) -> Result<Vec<Option<Entry<Versioned>>>> {
        let keys = keys.to_vec();
        self.ask("get_many", move |store| async move { store.get_many(&keys, now).await }).await
    }

    async fn begin(
        &self,
        key: &u64,
        announce: LoadIntent,
        now: Timestamp,
    ) -> Result<BeginOutcome<Versioned>> {
        let key = *key;
        self.ask("begin", move |store| async move { store.begin(&key, announce, now).await }).await
    }

    async fn fill(
        &self,
        key: &u64,
        fence: Fence,
        entry: Entry<Versioned>,
        now: Timestamp,
    ) -> Result<FillOutcome> {
        let key = *key;
        self.ask("fill", move |store| async move { store.fill(&key, fence, entry, now).await }).await
    }

    async fn renew(&self, key: &u64, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        let key = *key;
        self.ask("renew", move |store| async move { store.renew(&key, fence, lease, now).await }).await
    }

    async fn release(&self, key: &u64, fence: Fence, now: Timestamp) -> Result<()> {
        let key = *key;
        self.ask("release", move |store| async move { store.release(&key, fence, now).await }).await
    }

    async fn put(&self, key: &u64, entry: Entry<Versioned>, now: Timestamp) -> Result<()> {
        let key = *key;
        self.ask("put", move |store| async move { store.put(&key, entry, now).await }).await
    }

    async fn remove(&self, key: &u64) -> Result<()> {
        let key = *key;
        self.ask("remove", move |store| async move { store.remove(&key).await }).await
    }

    async fn remove_many(&self, keys: &[u64]) -> Result<()> {
        let keys = keys.to_vec();
        self.ask("remove_many", move |store| async move { store.remove_many(&keys).await }).await
    }

    async fn clear(&self) -> Result<()> {
        self.ask("clear", move |store| async move { store.clear().await }).await
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        let tags = tags.to_vec();
        self.ask("invalidate_tags", move |store| async move { store.invalidate_tags(&tags).await }).await
    }

    async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.ask("prune_tags", move |store| async move { store.prune_tags(count, longest).await }).await
    }

    async fn guard(&self, key: &u64, guard: WriteIntent, now: Timestamp) -> Result<()> {
        let key = *key;
        self.ask("guard", move |store| async move { store.guard(&key, guard, now).await }).await
    }

    async fn unguard(&self, key: &u64, guard: WriteIntent, now: Timestamp) -> Result<()> {
        let key = *key;
        self.ask("unguard", move |store| async move { store.unguard(&key, guard, now).await }).await
    }
}
