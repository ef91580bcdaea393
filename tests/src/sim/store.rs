//! The shared store under test.

use std::sync::Arc;
use std::time::Duration;

use larder::LockProvider;
use larder::backend::IntoBackend;

use super::setup::Setup;

/// What is cached: the key that it was written under, and its version.
///
/// # Examples
/// See [`Store`].
pub type Versioned = (u64, u64);

/// A shared store that processes connect to, and what may become of it.
///
/// # Examples
/// See the [module](super).
pub trait Store: Send + Sync + Sized + 'static {
    /// One process's way to the store. A store of bytes is given with a codec, such as `.encoded(Json)`.
    type Far: IntoBackend<u64, Versioned> + Send + 'static;

    /// An empty store, for one history. Called within the history's tokio runtime, whose time is paused.
    fn open(setup: &Setup) -> Self;

    /// The connection of the process with this name.
    fn connect(&self, process: &str) -> Self::Far;

    /// The locks of the process with this name, if there are any.
    fn locks(&self, process: &str) -> Option<Arc<dyn LockProvider>>;

    /// Lets a trouble happen; `false` when it cannot, which is then no part of the history.
    fn suffers(&self, trouble: &Trouble) -> bool;

    /// Called when the history has a trouble that happened. In real time, what has forgotten something must not answer before:
    /// it comes back now. Default: nothing.
    fn suffered(&self, _trouble: &Trouble) {}

    /// What is left in the store that should be gone when nobody loads any more and leases have ended: standing fences.
    fn left(&self) -> Vec<String>;
}

/// What may become of a store.
///
/// # Examples
/// See [`Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// It loses everything and tells so, as `FLUSHALL` does.
    Flush,
    /// It is restarted without data: connections are lost too.
    RestartEmpty,
    /// Remembers what there is, for [`Forget`](Self::Forget).
    Remember,
    /// It is restarted with what there was when it remembered: a failover that loses the last writes.
    Forget,
    /// It evicts so many values or fences.
    Evict(usize),
    /// It evicts the tag ledger.
    EvictLedger,
    /// It forgets old tags: all that were invalidated so far.
    PruneTags,
    /// Pushes are lost from now on, or no more.
    LosePushes(bool),
    /// For so long, some requests are executed twice: after the answer once more, late, or before it. Zero ends it.
    Repeat(Duration),
    /// The connection of this process is cut.
    Cut(String),
    /// The connection of this process is back.
    Mend(String),
}

/// The longest trip of a request or a reply that is not lost.
pub(super) const LONGEST_TRIP: Duration = Duration::from_millis(1_500);
