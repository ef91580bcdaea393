//! Single misses that are loaded together.

use std::sync::{Arc, Mutex, PoisonError};

use super::chain::Chain;
use super::flight::Landing;
use super::load::{Approach, Leading};
use super::{Engine, Key, Value};
use crate::Result;
use crate::entry::Entry;
use crate::strategy::Gather;

/// The flights that wait for others to be loaded with.
pub(super) struct Gathering<K: Key, V>(Mutex<Leading<K, V>>);

impl<K: Key, V> Default for Gathering<K, V> {
    fn default() -> Self {
        Self(Mutex::new(vec![]))
    }
}

/// What adding a flight means for those that wait.
enum Added<K: Key, V> {
    First,
    Next,
    /// They are as many as are loaded together.
    Full(Leading<K, V>),
}

impl<K: Key, V> Gathering<K, V> {
    /// Adds a flight.
    fn add(&self, landing: Landing<K, V>, known: Option<Entry<V>>, most: usize) -> Added<K, V> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push((landing, known));
        match waiting.len() {
            count if count >= most => Added::Full(std::mem::take(&mut *waiting)),
            1 => Added::First,
            _ => Added::Next,
        }
    }

    fn take(&self) -> Leading<K, V> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Whether, and how, misses of the registered source are gathered.
    pub(super) fn gathers(&self) -> Option<Gather> {
        self.strategy.settings.gather.filter(|_| self.is_batched())
    }

    /// Lets a flight wait for others: until the window of the first has passed, or there are as many as are loaded at
    /// once.
    pub(super) fn gather(
        self: &Arc<Self>,
        landing: Landing<K, V>,
        known: Option<Entry<V>>,
        gather: Gather,
    ) -> Result<()> {
        let chain = Chain::with(Chain::current(), self.id, landing.key().clone());
        let engine = Arc::clone(self);
        let full = match self.gathering.add(landing, known, gather.most) {
            Added::Next => return Ok(()),
            Added::First => None,
            Added::Full(leading) => Some(leading),
        };
        Self::spawn(chain.scope(async move {
            let leading = match full {
                Some(leading) => leading,
                None => {
                    tokio::time::sleep(gather.window).await;
                    // a full batch may have taken the first with it: then these have come later, and go earlier
                    engine.gathering.take()
                }
            };
            if let Some(source) = engine.source.clone().filter(|_| !leading.is_empty()) {
                engine.fly_many(source, leading, Approach::Missing).await;
            }
        }))
    }
}
