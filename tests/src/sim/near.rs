//! A near store whose evictions are deterministic.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder::backend::{Displaced, Entry, LocalStore, Recency};

use super::store::Versioned;

/// Keeps a limited number of entries, and evicts the oldest first.
pub(super) struct Near {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<u64, Entry<Versioned>>,
    order: VecDeque<u64>,
}

impl Near {
    pub(super) fn of(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").finish_non_exhaustive()
    }
}

impl LocalStore<u64, Versioned> for Near {
    fn get(&self, key: &u64, _recency: Recency) -> Option<Entry<Versioned>> {
        self.kept().entries.get(key).cloned()
    }

    fn insert(&self, key: u64, entry: Entry<Versioned>, _remaining: Duration) -> Displaced<'_, Versioned> {
        let mut kept = self.kept();
        kept.order.retain(|other| *other != key);
        kept.order.push_back(key);
        kept.entries.insert(key, entry);
        if kept.order.len() > self.most {
            let oldest = kept.order.pop_front();
            return oldest.and_then(|oldest| kept.entries.remove(&oldest)).into();
        }
        Displaced::none()
    }

    fn remove(&self, key: &u64) -> Displaced<'_, Versioned> {
        let mut kept = self.kept();
        kept.order.retain(|other| other != key);
        kept.entries.remove(key).into()
    }

    fn clear(&self) {
        *self.kept() = Kept::default();
    }
}
