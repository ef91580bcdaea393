//! A source whose loads can be held and made to fail.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use larder::source::{BatchSource, ConditionalSource, KnownValue};
use larder::{Loaded, Source};
use tokio::sync::Semaphore;

/// A table of numbers that counts its loads. A load reads first, and then waits if loads are held. It returns the
/// row as it was when the load began.
///
/// # Examples
/// ```
/// use larder::Source as _;
/// use larder_testkit::Table;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::io::Error> {
/// let table = Table::with([(1, 10)]);
/// assert_eq!(table.load(&1).await?, Some(10));
/// table.fail(Some("down"));
/// assert!(table.load(&1).await.is_err());
/// assert_eq!(table.loads(), 2);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Table(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rows: Mutex<HashMap<u64, u64>>,
    failing: Mutex<Option<String>>,
    loads: AtomicUsize,
    queries: AtomicUsize,
    hold: Mutex<Option<Arc<Hold>>>,
}

/// Loads that have read their row and wait: see [`Table::hold`].
#[derive(Debug)]
pub struct Hold {
    arrived: Semaphore,
    released: Semaphore,
}

impl Hold {
    /// Waits until one more load has read its row.
    pub async fn arrived(&self) {
        self.arrived.acquire().await.expect("never closed").forget();
    }

    /// Lets one load continue.
    pub fn release_one(&self) {
        self.released.add_permits(1);
    }

    /// Lets all loads continue, now and later.
    pub fn release(&self) {
        self.released.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

impl Table {
    /// Returns a table with these rows.
    pub fn with(rows: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let table = Self::default();
        lock(&table.0.rows).extend(rows);
        table
    }

    /// Writes a row.
    pub fn set(&self, key: u64, value: u64) {
        lock(&self.0.rows).insert(key, value);
    }

    /// Deletes a row.
    pub fn delete(&self, key: u64) {
        lock(&self.0.rows).remove(&key);
    }

    /// Returns the current value of a row.
    #[must_use]
    pub fn row(&self, key: u64) -> Option<u64> {
        lock(&self.0.rows).get(&key).copied()
    }

    /// Lets loads fail with this message from now on, or succeed again.
    pub fn fail(&self, message: Option<&str>) {
        *lock(&self.0.failing) = message.map(str::to_owned);
    }

    /// Lets loads wait after they have read, from now on.
    #[must_use]
    pub fn hold(&self) -> Arc<Hold> {
        let hold = Arc::new(Hold { arrived: Semaphore::new(0), released: Semaphore::new(0) });
        *lock(&self.0.hold) = Some(Arc::clone(&hold));
        hold
    }

    /// Lets new loads run without waiting. Loads that already wait continue to wait.
    pub fn unhold(&self) {
        *lock(&self.0.hold) = None;
    }

    /// Returns the number of keys that were loaded.
    #[must_use]
    pub fn loads(&self) -> usize {
        self.0.loads.load(Ordering::SeqCst)
    }

    /// Returns the number of calls, each of one key or of many.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.0.queries.load(Ordering::SeqCst)
    }

    async fn query(&self, keys: &[u64]) -> Result<Vec<Option<u64>>, std::io::Error> {
        self.0.queries.fetch_add(1, Ordering::SeqCst);
        self.0.loads.fetch_add(keys.len(), Ordering::SeqCst);
        let rows: Vec<_> = keys.iter().map(|key| lock(&self.0.rows).get(key).copied()).collect();
        let failing = lock(&self.0.failing).clone();
        let hold = lock(&self.0.hold).clone();
        if let Some(hold) = hold {
            hold.arrived.add_permits(1);
            hold.released.acquire().await.expect("never closed").forget();
        }
        failing.map_or(Ok(rows), |message| Err(std::io::Error::other(message)))
    }
}

impl Source<u64> for Table {
    type Value = u64;
    type Error = std::io::Error;

    async fn load(&self, key: &u64) -> Result<Option<u64>, std::io::Error> {
        Ok(self.query(&[*key]).await?.remove(0))
    }
}

impl BatchSource<u64> for Table {
    async fn load_many(&self, keys: &[u64]) -> Result<Vec<Option<u64>>, std::io::Error> {
        self.query(keys).await
    }
}

/// Versions are values: an unchanged row is not modified.
impl ConditionalSource<u64> for Table {
    async fn load_if_modified(
        &self,
        key: &u64,
        known: Option<KnownValue<'_, u64>>,
    ) -> Result<Loaded<u64>, std::io::Error> {
        let row = self.query(&[*key]).await?.remove(0);
        let version = row.map(|row| row.to_string());
        if version.is_some() && known.and_then(|known| known.validator) == version.as_deref() {
            return Ok(Loaded::not_modified());
        }
        let loaded = Loaded::from(row);
        Ok(match version {
            Some(version) => loaded.validator(version),
            None => loaded,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
