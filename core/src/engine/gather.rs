//! Batch windows: single misses that are loaded together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime;

use super::chain::Chain;
use super::flight::Landing;
use super::load::{Approach, Leading};
use super::{Engine, Key, Value};
use crate::Result;
use crate::backend::Entry;
use crate::strategy::Gather;

/// The open windows: at most one for each runtime, so that no window depends on another runtime being driven.
pub(super) struct Gathering<K: Key, V>(Mutex<Windows<K, V>>);

struct Windows<K: Key, V> {
    /// The number of the last window.
    last: u64,
    open: Vec<Gathered<K, V>>,
}

/// The loads of a window, and the loads whose tasks requested them.
struct Gathered<K: Key, V> {
    number: u64,
    runtime: Option<runtime::Id>,
    leading: Leading<K, V>,
    parents: Vec<Arc<Chain>>,
}

impl<K: Key, V> Default for Gathering<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Windows { last: 0, open: vec![] }))
    }
}

/// The result of adding a load to the window.
enum Added<K: Key, V> {
    /// The caller is to close the window with this number.
    First(u64),
    Next,
    /// The window is closed, because it has reached its maximum.
    Full(Gathered<K, V>),
}

impl<K: Key, V> Gathering<K, V> {
    fn windows(&self) -> MutexGuard<'_, Windows<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, landing: Landing<K, V>, known: Option<Entry<V>>, most: usize) -> Added<K, V> {
        let flight = landing.flight();
        let (runtime, parent) = (flight.runtime, Chain::waiting(flight.patience));
        let mut windows = self.windows();
        let Windows { last, open } = &mut *windows;
        if let Some(at) = open.iter().position(|window| window.runtime == runtime) {
            let window = &mut open[at];
            window.leading.push((landing, known));
            window.parents.extend(parent);
            return if window.leading.len() < most { Added::Next } else { Added::Full(open.swap_remove(at)) };
        }
        *last += 1;
        let parents = parent.into_iter().collect();
        let window = Gathered { number: *last, runtime, leading: vec![(landing, known)], parents };
        if most <= 1 {
            return Added::Full(window);
        }
        open.push(window);
        Added::First(*last)
    }

    /// Closes the window with this number. Returns `None` if it was full before.
    fn close(&self, number: u64) -> Option<Gathered<K, V>> {
        let open = &mut self.windows().open;
        let at = open.iter().position(|window| window.number == number)?;
        Some(open.swap_remove(at))
    }
}

/// The duty to close a window. Dropping this ends its loads.
/// This also holds if its task was never spawned, panicked, or died with its runtime.
struct Window<K: Key, V: Value> {
    engine: Arc<Engine<K, V>>,
    number: u64,
}

impl<K: Key, V: Value> Window<K, V> {
    fn close(&self) -> Option<Gathered<K, V>> {
        self.engine.gathering.close(self.number)
    }
}

impl<K: Key, V: Value> Drop for Window<K, V> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Returns the batch window for misses of the registered source, if there is one.
    pub(super) fn gathers(&self) -> Option<Gather> {
        self.strategy.settings.gather().filter(|_| self.is_batched())
    }

    /// Adds a load to the batch window. The window closes when its time has passed since its first load, or when it
    /// is full.
    pub(super) fn gather(
        self: &Arc<Self>,
        landing: Landing<K, V>,
        known: Option<Entry<V>>,
        gather: Gather,
    ) -> Result<()> {
        match self.gathering.add(landing, known, gather.most) {
            Added::Next => Ok(()),
            Added::First(number) => {
                let window = Window { engine: Arc::clone(self), number };
                Self::spawn(async move {
                    tokio::time::sleep(gather.window).await;
                    if let Some(gathered) = window.close() {
                        window.engine.load_gathered(gathered).await;
                    }
                })
            }
            Added::Full(gathered) => {
                let engine = Arc::clone(self);
                Self::spawn(async move { engine.load_gathered(gathered).await })
            }
        }
    }

    async fn load_gathered(&self, Gathered { leading, parents, .. }: Gathered<K, V>) {
        let keys = leading.iter().map(|(landing, _)| landing.key().clone());
        let chain = Chain::batch(parents, self.id, keys);
        leading.iter().for_each(|(landing, _)| landing.flight().run_by(&chain));
        if let Some(source) = self.source.clone() {
            chain.scope(self.fly_many(source, leading, Approach::Missing)).await;
        }
    }
}
