//! A reading of a cache, with its types erased.

use std::fmt;
use std::sync::Arc;

use larder::cache::{Key, Value};
use larder::{Cache, Stats};

/// The numbers of a cache at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) stats: Stats,
    pub(crate) in_flight: usize,
    pub(crate) unacknowledged: usize,
}

/// Reads one cache.
#[derive(Clone)]
pub(crate) struct Gauge(Arc<dyn Fn() -> Reading + Send + Sync>);

impl Gauge {
    pub(crate) fn of<K: Key, V: Value>(cache: &Cache<K, V>) -> Self {
        let cache = cache.clone();
        Self(Arc::new(move || Reading {
            stats: cache.stats(),
            in_flight: cache.in_flight(),
            unacknowledged: cache.unacknowledged(),
        }))
    }

    pub(crate) fn read(&self) -> Reading {
        (self.0)()
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge").finish_non_exhaustive()
    }
}
