//! The weight of entries.

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::backend::Entry;
use crate::{Error, Result};

/// The share of a store's capacity that an entry takes: 1 each ([`EntryCount`]), or the result of a closure.
///
/// # Examples
/// ```
/// use larder::backend::{EntryCount, Weigher};
/// assert_eq!(EntryCount.weigh(&1, &"one"), 1);
/// let by_length = |_key: &u64, value: &String| value.len() as u32;
/// assert_eq!(by_length.weigh(&1, &"bread".to_owned()), 5);
/// ```
pub trait Weigher<K, V>: Clone + Send + Sync + 'static {
    /// Returns the weight of a value. Negative entries weigh 1.
    fn weigh(&self, key: &K, value: &V) -> u32;
}

/// A weigher by which every entry weighs 1: the capacity is a number of entries.
///
/// # Examples
/// See [`Weigher`].
#[derive(Debug, Clone, Copy, Default)]
pub struct EntryCount;

impl<K, V> Weigher<K, V> for EntryCount {
    fn weigh(&self, _key: &K, _value: &V) -> u32 {
        1
    }
}

impl<K, V, F: Fn(&K, &V) -> u32 + Clone + Send + Sync + 'static> Weigher<K, V> for F {
    fn weigh(&self, key: &K, value: &V) -> u32 {
        self(key, value)
    }
}

/// Returns the weight of an entry for a store: that of its value, and at least 1.
///
/// A store calls this before it takes its locks, and stores nothing whose weigher panics: it removes the key instead.
///
/// # Errors
/// If the weigher panics.
///
/// # Examples
/// ```
/// use larder::backend::{weight_of, Entry, EntryCount};
/// use larder::clock::Timestamp;
/// use std::{sync::Arc, time::Duration};
///
/// let entry = Entry::new(Some(Arc::new("bread")), Timestamp::ORIGIN, Duration::from_secs(60));
/// assert_eq!(weight_of(&EntryCount, &7, &entry)?, 1);
/// assert!(weight_of(&|_: &u64, _: &&str| panic!("no scales"), &7, &entry).is_err());
/// # Ok::<(), larder::Error>(())
/// ```
pub fn weight_of<K, V, W: Weigher<K, V>>(weigher: &W, key: &K, entry: &Entry<V>) -> Result<u32> {
    // no user code, and so nothing to catch
    if TypeId::of::<W>() == TypeId::of::<EntryCount>() {
        return Ok(1);
    }
    let weigh = || entry.value().map_or(1, |value| weigher.weigh(key, value)).max(1);
    catch_unwind(AssertUnwindSafe(weigh)).map_err(|panic| Error::panicked("the weigher", &*panic))
}
